"""A BERT-shaped cross-encoder of one output on the kernels that encode texts.

The kernels run the body; the vector of the first token then goes through the pooler (a dense layer and tanh) and the
classifier (a dense layer of one output), which together are a hundredth of the work and are NumPy's.

In a pair the document's tokens are of segment 1, and the kernels know one segment, whose embedding lies in the table of
positions. So the vocabulary is there twice: the second half holds the words of segment 1, each with the difference
between the segments added, and the document's token ids point there. That costs memory for one more table of words, and
no kernel has to ask which segment a token is of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from tokenizers import Tokenizer

from embed.encoders.contract import Vectors
from embed.encoders.native import NativeEncoder, unsuited
from embed.encoders.precision import choose
from embed.encoders.tokens import not_unicode
from embed.errors import ModelError
from embed.models.fingerprint import fingerprint_of
from embed.models.folder import ModelFolder
from embed.models.safetensors_file import read_tensors
from embed.rerankers.contract import Relevance

IDENTITY = "Identity"  # the last part of the name of torch's function that leaves a score as it is


class NativeReranker:
    """
    Args:
        folder: Of the model, as sentence-transformers' CrossEncoder or transformers saves it.
        precision: None takes int8 where it is measured to be near enough to fp32, as for an encoder.
        threads: Of one call.

    Raises:
        ModelError: The model has another shape, or more than one output.
    """

    calls_at_once = 1

    def __init__(self, folder: ModelFolder, precision: str | None, threads: int) -> None:
        body = replace(folder, pooling="cls", normalize=False)
        why = unsuited(body)
        if why is not None:
            raise ModelError(
                f"{folder.name} cannot rerank here: {why}. A server elsewhere may run it: give its address."
            )
        tensors = read_tensors(folder.weights)
        missing = [name for name in HEAD if name not in tensors]
        if missing:
            raise ModelError(
                f"{folder.weights} has no tensor {missing[0]!r}, which a cross-encoder has: is it a model of vectors?"
            )
        self._pooler, self._pooler_bias, classifier, bias = (tensors[name] for name in HEAD)
        if len(classifier) != 1:
            raise ModelError(f"{folder.name} has {len(classifier)} outputs; a reranker has one, its score.")
        self._classifier, self._bias = classifier[0], bias[0]
        self._sigmoid = not _activation(folder).endswith(IDENTITY)
        fingerprint = fingerprint_of(body, precision or choose(body).precision)
        self._body = NativeEncoder(body, fingerprint, threads, pairs=True)
        self._words = self._body.vocabulary // 2
        self._tokenizer = Tokenizer.from_file(str(folder.tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(folder.max_length)  # of the longer of the two first
        self._lower_case = folder.lower_case

    @property
    def name(self) -> str:
        return self._body.fingerprint.name

    @property
    def backend(self) -> str:
        return f"{self._body.backend}, {self._body.fingerprint.precision}"

    def scores(self, query: str, documents: Sequence[str]) -> Relevance:
        """Raises TextError for what is no Unicode."""
        if not documents:
            return Relevance(np.empty(0, np.float32), 0)
        pairs = [(query, document) for document in documents]
        if self._lower_case:
            pairs = [(query.lower(), document.lower()) for query, document in pairs]
        try:
            read = self._tokenizer.encode_batch_fast(pairs)
        except (TypeError, UnicodeEncodeError):
            raise not_unicode([query, *documents]) from None
        ids = [(np.array(one.ids) + np.array(one.type_ids) * self._words).tolist() for one in read]
        lengths = np.array([len(each) for each in ids], np.int32)
        return Relevance(self._head(self._body.encode_ids(ids, lengths)), int(lengths.sum()))

    def close(self) -> None:
        self._body.close()

    def _head(self, first: Vectors) -> Vectors:
        """first: float32 (n, hidden), the vectors of the first tokens."""
        pooled = np.tanh(first @ self._pooler.T + self._pooler_bias)
        scores: Vectors = (pooled @ self._classifier + self._bias).astype(np.float32)
        if self._sigmoid:
            scores = np.exp(-np.logaddexp(0, -scores)).astype(np.float32)
        return scores


HEAD = ("bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias")


def _activation(folder: ModelFolder) -> str:
    """What comes after the classifier, as sentence-transformers writes it; its own default is a sigmoid."""
    config = folder.config
    named = config.get("sentence_transformers", {}).get("activation_fn")
    return str(named or config.get("sbert_ce_default_activation_function") or "torch.nn.modules.activation.Sigmoid")

"""The reference encoder: sentence-transformers on PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embed.encoders.contract import Counts, Kind, Vectors, prefixed
from embed.encoders.tokens import TokenEncoder
from embed.errors import ModelError
from embed.models.fingerprint import Fingerprint
from embed.models.folder import ModelFolder


class TorchEncoder(TokenEncoder):
    def __init__(self, folder: ModelFolder, fingerprint: Fingerprint, threads: int) -> None:
        try:
            import torch
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise ModelError(
                "--backend torch needs PyTorch and sentence-transformers, which are not installed. "
                "Install perwatt with its torch extra (make setup-torch), or use another backend."
            ) from None
        torch.set_num_threads(threads)
        super().__init__(folder, fingerprint, f"torch {torch.__version__}")
        self._model = SentenceTransformer(str(folder.path), device="cpu").eval()

    def encode_counted(self, texts: Sequence[str], kind: Kind = "document") -> tuple[Vectors, Counts]:
        if not texts:
            return np.empty((0, self.dim), np.float32), np.empty(0, np.int32)
        full = list(prefixed(texts, self._fingerprint, kind))
        vectors = self._model.encode(full, batch_size=16, convert_to_numpy=True, show_progress_bar=False, prompt="")
        lengths = [len(each) for each in self.token_ids(texts, kind)]
        return self._shortened(np.asarray(vectors, np.float32)), np.array(lengths, np.int32)

    def encode_ids(self, ids: Sequence[Sequence[int]], lengths: Counts) -> Vectors:
        import torch

        vectors = np.empty((len(ids), self._whole), np.float32)
        for row, each in enumerate(ids):
            one = torch.tensor([each])
            with torch.inference_mode():
                features = self._model({"input_ids": one, "attention_mask": torch.ones_like(one)})
            vectors[row] = features["sentence_embedding"][0].numpy()
        return self._shortened(vectors)

    def close(self) -> None:
        del self._model

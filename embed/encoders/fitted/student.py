"""A student of two layers, distilled on a corpus's own spans: the first and the last layer of the model, taught on.

The embeddings stay those of the model, so a student is its layers alone, and the kernels that run the model run it too.
It starts where the model's own layers stand: the first still reads what it was made to read, and the last writes into
the space of the vectors. What lies between them is taught: the student's vector of a text should be the model's
(cosine), and its similarities between the texts of a batch should be the model's (pairs), since a ranking is made of
those. PyTorch is needed here and nowhere else: whoever serves a student does without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from embed.encoders.contract import Vectors
from embed.encoders.projection import Projection
from embed.errors import ModelError
from embed.models.folder import ModelFolder
from embed.models.safetensors_file import read_tensors

STEPS = 800
BATCH = 128
RATE = 5e-4
WARM_STEPS = 40
PAIRS = 4.0  # weight of the similarities beside the cosine: both are then of one size at the start
SEED = 3
MOST_TOKENS = 96  # that a text of a batch may have; longer ones are cut, since a query is rarely one of them

_FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "none": lambda _torch, values: values,
    "tanh": lambda torch, values: torch.tanh(values),
    "relu": lambda torch, values: torch.relu(values),
}
_ACTIVATIONS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}


def layers_of(folder: ModelFolder, count: int = 2) -> list[int]:
    """The layers of the model that a student starts from: the first ones, and the last in place of all others."""
    there = int(folder.config["num_hidden_layers"])
    return [*range(min(count, there) - 1), there - 1]


def first_weights(folder: ModelFolder, layers: Sequence[int]) -> dict[str, Vectors]:
    """float32 tensors of those layers by their BERT names, renumbered from 0."""
    tensors = read_tensors(folder.weights)
    weights: dict[str, Vectors] = {}
    for at, layer in enumerate(layers):
        for name, values in tensors.items():
            bare = name.removeprefix("bert.")
            if bare.startswith(f"encoder.layer.{layer}."):
                weights[bare.replace(f"layer.{layer}.", f"layer.{at}.", 1)] = np.array(values, np.float32)
    return weights


def taught(
    folder: ModelFolder,
    weights: dict[str, Vectors],
    ids: Sequence[Sequence[int]],
    vectors: Vectors,
    *,
    steps: int = STEPS,
    threads: int = 1,
    tell: Callable[[int, float], None] = lambda _step, _loss: None,
) -> dict[str, Vectors]:
    """The weights after `steps` batches; after none they are those that were given.

    Args:
        ids: Token ids of the texts, with special tokens.
        vectors: The model's vectors of them, float32 (n, dim), of unit length.
        tell: Called with the number of the step and its loss.

    Raises:
        ModelError: PyTorch is not installed.
    """
    if steps == 0:
        return {name: values.copy() for name, values in weights.items()}
    try:
        import torch
        from torch.nn import functional
    except ImportError:
        raise ModelError(
            "it is taught with PyTorch, which is not installed (the torch extra; from a checkout: make setup-torch)"
        ) from None
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        tensors = read_tensors(folder.weights)
        prefix = "bert." if "bert.embeddings.word_embeddings.weight" in tensors else ""
        embeddings = {
            name: torch.from_numpy(np.array(tensors[f"{prefix}embeddings.{name}"], np.float32))
            for name in (
                *("word_embeddings.weight", "position_embeddings.weight", "token_type_embeddings.weight"),
                *("LayerNorm.weight", "LayerNorm.bias"),
            )
        }
        student = {name: torch.from_numpy(values.copy()).requires_grad_() for name, values in weights.items()}
        targets = torch.from_numpy(vectors)
        projection = Projection(folder.dense, int(folder.config["hidden_size"]), folder.dim, folder.normalize)
        dense = [
            (torch.from_numpy(layer.weight), torch.from_numpy(layer.bias), layer.activation)
            for layer in projection.layers
        ]
        optimiser = torch.optim.AdamW(student.values(), lr=RATE, weight_decay=0.0)
        lengths = np.array([min(len(each), MOST_TOKENS) for each in ids])
        order = np.random.default_rng(SEED)
        for step in range(steps):
            # Of several times as many texts those of about one length, so that little of a batch is padding.
            drawn = order.choice(len(ids), min(len(ids), 8 * BATCH), replace=False)
            drawn = drawn[np.argsort(lengths[drawn], kind="stable")]
            start = int(order.integers(max(1, len(drawn) - BATCH + 1)))
            chosen = drawn[start : start + BATCH]
            for group in optimiser.param_groups:
                group["lr"] = RATE * min((step + 1) / WARM_STEPS, 1.0, 1.05 - step / steps)
            found = _forward(torch, folder, embeddings, student, [list(ids[at])[:MOST_TOKENS] for at in chosen])
            wanted = targets[torch.from_numpy(chosen)]
            for weight, bias, activation in dense:
                found = _FUNCTIONS[activation](torch, functional.linear(found, weight, bias))
            found = functional.normalize(found[:, : targets.shape[1]], dim=1)
            cosine = 1.0 - (found * wanted).sum(1).mean()
            pairs = ((found @ found.T - wanted @ wanted.T) ** 2).mean()
            loss = cosine + PAIRS * pairs
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            tell(step, float(loss.detach()))
        return {name: values.detach().numpy().copy() for name, values in student.items()}
    finally:
        torch.set_num_threads(before)


def _forward(torch: Any, folder: ModelFolder, embeddings: Any, student: Any, ids: list[list[int]]) -> Any:
    """Pooled output of the student, (texts, hidden): BERT as the kernels compute it, with gradients."""
    from torch.nn import functional

    config = folder.config
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    epsilon = float(config.get("layer_norm_eps", 1e-12))
    longest = max(map(len, ids))
    padded = torch.zeros((len(ids), longest), dtype=torch.long)
    there = torch.zeros((len(ids), longest), dtype=torch.bool)
    for row, each in enumerate(ids):
        padded[row, : len(each)] = torch.tensor(each)
        there[row, : len(each)] = True

    def norm(values: Any, of: dict[str, Any], name: str) -> Any:
        return functional.layer_norm(values, (hidden,), of[f"{name}.weight"], of[f"{name}.bias"], epsilon)

    def linear(values: Any, name: str) -> Any:
        return functional.linear(values, student[f"{name}.weight"], student[f"{name}.bias"])

    states = embeddings["word_embeddings.weight"][padded] + embeddings["position_embeddings.weight"][:longest]
    states = norm(states + embeddings["token_type_embeddings.weight"][0], embeddings, "LayerNorm")
    for at in range(sum(name.endswith("intermediate.dense.bias") for name in student)):
        layer = f"encoder.layer.{at}"
        query, key, value = (
            linear(states, f"{layer}.attention.self.{part}").view(len(ids), longest, heads, -1).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=there[:, None, None, :])
        mixed = linear(mixed.transpose(1, 2).reshape(len(ids), longest, hidden), f"{layer}.attention.output.dense")
        states = norm(states + mixed, student, f"{layer}.attention.output.LayerNorm")
        inner = linear(states, f"{layer}.intermediate.dense")
        activation = config["hidden_act"]
        if activation == "relu":
            inner = functional.relu(inner)
        else:
            inner = functional.gelu(inner, approximate=_ACTIVATIONS[activation])
        states = norm(states + linear(inner, f"{layer}.output.dense"), student, f"{layer}.output.LayerNorm")
    if folder.pooling == "cls":
        return states[:, 0]
    if folder.pooling == "max":
        return states.masked_fill(~there[..., None], -torch.inf).amax(1)
    return (states * there[..., None]).sum(1) / there.sum(1, keepdim=True)

"""What a sentence-transformers folder is made of: its modules in their order, for queries and for documents.

`modules.json` names them. A Router (Asym, before version 5) among them holds other modules by task, and stands for
those of its route here. Class names moved between releases of sentence-transformers, so only the last part of the
dotted name counts.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from embed.errors import ModelError

ROUTERS = ("Router", "Asym")
# Of a Dense module, by the last part of the name that is saved.
ACTIVATIONS = {"Identity": "none", "Tanh": "tanh", "ReLU": "relu"}
POOLINGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}


class Module(NamedTuple):
    """
    Args:
        kind: the last part of its class's name: Transformer, Pooling, Dense, Normalize, …
    """

    kind: str
    path: Path

    def config(self, default: Any = None) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.path / "config.json", default)
        return found


class TransformerOutput(NamedTuple):
    """What becomes of the output of a transformer.

    Args:
        pooling: "mean", "cls", "max"; "model" when only the model's own code can tell what its modules do.
        dense: modules that the pooled vector goes through.
        normalize: whether what comes out is scaled to length 1.
    """

    pooling: str
    dense: tuple[Module, ...]
    normalize: bool


def modules_of(path: Path, task: str) -> list[Module]:
    """The modules that a text of this task goes through, "query" or "document"; none of a bare transformer."""
    found: list[Module] = []
    for module in read_json(path / "modules.json", []):
        one = Module(kind_of(module), path / module["path"])
        found += _routed(one.path, task) if one.kind in ROUTERS else [one]
    return found


def kind_of(module: dict[str, Any]) -> str:
    return str(module.get("type", "")).rsplit(".", 1)[-1]


def pipeline_of(modules: Sequence[Module]) -> TransformerOutput:
    if not modules:
        return TransformerOutput("mean", (), False)  # sentence-transformers adds mean pooling to a bare transformer
    kinds = [module.kind for module in modules]
    normalize = kinds[-1] == "Normalize"
    dense = tuple(modules[2 : len(modules) - normalize])
    if kinds[:2] != ["Transformer", "Pooling"] or not all(_plain(module) for module in dense):
        return TransformerOutput("model", (), "Normalize" in kinds)
    pooling = modules[1].config()
    if "pooling_mode" in pooling:  # written so since sentence-transformers 5.2
        modes = pooling["pooling_mode"]
        named = [modes] if isinstance(modes, str) else list(modes)
    else:
        named = [POOLINGS.get(key, key) for key, on in pooling.items() if key.startswith("pooling_mode_") and on]
    known = len(named) == 1 and named[0] in POOLINGS.values()
    return TransformerOutput(named[0] if known else "model", dense if known else (), normalize)


def width_of(modules: Sequence[Module]) -> int | None:
    """The width of a vector: what the last Dense module gives, else the pooling's; None where neither says."""
    for module in reversed(modules):
        own = module.config({}) if module.kind in ("Dense", "Pooling") else {}
        stated = own.get("out_features") or own.get("embedding_dimension") or own.get("word_embedding_dimension")
        if stated:
            return int(stated)
    return None


def activation_of(dense: Module) -> str | None:
    """One of ACTIVATIONS' values; None for a function that is not among them."""
    name = str(dense.config().get("activation_function", "torch.nn.modules.activation.Tanh"))
    return ACTIVATIONS.get(name.rsplit(".", 1)[-1]) if name.startswith("torch.nn.") else None


def _plain(module: Module) -> bool:
    """Whether it is a Dense module that takes the pooled vector and gives another one, by a function that is known."""
    if module.kind != "Dense":
        return False
    config = module.config()
    places = (config.get(name) or "sentence_embedding" for name in ("module_input_name", "module_output_name"))
    usual = all(place == "sentence_embedding" for place in places) and not config.get("use_residual")
    return usual and activation_of(module) is not None and (module.path / "model.safetensors").is_file()


def _routed(path: Path, task: str) -> list[Module]:
    config = read_json(path / "router_config.json", {}) or read_json(path / "config.json")
    try:
        names = config["structure"][_route(config, task)]
        return [Module(str(config["types"][name]).rsplit(".", 1)[-1], path / name) for name in names]
    except (KeyError, TypeError, ValueError, SyntaxError) as error:
        raise ModelError(f"{path} has a router without a route for a {task} ({error!r}); has it one of text?") from None


def _route(config: dict[str, Any], task: str) -> str:
    """As sentence-transformers finds it: by task and modality, by either, by the task's name, by default."""
    structure, parameters = config["structure"], config.get("parameters") or {}
    mapped = {ast.literal_eval(key): route for key, route in (parameters.get("route_mappings") or {}).items()}
    for key in ((task, "text"), (task, None), (None, "text"), (None, None)):
        if key in mapped:
            return str(mapped[key])
    for name in (task, "text", parameters.get("default_route")):
        if name in structure:
            return str(name)
    raise KeyError(task)


def read_json(path: Path, default: Any = None) -> Any:
    """Raises ModelError for a file that is not there, where no default is given, or is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if default is not None:
            return default
        raise ModelError(f"{path} is missing. Expected a folder in the sentence-transformers layout.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}.") from None

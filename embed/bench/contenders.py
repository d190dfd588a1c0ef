"""Those that `encode` measures, each by its own best way in: text to vectors, tokenising included."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embed.encoders.contract import prefixed
from embed.encoders.load import load_encoder
from embed.encoders.tokens import Tokens
from embed.models.fingerprint import fingerprint_of
from embed.models.folder import ModelFolder

ORT_GRAPHS = {"ort_fp32": "fused.onnx", "ort_int8_dynamic": "int8.onnx"}

Encode = Callable[[list[str]], Any]


@contextlib.contextmanager
def contenders(
    folder: ModelFolder, model: str | Path | None, threads: int, made: Path
) -> Iterator[tuple[dict[str, Encode], dict[str, str]]]:
    """Those that can run here, by name, and why the others cannot; sessions live as long as the context, the graphs of
    the peers as long as the folder `made`."""
    native = load_encoder(model, precision="int8", backend="native", threads=threads)
    exact = load_encoder(model, precision="fp32", backend="native", threads=threads)
    running: dict[str, Encode] = {"perwatt_int8": native.encode, "perwatt_fp32": exact.encode}
    peers: dict[str, Callable[[], dict[str, Encode]]] = {
        "onnxruntime": lambda: onnx_runtime(folder, threads, made),
        "openvino": lambda: openvino(folder, native, threads, made),
        "sentence_transformers": lambda: sentence_transformers(folder, threads),
    }
    absent = {}
    for name, start in peers.items():
        try:
            peer = start()
            for encode in peer.values():
                encode(["gzip"])
            running |= peer
        except ImportError as error:
            absent[name] = f"not installed ({error.name})"
        except Exception as error:  # whatever a peer fails of must not stop the others
            absent[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    yield running, absent
    native.close()
    exact.close()


def onnx_runtime(folder: ModelFolder, threads: int, made: Path) -> dict[str, Encode]:
    """By the runtime's own tools: the traced graph with a BERT's operators fused, and that in int8 with weights by
    channel and one activation scale a tensor."""
    from embed.encoders.onnx import OnnxEncoder

    if not (made / ORT_GRAPHS["ort_int8_dynamic"]).exists():
        make_ort_graphs(folder, made)
    fingerprint = fingerprint_of(folder, "fp32")
    return {name: OnnxEncoder(folder, fingerprint, threads, made / file).encode for name, file in ORT_GRAPHS.items()}


def make_ort_graphs(folder: ModelFolder, made: Path) -> None:
    """Traced by the older exporter: the optimiser finds no attention in what the newer one writes."""
    import torch
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers.optimizer import optimize_model

    from embed.encoders.onnx_export import pipeline

    names, sample = ["input_ids", "attention_mask"], torch.ones((2, 8), dtype=torch.int64)
    traced, fused = made / "traced.onnx", made / ORT_GRAPHS["ort_fp32"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's age and what it takes for constant
        torch.onnx.export(
            pipeline(folder, attn_implementation="eager"),
            (sample, sample),
            str(traced),
            input_names=names,
            output_names=["sentence_embedding"],
            dynamic_axes={name: {0: "batch", 1: "tokens"} for name in names},
            opset_version=17,
            dynamo=False,
        )
    heads, hidden = int(folder.config["num_attention_heads"]), int(folder.config["hidden_size"])
    optimize_model(str(traced), "bert", heads, hidden, opt_level=0).save_model_to_file(str(fused))
    quantize_dynamic(
        fused,
        made / ORT_GRAPHS["ort_int8_dynamic"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )


def openvino(folder: ModelFolder, ours: Any, threads: int, made: Path) -> dict[str, Encode]:
    import openvino as ov

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # names every operator of vision models that is not there
    from embed.encoders.onnx_export import export

    if not (made / "plain.onnx").exists():
        export(folder, made / "plain.onnx")
    core = ov.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(core.read_model(made / "plain.onnx"), "CPU", settings)
    request = compiled.create_infer_request()
    tokens = Tokens(folder)

    def encode(texts: Sequence[str]) -> Any:
        ids = tokens.ids(prefixed(texts, ours.fingerprint, "document"))
        width = max(map(len, ids))
        padded, mask = np.zeros((len(ids), width), np.int64), np.zeros((len(ids), width), np.int64)
        for row, each in enumerate(ids):
            padded[row, : len(each)] = each
            mask[row, : len(each)] = 1
        return request.infer({"input_ids": padded, "attention_mask": mask})[0].copy()

    return {"openvino": encode}


def sentence_transformers(folder: ModelFolder, threads: int) -> dict[str, Encode]:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)

    def encoder(kind: torch.dtype) -> Encode:
        model = SentenceTransformer(str(folder.path), device="cpu", model_kwargs={"dtype": kind}).eval()

        def encode(texts: list[str]) -> Any:
            return model.encode(texts, convert_to_tensor=True, show_progress_bar=False).float().numpy()

        return encode

    return {
        "sentence_transformers_fp32": encoder(torch.float32),
        "sentence_transformers_bf16": encoder(torch.bfloat16),
    }

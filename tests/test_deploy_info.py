"""`perwatt info` tells what the encoder runs on, and what a model would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from deploy.info import info
from embed.kernels import units


def told(*arguments: str) -> str:
    done = CliRunner().invoke(info, arguments)
    assert done.exit_code == 0, done.output
    return done.output


def test_it_names_the_unit_of_search_and_of_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERWATT_ISA", "scalar")
    facts = json.loads(told("--json"))
    assert facts["encoder"]["isa"] == "scalar"
    assert facts["encoder"]["units"] == units()
    assert facts["kernels"]["isa"] in facts["kernels"]["units"]
    assert told().count("in use; this machine can run") == 2


def test_a_model_of_another_shape_is_said_to_fall_back(make_model: Callable[..., Path]) -> None:
    model = json.loads(told("--json", "--model", str(make_model("distilbert"))))["model"]
    assert (model["native"], model["precision"], model["int8_mean_cosine"]) == (False, "fp32", None)
    text = " ".join(told("--model", str(make_model())).split())
    assert "runs on ONNX Runtime" in text
    assert "its heads are 12 wide, and (32, 64) are supported" in text


def test_the_default_model_is_told_with_its_cosine() -> None:
    text = " ".join(told("--model", "all-MiniLM-L6-v2").split())
    assert "all-MiniLM-L6-v2 runs on perwatt's own kernels" in text
    assert "int8 unless told otherwise: in int8 its vectors have a mean cosine of 0.99" in text

"""PERWATT_HIDE_ISA makes this processor a plainer one for everything that looks at it, and is never silent about it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import rungs

from embed.kernels import units
from index.kernels import _native


def perwatt(*arguments: str, code: int = 0, **variables: str) -> str:
    """What a fresh process prints: a processor is looked at once a process."""
    command = [sys.executable, "-m", "deploy.command", *arguments]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return " ".join((done.stderr if code else done.stdout).split())


@pytest.mark.parametrize(("rung", "hidden"), rungs.cuts().items())
def test_what_is_hidden_runs_nowhere_and_is_said(rung: str, hidden: str) -> None:
    ladder, words = dict(_native.ladder()), [word for word in hidden.split(",") if word]
    asked = (["info", "--json"], ["loadtest", "machine", "--json"], ["info"])
    code = f"from deploy.command import perwatt; [perwatt(each, standalone_mode=False) for each in {asked}]"
    environment = os.environ | {"PERWATT_HIDE_ISA": hidden}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    facts, read = json.JSONDecoder().raw_decode(done.stdout)
    rest = done.stdout[read:].lstrip()
    machine, read = json.JSONDecoder().raw_decode(rest)
    for package in ("kernels", "encoder"):
        able = [unit for unit in facts[package]["built"] if set(ladder[unit]) <= set(ladder[rung])]
        assert facts[package]["units"] == able
        assert facts[package]["isa"] == able[0]
        assert facts[package]["hidden"] == words
    said = f"; PERWATT_HIDE_ISA hides {', '.join(words)} for a test"
    assert (said in " ".join(rest[read:].split())) == bool(words)
    assert not set(machine["isa"]) & set(words)
    assert machine["hidden_isa"] == words


def test_a_beginning_hides_every_feature_that_begins_with_it() -> None:
    known = {feature for _, needs in _native.ladder() for feature in needs}
    code = "from index.kernels import _native; print(*_native.features())"
    for word in ("a", min(known)):
        environment = os.environ | {"PERWATT_HIDE_ISA": ",".join([*_native.hidden(), word])}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.split() == [each for each in _native.features() if not each.startswith(word)]


@pytest.mark.parametrize("given", ["avx-512", "a,,a", " ", "no"])
def test_a_word_that_hides_nothing_is_refused(given: str) -> None:
    """A typing error would leave a test on the processor that it was to be kept from."""
    error = perwatt("info", code=1, PERWATT_HIDE_ISA=given)
    assert f"PERWATT_HIDE_ISA='{given}'" in error
    assert "is the beginning of no feature that a unit needs. Give some of" in error


def test_a_unit_that_is_hidden_cannot_be_asked_for() -> None:
    best = units()[0]
    error = perwatt("info", code=1, PERWATT_ISA="scalar1", PERWATT_HIDE_ISA="a")
    assert "PERWATT_ISA='scalar1' is not a unit of this build (PERWATT_HIDE_ISA hides a)" in error
    if best != "scalar":
        error = perwatt("info", code=1, PERWATT_ISA=best, PERWATT_HIDE_ISA="a")
        assert f"PERWATT_ISA='{best}' cannot run on this processor (PERWATT_HIDE_ISA hides a)" in error

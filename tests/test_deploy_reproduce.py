"""Published claims held against a machine: what is judged, what is not, and why."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from deploy.command import bench
from deploy.errors import DeployError
from deploy.reproduce.claim import Claim, read_claims
from deploy.reproduce.command import table
from deploy.reproduce.trials import TRIALS, by_turns, measured
from deploy.reproduce.verdict import MachineAtHand, judged, word_of
from index import kernels
from loadtest.analysis.ratio import Mean

HERE = MachineAtHand("Neoverse N2", "aarch64")
CLAIM = Claim(
    id="codes", who="somebody", when="2026", source="https://example.org", says="Codes are slower.",
    ratio=3.0, low=2.5, high=3.5, machines=["Neoverse N2"], trial="faiss_codes",
)  # fmt: skip


def found(low: float, high: float) -> Mean:
    return Mean((low * high) ** 0.5, low, high, 9, 0.01, "t")


def test_every_claim_has_a_source_and_a_trial_that_there_is() -> None:
    claims = read_claims()
    assert len({claim.id for claim in claims}) == len(claims) > 10
    assert {claim.trial for claim in claims} == {"", *TRIALS}


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(2.6, 3.4, "confirmed"), (1.0, 2.4, "refuted"), (3.6, 9.0, "refuted"), (2.0, 3.0, "undecided")],
)
def test_the_interval_decides(low: float, high: float, word: str) -> None:
    assert word_of(found(low, high), 2.5, 3.5) == word
    assert judged(CLAIM, HERE, lambda _: found(low, high)).word == word


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"machines": ["Neoverse V1"]}, "it is of Neoverse V1, and this is Neoverse N2 (aarch64)"),
        (
            {"machines": ["Neoverse N2", "Ice Lake"]},
            "it compares Neoverse N2 with Ice Lake, and one machine is at hand",
        ),
        ({"ratio": None}, "no number, metric or objective was published"),
        ({"differs": "other kernels"}, "other kernels"),
    ],
)
def test_what_differs_is_told_and_what_was_measured_decides_nothing(changes: dict[str, object], why: str) -> None:
    verdict = judged(msgspec.structs.replace(CLAIM, **changes), HERE, lambda _: found(2.9, 3.1))
    assert verdict.word == "not comparable here"
    assert verdict.here is not None
    assert why in "; ".join(verdict.why)
    assert "2.9" in "\n".join(table([verdict], 100))


def test_what_cannot_be_tried_here_says_why() -> None:
    unit = "neon" if "avx2" in kernels.units() else "avx2"
    given = {"type": "float32", "dim": 64, "subject": unit, "baseline": "scalar"}
    claim = msgspec.structs.replace(CLAIM, trial="our_units", given=given)
    verdict = judged(claim, HERE, measured)
    assert (verdict.word, verdict.here) == ("not comparable here", None)
    assert f"not tried: this machine has no {unit}" in verdict.why[0]
    assert judged(msgspec.structs.replace(CLAIM, trial="", conditions=["FAISS 1.9"]), HERE, measured).why == [
        "not at hand: FAISS 1.9"
    ]


@pytest.mark.parametrize(
    ("trial", "given"),
    [
        ("faiss_codes", {"subject": "Flat", "baseline": "QT_8bit", "rows": 500, "dim": 16}),
        ("our_units", {"type": "int8", "dim": 64, "subject": kernels.units()[0], "baseline": "scalar"}),
        ("against_faiss", {"type": "int8", "dim": 64}),
        ("against_faiss", {"type": "float32", "dim": 64}),
    ],
)
def test_a_trial_gives_a_ratio_with_an_interval(trial: str, given: dict[str, object]) -> None:
    ratio = measured(msgspec.structs.replace(CLAIM, trial=trial, given=given), rounds=3)
    assert 0 < ratio.low <= ratio.estimate <= ratio.high


def test_the_faster_one_has_a_ratio_above_one() -> None:
    ratio = by_turns(lambda: sum(range(100)), lambda: sum(range(100_000)), 9)
    assert ratio.low > 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no list of claims"),
        ('[[claim]]\nid = "a"\n', "no list of claims"),
        ('[[claim]]\nid="a"\nwho="b"\nwhen="c"\nsays="d"\nsource="a blog"\n', "expected an address"),
        ('[[claim]]\nid="a"\nwho="b"\nwhen="c"\nsays="d"\nsource="https://e"\nratio=2.0\nlow=3.0\n', "is not between"),
        ('[[claim]]\nid="a"\nwho="b"\nwhen="c"\nsays="d"\nsource="https://e"\ntrial="x"\n', "needs low and high"),
    ],
)
def test_a_claim_that_cannot_be_judged_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "claims.toml").write_text(text)
    with pytest.raises(DeployError, match=says):
        read_claims(tmp_path / "claims.toml")


def test_the_command_prints_every_claim_and_takes_some_by_name() -> None:
    said = CliRunner().invoke(bench, ["reproduce", "--no-try"])
    assert said.exit_code == 0, said.output
    assert f"{len(read_claims())} not comparable here" in said.output
    one = CliRunner().invoke(bench, ["reproduce", "--no-try", "--json", "faiss-sq8-n2"])
    [claim] = json.loads(one.output)["claims"]
    assert (claim["published"], claim["verdict"], claim["here"]) == (3.02, "not comparable here", None)
    wrong = CliRunner().invoke(bench, ["reproduce", "nobody"])
    assert wrong.exit_code == 2
    assert "faiss-sq8-n2" in wrong.output

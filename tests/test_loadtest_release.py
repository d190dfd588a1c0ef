"""A release against the last one: the verdict, what became slower with its interval, and what changed."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from loadtest_records import three_arms

from loadtest.analysis.reading import Reading
from loadtest.analysis.release import Release, compare_releases
from loadtest.cli.reports import compare as compare_command
from loadtest.cli.reports import report as report_command
from loadtest.errors import TargetError
from loadtest.generator.samples import SampleReader
from loadtest.generator.wire import server_timing_ms
from loadtest.record.run_record import Record, ServiceFacts, write_record
from loadtest.record.trial import ServerSide
from loadtest.targets.contract import SampledAnswer
from loadtest.workload.truth import Exact, Truth

FACTS = ServiceFacts("http://x", "docs", "docs-1", count=1000, dim=384, metric="cosine")


def build(arm: str, image: str, numpy: str, ann_ms: float) -> list[Record]:
    """Three runs of a build, whose `ann` stage takes `ann_ms` a little different each time, and `embed` always 2 ms."""
    records = [record for record in three_arms() if record.label.arm == arm]
    for number, record in enumerate(records):
        record.label.arm = "amd64"
        record.served = msgspec.structs.replace(
            FACTS, image=image, version={"perwatt": "0.1.0", "packages": {"numpy": numpy, "faiss": "1.12"}}
        )
        for trial in record.trials:
            stages = {"embed": 2.0 + number * 0.01, "ann": ann_ms * (1 + number * 0.02)}
            trial.server = ServerSide(10, trial.response, trial.service, cpu_ms_mean=3.0, stages_ms=stages)
    return records


@pytest.fixture
def builds() -> tuple[list[Record], list[Record]]:
    return build("x86", "sha256:new", "2.3", 1.5), build("arm", "sha256:old", "2.2", 1.0)


def compared(builds: tuple[list[Record], list[Record]]) -> Release:
    new, old = ([Reading(record) for record in side] for side in builds)
    return compare_releases(new, old, 0.05)


def test_the_stage_that_became_slower_is_named_with_its_interval(builds: tuple[list[Record], list[Record]]) -> None:
    found = compared(builds)
    assert found.verdict.verdict.value == "worse"  # arm is planted 1.2 times as fast as x86
    steps = {step.what: step for step in found.steps}
    assert steps["stage ann"].ratio == pytest.approx(1.5)
    assert 1 < steps["stage ann"].low < 1.5 < steps["stage ann"].high
    assert steps["stage ann"].word == "slower"
    assert steps["stage embed"].word == "no difference seen"
    assert steps["rate at the objective"].word == "slower"
    assert steps["rate at the objective"].ratio < 1
    assert steps["CPU a query"].before == pytest.approx(0.003)
    assert found.route == "search of docs (text, k = 10)"


def test_what_changed_is_what_the_records_tell_and_nothing_else(builds: tuple[list[Record], list[Record]]) -> None:
    changes = {change.what: (change.before, change.after) for change in compared(builds).changes}
    assert changes == {"image": ("sha256:old", "sha256:new"), "packages numpy": ("2.2", "2.3")}
    for trial in (trial for record in builds[0] for trial in record.trials):
        trial.effort = 80
    assert {change.what for change in compared(builds).changes} == {"image", "packages numpy", "search effort"}


def test_a_single_run_shows_no_interval_and_decides_nothing(builds: tuple[list[Record], list[Record]]) -> None:
    found = compared((builds[0][:1], builds[1]))
    assert found.verdict.verdict.value == "inconclusive"
    assert {step.word for step in found.steps} == {"too few runs to tell"}


def test_the_page_and_the_command_say_the_same(builds: tuple[list[Record], list[Record]], tmp_path: Path) -> None:
    for name, side in zip(("new", "old"), builds, strict=True):
        for record in side:
            write_record(record, tmp_path / name / f"{record.label.block}.json")
    new, old = str(tmp_path / "new"), str(tmp_path / "old")
    page = CliRunner().invoke(report_command, [new, "--unpaired", old, "--margin", "5%", "--markdown", "-"])
    assert page.exit_code == 0, page.output
    assert page.output.startswith("## amd64: this build against the last release")
    assert re.search(
        r"\*\*Worse: 0\.\d\d×\*\* \(simulated\)\. .*\(0\.\d\d to 0\.\d\d, 95 %\).* Slower: .*stage ann", page.output
    )
    assert re.search(r"\| stage ann \| 1\.02 ms \| 1\.53 ms \| 1\.50× \(1\.\d\d to 1\.\d\d\) \| slower \|", page.output)
    assert "| image | sha256:old | sha256:new |" in page.output
    line = CliRunner().invoke(compare_command, [new, "--unpaired", old, "--margin", "5%"])
    assert line.exit_code == 1
    assert re.search(r"  stage ann: 1\.50× \[1\.\d\d to 1\.\d\d\], slower", line.output)
    assert "  changed: packages numpy from 2.2 to 2.3" in line.output
    mixed = CliRunner().invoke(report_command, [new, "--unpaired", old, "--baseline", "amd64"])
    assert mixed.exit_code == 2


# ---- where stages come from
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n"


@pytest.mark.parametrize(
    ("header", "stages"),
    [
        (
            b"Server-Timing: embed;dur=0.512, ann;dur=1.25, payload;dur=0.1\r\n",
            {"embed": 0.512, "ann": 1.25, "payload": 0.1},
        ),
        (b'server-timing: db;desc="a b";dur="3", miss\r\n', {"db": 3.0}),
        (b"server-timing: cache;dur=soon\r\n", {}),
        (b"", {}),
    ],
)
def test_stages_are_read_from_server_timing(header: bytes, stages: dict[str, float]) -> None:
    assert server_timing_ms(HEAD + header + b"\r\n{}") == stages


def test_a_body_that_speaks_of_server_timing_is_no_header() -> None:
    assert server_timing_ms(HEAD + b"\r\n\r\nserver-timing: x;dur=1\r\n") == {}


def test_sampled_answers_add_their_stages_up() -> None:
    from collections import deque

    def read(body: bytes) -> SampledAnswer:
        try:
            return msgspec.json.decode(body, type=SampledAnswer)
        except msgspec.MsgspecError as error:
            raise TargetError(str(error)) from error

    reader = SampleReader(read, None, 1)
    waiting = deque(
        (0, 0.0, 0.1, HEAD + b"server-timing: ann;dur=%d\r\n\r\n" % spent + b'{"hits": []}') for spent in (1, 3)
    )
    reader.read(waiting, (0.0, 1.0), 10)
    assert reader.result().stages_ms == {"ann": [4.0, 2]}


def test_an_answer_that_is_none_has_found_nothing() -> None:
    from collections import deque

    def read(body: bytes) -> SampledAnswer:
        raise TargetError(body.decode())

    reader = SampleReader(read, Truth([Exact(0, ["a"], [1.0])], 1), 1)
    reader.read(deque((request, 0.0, 0.1, HEAD + b"\r\n{}") for request in (0, 1)), (0.0, 1.0), 10)
    found = reader.result()
    assert (found.count, found.unreadable, found.recalls) == (2, 2, {0: 0.0})

"""The configuration of rebuilds: what cannot be used is named, and when one is due."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from patience import patient

from index import Root
from service.errors import SettingsError
from service.rebuilds.due import Due
from service.rebuilds.plan import RebuildPlan, Trigger, read_plan
from service.rebuilds.starting import Rebuilds

pytest_plugins = ["serving_fixtures"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("memory = 4", "Expected `str | null`, got `int` - at `$.memory`"),
        ('memory = "4 apples"', "expected a size such as '4 GiB'"),
        ("[sources.changes]\nindex='docs'\ninputs=['a']\nvectors='v'", "may not be called 'changes'"),
        ("[sources.a]\nindex='docs'\ninputs=[]\nvectors='v'", "inputs"),
        ("[[triggers]]\nindex='docs'", "never fires"),
        ("[[triggers]]\nindex='docs'\nat='25:00'", "expected a time of day such as '03:00'"),
        ("[[triggers]]\nindex='docs'\nsource='x'\nat='05:00'", "index 'docs' has no source 'x': it has changes"),
        ("= 1", "rebuilds.toml"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named_with_what_is_wrong(
    tmp_path: Path, content: str, said: str
) -> None:
    plan = tmp_path / "rebuilds.toml"
    plan.write_text(content)
    with pytest.raises(SettingsError) as error:
        read_plan(plan)
    assert said in str(error.value)
    assert str(plan) in str(error.value)


class Written:
    def __init__(self) -> None:
        self.documents = 0
        self.all_folded = False

    def written(self, index: str) -> tuple[int, int]:
        return self.documents, 100

    def folded(self, index: str) -> bool:
        return self.all_folded


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(second=0, microsecond=0)

    def __call__(self) -> datetime:
        return self.now


def wait(rebuilds: Rebuilds) -> None:
    until_s = time.monotonic() + patient(60)
    while rebuilds.records.running() is not None:
        assert time.monotonic() < until_s
        time.sleep(0.05)


def test_a_rebuild_is_due_when_enough_was_written_or_at_its_time_once(own_root: Path) -> None:
    written, clock = Written(), Clock()
    soon = f"{clock.now + timedelta(minutes=1):%H:%M}"
    triggers = [Trigger("docs", changes=50), Trigger("docs", at=soon)]
    rebuilds = Rebuilds(Root(own_root), RebuildPlan(triggers=triggers), dict(os.environ))
    due = Due(rebuilds, written, clock)

    def looked(minutes: int) -> int:
        clock.now += timedelta(minutes=minutes)
        before = len(rebuilds.records.all())
        due.look()
        wait(rebuilds)
        return len(rebuilds.records.all()) - before

    assert looked(0) == 0
    assert looked(1) == 1  # its time
    assert looked(1) == 0
    assert looked(-10) == 0  # the clock was set back …
    assert looked(10) == 0  # … and comes by again, within the hour in which what failed is not repeated
    written.documents = 50
    assert looked(1) == 0
    clock.now = datetime.now(UTC) + timedelta(hours=2)
    due.look()
    records = rebuilds.records.all()
    assert len(records) == 2
    assert all(record.trigger for record in records)


def test_a_time_that_passed_while_another_rebuild_ran_is_kept_until_it_is_done(tmp_path: Path) -> None:
    clock = Clock()
    soon = f"{clock.now + timedelta(minutes=1):%H:%M}"
    rebuilds = Rebuilds(Root(tmp_path), RebuildPlan(triggers=[Trigger("docs", at=soon)]), dict(os.environ))
    due = Due(rebuilds, Written(), clock)
    clock.now += timedelta(minutes=1)
    with rebuilds.records.lock() as other:
        assert other is not None
        due.look()
        assert rebuilds.records.all() == []
    clock.now += timedelta(minutes=1)
    due.look()
    wait(rebuilds)
    clock.now += timedelta(hours=2)
    due.look()
    assert [record.answer.index for record in rebuilds.records.all()] == ["docs"]


def test_a_night_without_changes_is_no_failure(tmp_path: Path) -> None:
    clock, written = Clock(), Written()
    soon = f"{clock.now + timedelta(minutes=1):%H:%M}"
    rebuilds = Rebuilds(Root(tmp_path), RebuildPlan(triggers=[Trigger("docs", at=soon)]), dict(os.environ))
    due = Due(rebuilds, written, clock)
    written.all_folded = True
    clock.now += timedelta(minutes=1)
    due.look()
    written.all_folded = False
    clock.now += timedelta(minutes=1)
    due.look()
    assert rebuilds.records.all() == []
    clock.now += timedelta(days=1)
    due.look()
    assert len(rebuilds.records.all()) == 1
    wait(rebuilds)

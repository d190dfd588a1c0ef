"""Ids sort as they were made, also when the clock was set back in between."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from indexing import clustered, names

from index import Root, build_generation
from index.disk.stamps import next_stamp


def test_a_stamp_is_the_time_and_later_than_all_before_it() -> None:
    before = datetime.now(UTC)
    found: list[str] = []
    for _ in range(100):
        found.append(next_stamp(found))
    assert found == sorted(set(found))
    at = datetime.strptime(found[0][:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert before - timedelta(seconds=1) < at <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("latest", "digits", "following"),
    [
        ("20991231T235959Z-fffe", 4, "20991231T235959Z-ffff"),
        ("20991231T235959Z-ffff", 4, "21000101T000000Z-0000"),
        ("20991231T235959Z-abcdef", 6, "20991231T235959Z-abcdf0"),
    ],
)
def test_after_a_clock_that_went_ahead_the_next_one_follows_on(latest: str, digits: int, following: str) -> None:
    others = ["", "docs", "20991399T000000Z-0000", "30000101T000000Z-00", "20200101T000000Z-0000", "current"]
    assert next_stamp([*others, latest, *others], digits) == following


def test_the_newest_generation_is_the_last_and_stays_when_a_later_date_lies_before_it(tmp_path: Path) -> None:
    vectors, ids = clustered(60, 8), names(60)
    root = Root(tmp_path)
    first = build_generation(vectors, ids, root=tmp_path, name="docs")
    ahead = first.rename(first.with_name("docs-20990101T000000Z-8000"))  # as made by a clock that was wrong
    (tmp_path / "docs" / "current").unlink()
    later = [build_generation(vectors, ids, root=tmp_path, name="docs", switch=False).name for _ in range(3)]
    assert root.generations("docs") == [ahead.name, *later]
    root.gc("docs", keep=1)
    assert root.generations("docs") == later[-1:]

"""`perwatt build` over an index that was written to: no write is lost, whatever it builds from, unless told to."""

import json
from pathlib import Path

import numpy as np
import pytest
from changing import DIM, Documents, write
from click.testing import CliRunner
from indexing import write_vectors_folder

import index
from index.backup.pull import pull
from index.backup.push import push
from index.backup.store import FolderStore
from index.changes.fold import FoldedTo, folded_to
from index.changes.log import Log
from index.changes.log_file import LOG_FILE, RECEIPT_FILE, Write
from index.changes.log_reader import LogReader
from index.changes.rebuild import needed_after, trim
from index.cli import build
from index.disk.layout import profile_of
from index.disk.manifest import read_manifest
from index.disk.root import Root
from index.errors import BackupError, InputError
from index.keeping import gc, generations


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    rows = np.random.default_rng(0).standard_normal((60, DIM)).astype(np.float32)
    return write_vectors_folder(tmp_path / "vectors", [f"d{row}" for row in range(60)], rows)


def built(tmp_path: Path, *words: str) -> Path:
    ran = CliRunner().invoke(build, [*words, "--index", "docs", "--root", str(tmp_path), "--json"])
    if isinstance(ran.exception, index.IndexingError):
        raise ran.exception
    assert ran.exit_code == 0, ran.output
    return Path(json.loads(ran.stdout)["path"])


def model_of(tmp_path: Path) -> str | None:
    model = read_manifest(Root(tmp_path).path("docs"))["model"]
    return None if model is None else model["id"]


def wrote(tmp_path: Path, *writes: Write) -> None:
    with Log(tmp_path / "docs", DIM, model_of(tmp_path)) as log:
        log.append(writes)


def ids(path: Path) -> set[str]:
    with index.open_generation(path) as opened:
        return {opened.external_id(row) for row in range(opened.count)}


def test_from_changes_builds_as_the_served_generation_was_built(tmp_path: Path) -> None:
    documents = Documents(80)
    documents.build(tmp_path, metric="l2", recall_target=0.9, language="german")
    with pytest.raises(InputError, match="holds every change of index 'docs' already"):
        built(tmp_path, "--from-changes")
    wrote(tmp_path, documents.put(3, 33), documents.put(200, 1), documents.delete(4))
    first = Root(tmp_path).alias("docs").generation
    path = built(tmp_path, "--from-changes")
    manifest = read_manifest(path)
    assert Root(tmp_path).alias("docs")[:2] == (path.name, first)
    assert manifest["count"] == len(documents.seeds) == 80
    assert folded_to(manifest).seq == 3
    before = read_manifest(tmp_path / "docs" / first)
    for kept in ("metric", "filterable", "dim", "model", "canaries"):
        assert manifest[kept] == before[kept]
    assert manifest["lexical"]["language"] == "german"
    assert manifest["recall"]["target"] == 0.9
    assert read_manifest(built_after(tmp_path, documents))["metric"] == "ip"


@pytest.mark.parametrize(("asked", "there"), [([], True), (["--no-lexical"], False)])
def test_an_index_that_began_without_a_text_has_words_once_there_are_some(
    vectors: Path, tmp_path: Path, asked: list[str], there: bool
) -> None:
    """Unless it was built to have none."""
    assert read_manifest(built(tmp_path, str(vectors), *asked))["lexical"] is None
    wrote(tmp_path, Write("new", np.ones(DIM, np.float32).tobytes(), b'{"text": "an octopus has arms"}'))
    words = read_manifest(built(tmp_path, "--from-changes"))["lexical"]
    assert (words is not None) == there


@pytest.mark.parametrize(
    "asked", [("--profile", "disk"), ("--family", "graph", "--profile", "speed", "--builder", "own")]
)
def test_from_changes_keeps_the_profile_and_the_builder(tmp_path: Path, asked: tuple[str, ...]) -> None:
    how = {name.removeprefix("--"): value for name, value in zip(asked[::2], asked[1::2], strict=True)}
    documents = Documents(700)
    documents.build(tmp_path, recall_target=0.5, **how)
    for turn, more in enumerate(((), ("--anew",))):
        wrote(tmp_path, documents.put(800 + turn, turn))
        manifest = read_manifest(built(tmp_path, "--from-changes", *asked[:2] * ("--family" in asked), *more))
        assert (profile_of(manifest), manifest["family"]) == (how["profile"], how.get("family", "ivf"))
    assert manifest["build"].get("builder", "own") == "own"


def test_an_index_that_grows_into_a_graph_has_it_from_our_builder(tmp_path: Path) -> None:
    documents = Documents(700)
    documents.build(tmp_path, family="flat")
    wrote(tmp_path, documents.put(800, 1))
    path = built(tmp_path, "--from-changes", "--family", "graph", "--recall-target", "0.5")
    assert read_manifest(path)["build"]["builder"] == "own"


def built_after(tmp_path: Path, documents: Documents) -> Path:
    wrote(tmp_path, documents.put(5, 55))
    return built(tmp_path, "--from-changes", "--metric", "ip")


def test_a_folder_is_built_with_what_was_written_and_without_it_only_when_told(tmp_path: Path, vectors: Path) -> None:
    plain = built(tmp_path, str(vectors))
    assert read_manifest(plain)["changes"] is None
    wrote(tmp_path, write("new", 1), Write("d7", None))
    expected = ids(plain) - {"d7"} | {"new"}
    assert ids(built(tmp_path, str(vectors))) == expected
    dropped = built(tmp_path, str(vectors), "--drop-changes")
    assert ids(dropped) == ids(plain)
    assert folded_to(read_manifest(dropped)).seq == 2


def test_a_log_that_was_created_and_not_begun_is_none(tmp_path: Path, vectors: Path) -> None:
    """As a disk that is full leaves it."""
    built(tmp_path, str(vectors))
    (tmp_path / "docs" / LOG_FILE).touch()
    for words in ((), ("--drop-changes",)):
        assert read_manifest(built(tmp_path, str(vectors), *words))["changes"] is None
    assert CliRunner().invoke(gc, ["docs", "--root", str(tmp_path)], catch_exceptions=False).exit_code == 0
    store = FolderStore(tmp_path / "store")
    assert push(Root(tmp_path), "docs", store).changes is None
    wrote(tmp_path, write("a", 1))
    assert push(Root(tmp_path), "docs", store).changes == 1
    built(tmp_path / "other", str(vectors))
    (tmp_path / "new" / "docs").mkdir(parents=True)
    for root in ("other", "new"):
        (tmp_path / root / "docs" / LOG_FILE).touch()
    with pytest.raises(BackupError, match="are not its own"):
        pull(Root(tmp_path / "other"), "docs", store)
    assert pull(Root(tmp_path / "new"), "docs", store).changes == 1


def test_changes_beyond_a_receipt_that_is_gone_are_dropped_too(tmp_path: Path, vectors: Path) -> None:
    built(tmp_path, str(vectors))
    wrote(tmp_path, write("a", 1), write("b", 2))
    (tmp_path / "docs" / RECEIPT_FILE).unlink()
    assert folded_to(read_manifest(built(tmp_path, str(vectors), "--drop-changes"))).seq == 2


def test_a_folder_is_not_built_once_its_older_changes_were_trimmed(tmp_path: Path, vectors: Path) -> None:
    built(tmp_path, str(vectors))
    for id_ in ("new", "other"):
        wrote(tmp_path, write(id_, 1))
        built(tmp_path, "--from-changes")
    assert CliRunner().invoke(gc, ["docs", "--root", str(tmp_path), "--keep", "0"]).exit_code == 0
    with LogReader(tmp_path / "docs") as reader:
        assert reader.head.first == 2
    with pytest.raises(InputError, match=r"changes 1 to 1 of index 'docs' .* --drop-changes"):
        built(tmp_path, str(vectors))
    wrote(tmp_path, write("newer", 2))
    assert {"new", "newer"} <= ids(built(tmp_path, "--from-changes"))
    assert "new" not in ids(built(tmp_path, str(vectors), "--drop-changes"))


def test_a_folder_is_built_night_after_night_with_every_change(tmp_path: Path, vectors: Path) -> None:
    """What the log has is laid over the folder each time, so no generation from one lets a change go."""
    built(tmp_path, str(vectors))
    for night in range(4):
        wrote(tmp_path, write(f"day{night}", 1 + night))
        path = built(tmp_path, str(vectors))
        assert read_manifest(path)["changes"]["seq"] == night + 1
        assert {f"day{day}" for day in range(night + 1)} <= ids(path)
        assert CliRunner().invoke(gc, ["docs", "--root", str(tmp_path), "--keep", "0"]).exit_code == 0
        assert trim(Root(tmp_path), "docs") == 0
    for _ in range(2):  # of which the first is the one before
        built(tmp_path, str(vectors), "--drop-changes")
    assert CliRunner().invoke(gc, ["docs", "--root", str(tmp_path), "--keep", "0"]).exit_code == 0
    with LogReader(tmp_path / "docs") as reader:
        assert reader.head.first == 5  # whoever drops them needs none


def test_changes_leave_the_log_when_every_kept_generation_holds_them(tmp_path: Path, vectors: Path) -> None:
    assert trim(Root(tmp_path), "docs") == 0
    built(tmp_path, str(vectors))
    wrote(tmp_path, write("a", 1), write("b", 2))
    built(tmp_path, "--from-changes")
    assert needed_after(Root(tmp_path), "docs") == FoldedTo(0, 0)
    assert trim(Root(tmp_path), "docs") == 0
    wrote(tmp_path, write("c", 3))
    built(tmp_path, "--from-changes")
    Root(tmp_path).gc("docs", keep=0)
    assert needed_after(Root(tmp_path), "docs").seq == 2
    with Log(tmp_path / "docs", DIM, model_of(tmp_path)):
        assert trim(Root(tmp_path), "docs") is None  # whoever writes it does it
    assert trim(Root(tmp_path), "docs") == 2
    with Log(tmp_path / "docs", DIM, model_of(tmp_path)) as log:
        assert (log.first, log.last) == (3, 3)


def test_a_folder_of_another_model_is_not_mixed_with_the_changes(tmp_path: Path, vectors: Path) -> None:
    built(tmp_path, str(vectors))
    wrote(tmp_path, write("a", 1))
    rows = np.random.default_rng(0).standard_normal((60, 7)).astype(np.float32)
    other = write_vectors_folder(tmp_path / "other", [f"d{row}" for row in range(60)], rows)
    with pytest.raises(InputError, match=f"with {DIM} dimensions, and these rows"):
        built(tmp_path, str(other))


def test_it_is_one_source_or_the_other(tmp_path: Path, vectors: Path) -> None:
    for words in ([], [str(vectors), "--from-changes"]):
        ran = CliRunner().invoke(build, [*words, "--index", "docs", "--root", str(tmp_path)])
        assert ran.exit_code == 2
        assert "give a folder of vectors, or --from-changes" in ran.output


def test_changes_are_not_folded_in_by_who_wants_them_dropped(tmp_path: Path, vectors: Path) -> None:
    plain = built(tmp_path, str(vectors))
    wrote(tmp_path, write("new", 1))
    words = ["--from-changes", "--drop-changes", "--index", "docs", "--root", str(tmp_path)]
    ran = CliRunner().invoke(build, words)
    assert ran.exit_code == 2
    assert "--drop-changes builds from a folder of vectors alone" in ran.output
    assert Root(tmp_path).path("docs") == plain


def test_dropped_originals_stay_dropped(tmp_path: Path) -> None:
    documents = Documents(400)
    documents.build(tmp_path, family="graph", originals="drop", recall_target=0.5)
    wrote(tmp_path, documents.put(3, 33))
    with pytest.raises(InputError, match="was built without its originals, so a generation from it has none to keep"):
        built(tmp_path, "--from-changes", "--originals", "keep")
    path = built(tmp_path, "--from-changes")
    manifest = read_manifest(path)
    assert (manifest["family"], manifest["originals"]) == ("graph", "drop")
    assert "with_originals" in manifest["recall"]
    [row] = json.loads(CliRunner().invoke(generations, ["docs", "--root", str(tmp_path), "--json"]).stdout)[-1:]
    assert (row["originals"], row["bytes_a_vector"]) == ("drop", -(-manifest["memory_bytes"] // 400))
    ran = CliRunner().invoke(build, [str(folder_of(tmp_path)), "--index", "new", "--root", str(tmp_path), *DROPPING])
    assert ran.exit_code == 0, ran.output
    assert "dropped: exact searches and scores go by codes; recall is" in ran.stdout
    assert "bytes a vector" in ran.stdout


DROPPING = ("--originals", "drop", "--recall-target", "0.5")


def folder_of(tmp_path: Path) -> Path:
    rows = np.random.default_rng(0).standard_normal((300, DIM)).astype(np.float32)
    return write_vectors_folder(tmp_path / "many", [f"d{row}" for row in range(300)], rows)

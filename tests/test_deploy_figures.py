"""The README and BENCHMARKS.md say what was measured, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.command import STEPS
from deploy.figures import render, store
from deploy.figures.store import KEPT, TOP, VERSIONS, kept
from service.query.ranked.fusion import DEPTH

README, BENCHMARKS = store.README.read_text(), store.BENCHMARKS.read_text()


@pytest.mark.parametrize("path", list(render.DOCUMENTS), ids=lambda path: path.name)
def test_a_document_shows_the_kept_figures(path: Path) -> None:
    assert render.rendered(path, path.read_text()) == path.read_text()


def test_a_figure_changed_by_hand_is_noticed() -> None:
    match = re.search(r"<!-- figures: encode -->\n(.*\n)+?.*?(\d+\.\d) ×", BENCHMARKS)
    assert match
    start, end = match.span(2)
    altered = BENCHMARKS[:start] + "9.9" + BENCHMARKS[end:]
    assert render.rendered(store.BENCHMARKS, altered) == BENCHMARKS != altered


def test_the_readme_sells_in_seven_kilobytes_and_shows_a_row_we_lose() -> None:
    assert len(README.encode()) <= 7000
    [table] = re.findall(r"<!-- figures: short -->\n(.*?)\n\n", README, re.DOTALL)
    header, _, *rows = table.splitlines()
    assert header.startswith("| queries a second")
    assert len(rows) == 5
    assert sum("we lose" in row for row in rows) == 1
    [walked] = [row.split("|") for row in rows if "of a graph, recall" in row]
    assert len(re.findall(r"0\.\d\d", walked[1])) == len(re.findall(r"\d\.\d\d", walked[2])) == 2


def test_the_pictures_show_the_kept_figures() -> None:
    for path, text in render.pictures().items():
        assert path.read_text() == text
        assert f"({path.name})" in BENCHMARKS
    drawn = render.pictures()[KEPT / "encode.svg"]
    rate = kept("encode")["figures"]["cases"]["documents"]["perwatt_int8"]["documents_per_s"]
    assert f">{rate:,.0f}</text>" in drawn
    assert "prefers-color-scheme:dark" in drawn


def test_a_missing_marker_is_an_error() -> None:
    with pytest.raises(SystemExit, match="exactly one pair"):
        render.rendered(store.BENCHMARKS, BENCHMARKS.replace("<!-- end: quality -->", ""))


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in render.BLOCKS
        if name not in ("experiment", "router", "jobs") or (KEPT / f"{name}.json").exists()
    ],
)
def test_kept_figures_name_their_machine_versions_and_date(name: str) -> None:
    content = kept(name)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", content["measured_on"])
    assert set(content["machine"]) == {"arch", "cpu", "cores", "isa"}
    assert set(content["versions"]) == set(VERSIONS)


def test_each_make_of_processor_keeps_its_own_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "KEPT", tmp_path)
    machines = {cpu: {"arch": arch, "cpu": cpu} for cpu, arch in (
        ("AMD EPYC 9R14", "x86_64"), ("Intel(R) Xeon(R)", "x86_64"), ("Neoverse-V2", "aarch64"),
    )}  # fmt: skip
    for number, machine in enumerate(machines.values()):
        monkeypatch.setattr(store, "this_machine", lambda machine=machine: machine)
        for name in ("growth", "text"):
            store.keep(name, number)
    names = ["growth.aarch64.json", "growth.amd.json", "growth.intel.json", "text.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert {each["figures"] for each in store.kept_by_make("growth")} == {0, 1, 2}
    intel = store.kept_of("growth", {"arch": "x86_64", "cpu": "INTEL XEON 6"})
    assert intel is not None
    assert intel["figures"] == 1
    assert store.kept("text")["figures"] == 2
    assert store.kept_of("ann", machines["Neoverse-V2"]) is None
    older = tmp_path / "growth.amd.json"
    older.write_text(older.read_text().replace('"measured_on": "2', '"measured_on": "3'))
    assert store.kept("growth")["figures"] == 0  # the newest


def test_the_default_fusion_loses_to_neither_ranking_on_any_collection_that_was_measured() -> None:
    for row in kept("fusion")["figures"]:
        lost = max(row["dense"], row["words"]) - row["scores"][str(DEPTH)]
        assert lost <= 0.01, row["collection"]
        assert row["wrong_words"] > row["wrong_words_ranks"], row["collection"]


PAGES = sorted(
    path
    for path in TOP.rglob("*.md")
    if not {".venv", "node_modules", ".perwatt", "build"} & set(path.relative_to(TOP).parts)
)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(TOP).as_posix())
def test_commands_targets_and_links_of_a_page_exist(page: Path) -> None:
    text, makefile = page.read_text(), (TOP / "Makefile").read_text()
    for target in set(re.findall(r"(?:^|`|&& )make ([a-z0-9-]+)", text, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    blocks = "\n".join(
        re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)
    )  # elsewhere a line may begin with the name
    for command in {*re.findall(r"`perwatt ([a-z]+)", text), *re.findall(r"^perwatt ([a-z]+)", blocks, re.MULTILINE)}:
        assert command in STEPS, command
    links = re.findall(r"\]\(((?!https?:)[^)\s]+)\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    for link in links:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}, link

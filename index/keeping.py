"""The commands that keep an index, with shards or without: what there is, what is served, whether it is intact.

Tables for people, `--json` for programs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from index.disk.root import Alias, Root
from index.errors import GenerationError, NotFoundError
from index.options import json_option, root_option
from index.printing import bytes_a_vector, print_alias, print_json, print_table

if TYPE_CHECKING:
    from index.shards.sealed import ShardedIndex


def _place(root: Path, name: str) -> Root | ShardedIndex:
    """Where an index is, which may have shards."""
    from index.shards.sealed import ShardedIndex

    sharded = ShardedIndex(root, name)
    return sharded if sharded.there else Root(root)


@click.command()
@click.argument("name", required=False)
@root_option
@json_option
def generations(name: str | None, root: Path, as_json: bool) -> None:
    """List the generations of index NAME, or of every index."""
    from index.shards.sealed import names

    place = Root(root)
    wanted = [name] if name else [*place.names(), *names(root)]
    rows = [row for index in wanted for row in _generation_rows(_place(root, index), index)]
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo(f"no generation of {name or 'any index'} under {root}")
    columns = ("generation", "state", "count", "dim", "family", "profile", "bytes/vector", "recall@10", "created")
    cells = [
        [
            row["generation"],
            row["state"],
            *(
                [row["error"], "", "", "", "", "", ""]
                if "error" in row
                else [
                    f"{row['count']:,}",
                    row["dim"],
                    row["family"],
                    row["profile"] or "",
                    f"{row['bytes_a_vector']:,}" if "bytes_a_vector" in row else "",
                    "" if row["recall"] is None else f"{row['recall']:.4f}",
                    row["created_at"],
                ]
            ),
        ]
        for row in rows
    ]
    if rows:
        print_table(columns, cells)


def _generation_rows(root: Root | ShardedIndex, name: str) -> list[dict[str, Any]]:
    if isinstance(root, Root):
        return _plain_rows(root, name)
    state, rows = _states(root.alias), []
    for generation in root.generations():
        row: dict[str, Any] = {"index": name, "generation": generation, "state": state.get(generation, "")}
        try:
            content = root.generation(generation).content
            row |= {key: content[key] for key in ("count", "dim", "metric", "created_at")}
            row |= {"family": f"{len(content['shards'])} shards", "profile": None}
            row |= {"recall": content.get("recall", {}).get("recall")}
        except GenerationError as error:
            row["error"] = str(error)
        rows.append(row)
    return rows


def _states(read: Callable[[], Alias]) -> dict[str | None, str]:
    """What each generation that an alias names is; nothing where there is no alias."""
    try:
        alias = read()
    except NotFoundError:
        return {}
    return {alias.previous: "previous", alias.generation: "served"}


def _plain_rows(root: Root, name: str) -> list[dict[str, Any]]:
    from index.disk.layout import originals_of, profile_of
    from index.disk.manifest import read_manifest

    state = _states(lambda: root.alias(name))
    rows: list[dict[str, Any]] = []
    for generation in root.generations(name):
        row: dict[str, Any] = {"index": name, "generation": generation, "state": state.get(generation, "")}
        try:
            manifest = read_manifest(root.path(name, generation))
            row |= {key: manifest[key] for key in ("count", "dim", "metric", "family", "created_at", "memory_bytes")}
            row |= {"profile": profile_of(manifest), "recall": manifest["recall"]["recall"]}
            row |= {"originals": originals_of(manifest), "bytes_a_vector": bytes_a_vector(manifest)}
            row |= {"disk_bytes": sum(file["bytes"] for file in manifest["files"].values())}
        except GenerationError as error:
            row["error"] = str(error)
        rows.append(row)
    return rows


@click.command()
@click.argument("name")
@click.argument("generation")
@root_option
@click.option("--expect-etag", help="Fail when the alias is no longer the one with this tag.")
@json_option
def switch(name: str, generation: str, root: Path, expect_etag: str | None, as_json: bool) -> None:
    """Serve GENERATION of index NAME, once every byte of it is checked."""
    place = _place(root, name)
    alias = (
        place.switch(name, generation, expect_etag)
        if isinstance(place, Root)
        else place.switch(generation, expect_etag)
    )
    print_alias(name, alias, as_json)


@click.command()
@click.argument("name")
@root_option
@json_option
def rollback(name: str, root: Path, as_json: bool) -> None:
    """Serve the generation of index NAME that was served before; once more goes forward again."""
    place = _place(root, name)
    print_alias(name, place.rollback(name) if isinstance(place, Root) else place.rollback(), as_json)


@click.command()
@click.argument("name")
@click.argument("generation", required=False)
@root_option
@json_option
def verify(name: str, generation: str | None, root: Path, as_json: bool) -> None:
    """Check every byte of a generation of index NAME (default: the served one) against its hashes."""
    from index.disk.integrity import verify as verify_folder

    place = _place(root, name)
    if isinstance(place, Root):
        path = place.path(name, generation)
        verify_folder(path)
    else:
        path = place.verify(generation).path
    if as_json:
        print_json({"generation": path.name, "intact": True})
    else:
        click.echo(f"{path.name} is intact")


@click.command()
@click.argument("name", required=False)
@root_option
@click.option("--keep", type=click.IntRange(0), default=2, show_default=True, help="Newest generations to keep anyway.")
@click.option("--missing-ok", is_flag=True, help="Delete nothing where there is no index NAME yet.")
@json_option
def gc(name: str | None, root: Path, keep: int, missing_ok: bool, as_json: bool) -> None:
    """Delete old generations of index NAME (default: of every index) and what killed builds left.

    The served generation and the one before it stay. Changes that all kept generations hold leave the log; where a
    service writes it, it does that by itself.
    """
    from index.changes.rebuild import trim
    from index.shards.sealed import ShardedIndex, names

    place = Root(root)
    deleted: dict[str, list[str]] = {}
    for index in [name] if name else [*place.names(unfinished=True), *names(root)]:
        try:
            sharded = ShardedIndex(root, index)
            deleted[index] = sharded.gc(keep) if sharded.there else place.gc(index, keep)
            for each in sharded.places() if sharded.there else [place]:
                trim(each, index)
        except NotFoundError:
            if not missing_ok:
                raise
            deleted[index] = []
    if as_json:
        print_json(deleted)
        return
    for index, gone in deleted.items():
        click.echo(f"{index}: deleted {', '.join(gone) if gone else 'nothing'}")

"""How the commands show things: aligned pairs and tables for people, JSON for programs."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import click

from index.disk import lists
from index.disk.layout import profile_of
from index.disk.manifest import QUERY_ENCODER, SPARSE
from index.disk.root import Alias
from index.search.finding import effort_for


def print_built(path: Path, manifest: dict[str, Any], inferred: Collection[str] = ()) -> None:
    """inferred: the fields whose types nobody declared."""
    recall, made = manifest["recall"], manifest["build"]
    print_pairs(
        [
            ("generation", manifest["generation"]),
            ("vectors", f"{manifest['count']:,} × {manifest['dim']}, {manifest['metric']}"),
            ("family", f"{manifest['family']} ({manifest['family_reason']})"),
            *([("profile", _profile(profile, made))] if (profile := profile_of(manifest)) else []),
            *([("originals", _originals(recall))] if "with_originals" in recall else []),
            ("recall@10", _recall(recall)),
            ("effort", _effort(manifest)),
            *([("query encoder", _query_encoder(fitted))] if (fitted := manifest.get(QUERY_ENCODER)) else []),
            *([("sparse weights", _sparse(sparse))] if (sparse := manifest.get(SPARSE)) else []),
            ("filterable", _filterable(manifest["filterable"], inferred)),
            ("memory to serve", f"{size(manifest['memory_bytes'])}, {bytes_a_vector(manifest):,} bytes a vector"),
            *([("on the disk", _on_disk(manifest))] if profile == lists.PROFILE else []),
            ("build", _cost(made)),
            ("folder", str(path)),
        ]
    )


def print_sharded(content: dict[str, Any], folder: Path) -> None:
    """What a `shards.json` says."""
    words, counts = content["words"], [shard["count"] for shard in content["shards"]]
    print_pairs(
        [
            ("generation", content["generation"]),
            ("vectors", f"{content['count']:,} × {content['dim']}, {content['metric']}"),
            ("shards", f"{len(counts)} of {min(counts):,} to {max(counts):,} documents; {content['rule']}"),
            *_whole(content.get("recall", {})),
            ("words", "none" if words is None else f"{words['words']:,} in {words['documents']:,} documents"),
            ("filterable", _filterable(content["filterable"], ())),
            ("folder", str(folder)),
        ]
    )


def print_alias(name: str, alias: Alias, as_json: bool) -> None:
    if as_json:
        print_json({"index": name, "generation": alias.generation, "previous": alias.previous, "etag": alias.etag})
    else:
        click.echo(f"{name} serves {alias.generation} (before: {alias.previous or 'nothing'})")


def _whole(recall: dict[str, Any]) -> list[tuple[str, str]]:
    """What was measured of all shards together."""
    if "effort" not in recall:
        return []
    effort = "of its own for each shard" if recall["effort"] is None else f"{recall['effort']}, by the recall of all"
    return [("recall", _recall(recall)), ("effort", effort)]


def _recall(recall: dict[str, Any]) -> str:
    if not recall["queries"]:
        return f"1 ({recall['method']})"
    return (
        f"{recall['recall']:.4f} (95 %: {recall['low']:.4f} to {recall['high']:.4f}, {recall['queries']:,} queries), "
        f"target {recall['target']:g}"
    )


def _originals(recall: dict[str, Any]) -> str:
    return (
        f"dropped: exact searches and scores go by codes; recall is {recall['recall']:.4f}, and with the originals "
        f"{recall['with_originals']:.4f}"
    )


def bytes_a_vector(manifest: dict[str, Any]) -> int:
    """Of memory to serve, beside what each process holds for itself."""
    return int(-(-manifest["memory_bytes"] // manifest["count"]))


def _on_disk(manifest: dict[str, Any]) -> str:
    records = manifest["sections"][lists.RECORDS_FILE]
    read = size(manifest["files"][lists.RECORDS_FILE]["bytes"])
    return f"{read}, {records['stride_bytes']} bytes a vector, of which a search reads the few that it needs"


def _filterable(fields: dict[str, str], inferred: Collection[str]) -> str:
    shown = [f"{name}:{type_}{' (inferred)' if name in inferred else ''}" for name, type_ in fields.items()]
    return ", ".join(shown) or "no field"


def _query_encoder(entry: dict[str, Any]) -> str:
    says = entry["measured"]
    return (
        f"fitted, {entry['layers']} layers: loses {says['loss']:.4f} of nDCG@10 (95 %: {says['low']:.4f} to "
        f"{says['high']:.4f}, {says['queries']:,} queries), {says['sent']:.0%} through the model; a query takes "
        f"{entry['cpu_of_model']:.2f} of the model's time"
    )


def _sparse(entry: dict[str, Any]) -> str:
    return f"{entry['sizes']['postings']:,} by {entry['model']['name']}"


def _profile(profile: str, made: dict[str, Any]) -> str:
    """With how it was chosen, which a generation of an earlier version does not say."""
    chosen = made.get("profile")
    if chosen is None:
        return profile
    took = chosen.get("walk_us")
    figures = "" if took is None else ": " + ", ".join(f"{name} {us:,.1f} µs" for name, us in took.items())
    return f"{profile} ({chosen['how']}{figures})"


def _effort(manifest: dict[str, Any]) -> str:
    effort = manifest["effort"]
    if effort["unit"] == "none":
        return "none: every vector is scored"
    default, target = f"{effort['unit']} {effort['default']}", manifest["recall"]["target"]
    cheaper = effort_for(effort["curve"], target)
    if cheaper is None or cheaper >= effort["default"]:
        return default
    scored = {point["effort"]: point["scored"] for point in effort["curve"]}
    share = scored[cheaper] / scored[effort["default"]]
    return (
        f"{default}, so that questions find enough too; {cheaper} (--effort target) reaches {target:g} for rows like "
        f"these and compares {share:.2f} of the vectors"
    )


def _cost(made: dict[str, Any]) -> str:
    return f"{made['seconds']:.1f} s on {made['threads']} threads, {size(made['peak_memory_bytes'])} at most"


def size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def print_json(content: Any) -> None:
    click.echo(json.dumps(content, ensure_ascii=False, indent=1))


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        click.echo(f"{name:<{width}}  {value}")


def print_table(columns: Sequence[str], cells: Sequence[Sequence[Any]]) -> None:
    texts = [[str(cell) for cell in row] for row in cells]
    widths = [max(len(row[place]) for row in [list(columns), *texts]) for place in range(len(columns))]
    for row in [list(columns), *texts]:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())

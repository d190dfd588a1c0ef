"""Request templates: how any search over HTTP is asked, in a TOML file.

    engine = "My search"
    effort = "beam"                                # what {effort} is called there; only with {effort}
    [search]
    path = "/search?limit={k}"
    headers = { Authorization = "Bearer {env.MY_KEY}" }
    body = '{"q": "{text}", "vector": "{vector}", "top": "{k}", "filter": "{filter}", "beam": "{effort}"}'
    ids = "hits[*].id"
    scores = "hits[*].score"                       # may be missing
    took_ms = "took"                               # may be missing
    [exact]                                        # what differs when exact answers are wanted; may be missing
    body = '{"vector": "{vector}", "top": "{k}", "exact": true}'
    [version]                                      # what to ask for the record; each may be missing
    path = "/"
    select = "version.number"

A text of the body that is one place alone (`"{k}"`) becomes the value with its type; within more text its value is
written into it. A member whose place has no value, because the query carries no such thing, is left out, and so is an
object that is left with nothing. Places: {text}, {vector} (numbers), {vector_base64} (little-endian float32), {id},
{k}, {filter} (in the engine's own language), {effort}, {index}, {env.NAME} in headers and paths, and the names under
[variables]. {text_quoted} is the text as a JSON string, for query languages within a text.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from loadtest.errors import WorkloadError
from loadtest.targets.selector import parse

PLACE = re.compile(r"\{(env\.\w+|[a-z_]\w*)\}")
KINDS = {
    "text": "text",
    "text_quoted": "text",
    "vector": "vector",
    "vector_base64": "vector",
    "id": "id",
}  # of a query, by place
PLACES = {*KINDS, "k", "filter", "effort", "index"}


class Ask(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A search.

    Args:
        ids, scores, took_ms: where they stand in the answer.
        empty: where something stands in an answer without hits, if that has no ids at all.
        both: a query must carry everything that has a place, and not one of them.
        absent: values of places that would have none.
    """

    method: str = "POST"
    path: str = ""
    headers: dict[str, str] = {}
    body: Any = None
    ids: str = ""
    scores: str = ""
    took_ms: str = ""
    empty: str = ""
    both: bool = False
    absent: dict[str, Any] = {}


class About(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A question about the engine: what stands at `select` of the answer, or the whole of it."""

    method: str = "GET"
    path: str
    headers: dict[str, str] = {}
    body: Any = None
    select: str = ""


class Template(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A file of a template; only `engine` and `search` must be there.

    Args:
        documented: the documentation that the template was written from, where nobody ran the engine here.
        effort: what the engine calls its effort; `effort_from_k`: it is never below k; `highest_effort`: the engine
            refuses to be asked for more.
        search: what `--mode dense` and no mode ask.
        resolve: questions whose answers are values of further places, asked once before the load.
        version, settings, count: what is asked for the record.
    """

    engine: str
    documented: str = ""
    effort: str = ""
    effort_from_k: bool = False
    highest_effort: int | None = None
    variables: dict[str, str] = {}
    search: Ask
    lexical: Ask | None = None
    hybrid: Ask | None = None
    exact: Ask | None = None
    resolve: dict[str, About] = {}
    version: About | None = None
    settings: About | None = None
    count: About | None = None
    ready: str = "/"


ABSENT = object()


def read_template(path: Path, variables: dict[str, str] | None = None) -> Template:
    """The template of a file, with `variables` in place of its own. Raises WorkloadError with what is wrong in it."""
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
        for part in ("lexical", "hybrid", "exact"):
            if part in raw and isinstance(raw.get("search"), dict):
                raw[part] = {**raw["search"], **raw[part]}
        found = msgspec.convert(raw, Template)
    except (OSError, ValueError, msgspec.MsgspecError) as error:  # tomllib and UTF-8 raise ValueErrors
        raise WorkloadError(f"the template {path} cannot be read: {error}") from error
    unknown = sorted((variables or {}).keys() - found.variables.keys() - found.resolve.keys())
    if unknown:
        known = ", ".join(sorted(found.variables)) or "none"
        raise WorkloadError(f"{path.name} has no variable {', '.join(unknown)}; it has: {known}")
    values = {**found.variables, **(variables or {})}
    places = values.keys() | found.resolve.keys()
    given = {name: getattr(found, name) for name in ("search", "lexical", "hybrid", "exact")}
    asks = {name: _checked(path, name, ask, places) for name, ask in given.items() if ask is not None}
    return msgspec.structs.replace(found, variables=values, **asks)


def _checked(path: Path, name: str, ask: Ask, variables: set[str]) -> Ask:
    where = f"{path.name}, [{name}]"
    if not ask.path.startswith("/"):
        raise WorkloadError(f"{where}: path is {ask.path!r}; expected one that starts with a slash")
    if not ask.ids:
        raise WorkloadError(f"{where}: ids is missing: say where the ids of the hits stand, such as hits[*].id")
    for selector in (ask.ids, ask.scores, ask.took_ms, ask.empty):
        if selector:
            parse(selector)
    ask = msgspec.structs.replace(ask, body=body_of(ask.body, where))
    places = places_of(ask)
    unknown = sorted(p for p in places if p not in PLACES and p not in variables and not p.startswith("env."))
    if unknown:
        raise WorkloadError(
            f"{where}: {{{unknown[0]}}} is no place: expected {', '.join(sorted(PLACES))}, env.NAME, or a name under "
            "[variables]"
        )
    if not places & KINDS.keys():
        raise WorkloadError(f"{where}: the query is nowhere in it: expected {{text}}, {{vector}} or {{id}}")
    return ask


def body_of(body: Any, where: str) -> Any:
    """A body as a JSON value: TOML's own tables, or a text of JSON."""
    if not isinstance(body, str):
        return body
    try:
        return json.loads(body)
    except ValueError as error:
        raise WorkloadError(f'{where}: the body is not JSON ({error}); places stand in quotes: "{{k}}"') from error


def places_of(ask: Ask) -> set[str]:
    """The names of all places."""
    written = json.dumps([ask.path, ask.headers, ask.body])
    return {found[1] for found in PLACE.finditer(written)}


def kinds_of(ask: Ask) -> set[str]:
    """What of a query has a place in it: some of "text", "vector" and "id"."""
    return {KINDS[place] for place in places_of(ask) if place in KINDS}


def fill(node: Any, values: dict[str, Any]) -> Any:
    """`node` with values in its places; ABSENT where nothing is left of it.

    Raises WorkloadError for a place without a value within a longer text, which cannot be left out.
    """
    if isinstance(node, str):
        whole = PLACE.fullmatch(node)
        if whole:
            return values.get(whole[1], ABSENT)
        return PLACE.sub(lambda place: written(place[1], values), node)
    if isinstance(node, list):
        return [each for each in (fill(one, values) for one in node) if each is not ABSENT]
    if isinstance(node, dict):
        filled = {fill(key, values): fill(value, values) for key, value in node.items()}
        kept = {key: value for key, value in filled.items() if value is not ABSENT}
        return kept if kept or not node else ABSENT
    return node


def written(name: str, values: dict[str, Any]) -> str:
    """A value within a text: as it is, or as JSON."""
    if name not in values:
        raise WorkloadError(f"{{{name}}} has no value and stands within a text, so it cannot be left out")
    value = values[name]
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def filled_path(path: str, values: dict[str, Any]) -> str:
    """A path with its places, each value percent-encoded."""
    return PLACE.sub(lambda place: quote(written(place[1], {**values, **environment(place[1])}), safe=""), path)


def filled_headers(headers: dict[str, str], values: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Headers with their places. Raises WorkloadError for what cannot stand in one."""
    found = []
    for name, value in headers.items():
        alone = PLACE.fullmatch(value)
        if alone and alone[1].startswith("env.") and alone[1].removeprefix("env.") not in os.environ:
            continue  # as a member of the body without a value
        text = PLACE.sub(lambda place: written(place[1], {**values, **environment(place[1])}), value)
        if not (f"{name}{text}".isascii() and f"{name}{text}".isprintable()):
            raise WorkloadError(f"the header {name} has characters that no header has")
        found.append((name, text))
    return tuple(found)


def environment(name: str) -> dict[str, str]:
    """What a place {env.NAME} stands for; keys stay out of files."""
    if not name.startswith("env."):
        return {}
    variable = name.removeprefix("env.")
    if variable not in os.environ:
        raise WorkloadError(f"the template takes {variable} from the environment, and it is not set")
    return {name: os.environ[variable]}

"""The targets by name: perwatt, the templates of this folder, and `http` with a template of one's own."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

from loadtest.errors import WorkloadError
from loadtest.targets.contract import Target
from loadtest.targets.http import HttpTarget
from loadtest.targets.loading import LoadedRows
from loadtest.targets.perwatt import PerwattTarget
from loadtest.targets.template import kinds_of, places_of, read_template
from loadtest.workload.plan import Plan

FOLDER = Path(__file__).parent
Fill = Callable[[str, str, Iterator[LoadedRows], str, dict[str, str]], int]
FILLERS = ("chroma", "pgvector")  # modules of this folder, imported to fill: a generator needs no driver of a database


def names() -> list[str]:
    """What `--target` can be."""
    return ["perwatt", "http", *sorted(path.stem for path in FOLDER.glob("*.toml"))]


def described() -> list[tuple[str, str]]:
    """Each name, and in words what can be asked of it."""
    found = [
        ("perwatt", "by text, vector or id; effort; exact mode; its own vectors of texts"),
        ("http", "any search over HTTP, as --template FILE says"),
    ]
    for name in names()[2:]:
        template = read_template(FOLDER / f"{name}.toml")
        words = f"{template.engine}: by {' or '.join(sorted(kinds_of(template.search)))}"
        words += "".join(f", --mode {mode}" for mode in ("lexical", "hybrid") if getattr(template, mode) is not None)
        effort = template.effort.format_map(template.variables)
        words += f"; effort is {effort}" if effort else ""
        words += "; exact mode" if template.exact is not None else ""
        places = places_of(template.search)
        needed = [f"--set {each}=…" for each, value in template.variables.items() if not value and each in places]
        words += f"; needs {' '.join(needed)}" if needed else ""
        found.append((name, words + (f"; written from {template.documented}" if template.documented else "")))
    return found


def target_of(plan: Plan) -> Target:
    """The target of a plan. Raises WorkloadError for one that there is not, and for a template that cannot be read."""
    if plan.target == "perwatt":
        return PerwattTarget(plan)
    if plan.target not in names():
        raise WorkloadError(f"no target is called {plan.target!r}; there are: {', '.join(names())}")
    if (plan.target == "http") != (plan.template is not None):
        raise WorkloadError("--target http and --template FILE belong together: the file says how the engine is asked")
    path = Path(plan.template) if plan.template else FOLDER / f"{plan.target}.toml"
    return HttpTarget(plan, plan.target, read_template(path, plan.variables))


def filler(target: str) -> Fill:
    """Who fills an engine: (url, index, rows, metric, settings) → how many. WorkloadError where nobody here does."""
    if target not in FILLERS:
        raise WorkloadError(f"{target} is filled with its own tools; perwatt loadtest load fills {', '.join(FILLERS)}")
    fill: Fill = importlib.import_module(f"loadtest.targets.{target}").fill
    return fill

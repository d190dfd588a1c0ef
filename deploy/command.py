"""The `perwatt` command: one subcommand for each step of the data path, mounted here and implemented elsewhere.

A subcommand is named in `STEPS` by the place of its click command and the line of help that `perwatt --help` prints, so
that listing the commands imports nothing (FAISS, pyarrow and ONNX Runtime take most of a second together). The order is
the order in which data flows, and so is the help page's.

Errors that the packages foresaw derive from one base class a package and carry a full sentence; they are printed
without a traceback, and so is a disk that is full, failing or not ours to write. Anything else is a defect and keeps
its traceback."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click

from deploy.ending import leave


class Step(NamedTuple):
    place: str  # "module:attribute" of a click command
    help: str


STEPS: dict[str, Step] = {
    "embed": Step("embed.cli:embed", "Embed documents into a vectors folder."),
    "build": Step(
        "index.cli:build", "Build a generation of an index from the vectors in DIR, and serve it when its checks pass."
    ),
    "draft": Step(
        "index.build.drafts.command:draft",
        "Do parts of the graphs that builds with --parts DIR make, on this machine.",
    ),
    "plan": Step(
        "deploy.jobs.cli:plan",
        "Plan a job: cut INPUT into fragments, and say which shard every document belongs to.",
    ),
    "work": Step("deploy.jobs.cli:work", "Do one task of a job: embed a fragment, build a shard, or measure one."),
    "publish": Step(
        "deploy.jobs.cli:publish",
        "Check all shards of a job, make them one generation, and serve it when its checks pass.",
    ),
    "job": Step(
        "deploy.jobs.run_cli:job", "Build an index in shards by many workers, from documents to what is served."
    ),
    "generations": Step("index.keeping:generations", "List the generations of index NAME, or of every index."),
    "switch": Step("index.keeping:switch", "Serve GENERATION of index NAME, once every byte of it is checked."),
    "rollback": Step(
        "index.keeping:rollback",
        "Serve the generation of index NAME that was served before; once more goes forward again.",
    ),
    "verify": Step(
        "index.keeping:verify",
        "Check every byte of a generation of index NAME (default: the served one) against its hashes.",
    ),
    "gc": Step(
        "index.keeping:gc",
        "Delete old generations of index NAME (default: of every index) and what killed builds left.",
    ),
    "export": Step(
        "index.exporting:export",
        "Write index NAME to Parquet, or to .npy and JSON Lines, with what was written to it since.",
    ),
    "push": Step(
        "index.backup.cli:push",
        "Copy index NAME and the changes written to it to TO, a folder or an S3-like store, as a backup.",
    ),
    "pull": Step(
        "index.backup.cli:pull",
        "Copy index NAME and its changes from FROM, where `perwatt push` put them, into the folder of indexes.",
    ),
    "serve": Step("service.cli.serve:serve", "Answer searches over HTTP, with a page for people."),
    "route": Step("service.cli.route:route", "Answer searches of an index in shards, by asking a server of each."),
    "put": Step("service.cli.writes:put", "Write the documents of INPUT… to index NAME of a running service."),
    "import": Step(
        "service.cli.moving:import_",
        "Move in from another engine: SOURCE becomes a vectors folder, a file, or documents of index NAME.",
    ),
    "delete": Step(
        "service.cli.writes:delete",
        "Delete documents from index NAME of a running service, by their IDS or by a filter.",
    ),
    "rebuild": Step(
        "service.cli.writes:rebuild",
        "Have a running service build index NAME anew, and serve what it built when its checks pass.",
    ),
    "usage": Step(
        "service.cli.usage:usage",
        "Show what each key of a running service has used: queries, processor time, joules, dollars.",
    ),
    "keys": Step("service.cli.keys:keys", "Make, show, rotate and revoke the keys of a server."),
    "search": Step("service.cli.searching:search", "Search index NAME for TEXT, here or on a server."),
    "mcp": Step(
        "service.cli.agents:mcp",
        "Offer index NAME of a running service to agents, as tools of the Model Context Protocol.",
    ),
    "eval": Step("service.cli.searching:evaluate", "Score index NAME against relevance judgements in BEIR's format."),
    "tune": Step(
        "deploy.tune:tune",
        "Find the search of index NAME that is worth its price, by relevance judgements in BEIR's format.",
    ),
    "loadtest": Step("loadtest.cli.load:loadtest", "Load a service and measure what a query costs."),
    "report": Step(
        "loadtest.cli.reports:report",
        "Make a report of one run, or of the arms of an experiment; with --peak, of the fleet it would take too.",
    ),
    "compare": Step("loadtest.cli.reports:compare", "Compare two arms, or a build with an earlier one."),
    "fleet": Step(
        "deploy.cloud.cli:fleet",
        "What a real day needs, from records; and measuring on rented machines of both architectures.",
    ),
    "power": Step(
        "loadtest.cli.sources:power",
        "Show which power sources can be read here, what they read, and why the rest cannot.",
    ),
    "prices": Step("loadtest.cli.sources:prices", "What machines cost: the dated table, and refreshing it."),
    "bench": Step("deploy.command:bench", "Measure beside the peers, on this machine."),
    "info": Step("deploy.info:info", "Show this machine as perwatt may use it: cores, memory, SIMD units, versions."),
}

BENCHES: dict[str, Step] = {
    "ann": Step("deploy.figures.ann_command:bench_ann", "Race our engine against every installable peer."),
    "kernels": Step(
        "index.bench.kernels:bench_kernels",
        "Time a distance of each SIMD unit beside NumPy, FAISS and NumKong, and against the read bandwidth.",
    ),
    "changes": Step("index.bench.changes:bench_changes", "Time a search of an index with changes, beside one without."),
    "filtered": Step(
        "index.bench.filtered:bench_filtered", "Time searches through filters beside the cheaper of a walk and a scan."
    ),
    "disk": Step(
        "index.bench.disk.command:bench_disk",
        "Time lists on the disk beside FAISS's and DiskANN, within an enforced limit of memory.",
    ),
    "growth": Step(
        "index.bench.growth:bench_growth",
        "Time searches and builds of ten times as many rows, and fit the exponent of their growth.",
    ),
    "encode": Step(
        "embed.cli:bench_encode", "Time text to vector beside ONNX Runtime, OpenVINO and sentence-transformers."
    ),
    "instructions": Step(
        "deploy.instructions.measure:bench_instructions",
        "Count the instructions of a query on each unit, of arm64 in emulation; not a time.",
    ),
    "queries": Step(
        "service.bench.judged.query_encoders:bench_queries",
        "What a fitted query encoder loses and saves on judged collections in DIR.",
    ),
    "reproduce": Step(
        "deploy.reproduce.command:bench_reproduce",
        "Hold published claims against this machine: confirmed, refuted, or not comparable and why.",
    ),
    "http": Step(
        "service.bench.command:bench_http", "Requests per second of one core over HTTP, beside other servers."
    ),
    "hybrid": Step(
        "service.bench.texts.hybrid:bench_hybrid",
        "What a hybrid search costs beside its two parts, and what words cost beside bare tantivy.",
    ),
    "text": Step(
        "service.bench.texts.price:bench_text",
        "What a text costs beside its vector, by each encoder of queries and where texts repeat.",
    ),
    "router": Step(
        "service.bench.routed.command:bench_router",
        "What a request costs through a router over shards, beside one of them and one server of all rows.",
    ),
}

# The base class of each package's foreseen errors, looked up only once something was raised.
FORESEEN = (
    ("embed.errors", "EmbedError"),
    ("index.errors", "IndexingError"),
    ("service.errors", "ServiceError"),
    ("loadtest.errors", "LoadTestError"),
    ("deploy.errors", "DeployError"),
    ("index.bench.errors", "BenchError"),
)


# Packages that only the commands of an extra import.
EXTRAS = dict.fromkeys(
    ("boto3", "botocore", "gevent", "hdrh", "locust", "psutil", "psycopg", "scipy", "threadpoolctl"), "loadtest"
)

# Names of files that are only read: those may be any bytes. What becomes a folder, a name or a text may not: libraries
# below, requests and indexes know UTF-8 alone, and Python hands on other bytes as surrogates.
ANY_BYTES = frozenset({"inputs"})


def _require_utf8(command: click.Command) -> None:
    for param in command.params:
        if param.name not in ANY_BYTES:
            param.callback = partial(_utf8, param.callback)
    for each in getattr(command, "commands", {}).values():
        _require_utf8(each)


def _utf8(before: Callable[..., Any] | None, ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    for text in value if isinstance(value, tuple) else (value,):
        if isinstance(text, str | Path):
            try:
                str(text).encode()
            except UnicodeEncodeError:
                raise click.BadParameter(f"{str(text)!a} has bytes that are no UTF-8; give it in UTF-8.") from None
    return value if before is None else before(ctx, param, value)


class DataPath(click.Group):
    """A group whose commands are imported when they are used and listed in the order of `steps`."""

    def __init__(self, *arguments: Any, steps: dict[str, Step], title: str, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.steps, self.title = steps, title
        self._checked: set[str] = set()

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.steps)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        step = self.steps.get(cmd_name)
        if step is None:
            return None
        module, attribute = step.place.split(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{step.place} is a {type(command).__name__}, expected a click command")
        if cmd_name not in self._checked:
            self._checked.add(cmd_name)
            _require_utf8(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section(self.title):
            formatter.write_dl([(name, step.help) for name, step in self.steps.items()])


def _version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"perwatt {version('perwatt')}")
        ctx.exit()


@click.group(cls=DataPath, steps=BENCHES, title="What is measured")
def bench() -> None:
    """Measure beside the peers, on this machine."""


@click.group(
    cls=DataPath,
    steps=STEPS,
    title="Commands, in the order of the data path",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version)
@click.pass_context
def perwatt(context: click.Context) -> None:
    """Semantic search that knows what a query costs.

    documents ─▶ embed ─▶ vectors ─▶ build ─▶ a generation ─▶ serve ─▶ HTTP
    """
    context.obj = _models


def _models() -> Any:
    """What a build needs of models: `index` knows none, so its command is handed this."""
    from embed.encoders.fitted.of_vectors import query_fitter
    from embed.sparse.encoder import sparse_of_build
    from index.build.rows.models import BuildModels

    return BuildModels(query_fitter, sparse_of_build)


def _foreseen() -> tuple[type[Exception], ...]:
    """The error base classes of the packages that are loaded; one that was never imported cannot have raised."""
    return tuple(getattr(sys.modules[module], name) for module, name in FORESEEN if module in sys.modules)


def _missing(error: Exception) -> str | None:
    """What to install, where a package is not there that only some commands need; None for anything else."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    package = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(package)
    if extra is None:
        return None
    return f"this needs the package {package}, which is not installed: pip install 'perwatt[{extra}]'"


def main() -> None:
    try:
        _run()
    except SystemExit as asked:
        leave(asked)
        raise


def _run() -> None:
    for stream in (sys.stdout, sys.stderr):  # "≤" on a terminal that has no such character is no reason to fail
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        perwatt(prog_name="perwatt")
    except Exception as error:
        from index.disk.files import storage_failure

        said = str(error) if isinstance(error, _foreseen()) else _missing(error) or storage_failure(error)
        if said is None:
            raise
        click.echo(f"perwatt: error: {said}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

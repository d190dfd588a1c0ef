"""`perwatt fleet`: size one from a record, measure on a rented one, and find what was left of it."""

from __future__ import annotations

import contextlib
import math
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import click

from deploy.errors import DeployError
from loadtest.cli.reports import fleet as size

ARCHIVES = ("serve-amd64", "serve-arm64", "loadtest-{generator}", "index")


class Number(click.FloatRange):
    """A range that NaN and infinity are not in, which compare with no budget as one expects."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


@contextlib.contextmanager
def cloud(region: str) -> Iterator[None]:
    """Within it, what the cloud or its library refuses is a DeployError that says so."""
    try:
        import boto3.exceptions
        import botocore.exceptions
    except ImportError:
        raise DeployError(
            "boto3 is not installed. Install perwatt with its loadtest extra: pip install 'perwatt[loadtest]'"
        ) from None
    try:
        yield
    except botocore.exceptions.NoCredentialsError:
        raise DeployError(
            "No credentials for AWS were found. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, to "
            "those of a role with the policy of deploy/cloud/fleet.yaml."
        ) from None
    except (
        botocore.exceptions.BotoCoreError,
        botocore.exceptions.ClientError,
        boto3.exceptions.Boto3Error,
    ) as error:
        raise DeployError(
            f"AWS in {region} refused or did not answer: {error}. {_advice(error)}What was measured is kept; the same "
            "command goes on."
        ) from error


def _advice(error: Exception) -> str:
    """What a person has to do once before AWS does not refuse any more, empty where nothing is known."""
    code = getattr(error, "response", {}).get("Error", {}).get("Code")
    if code != "AuthFailure.ServiceLinkedRoleCreationNotPermitted":
        return ""
    return (
        "This account has never used spot, and needs its role once, which an administrator makes: aws iam "
        "create-service-linked-role --aws-service-name spot.amazonaws.com. "
    )


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within it, SIGTERM and SIGHUP are exceptions, as Ctrl-C is, so that machines are ended before the command is."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup's wish
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


class FleetGroup(click.Group):
    """A group whose bare form is `size`: `perwatt fleet RUNS --peak …` says how many machines a day needs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["size", *args]
        return super().parse_args(ctx, args)


@click.group(cls=FleetGroup)
def fleet() -> None:
    """What a real day needs, from records; and measuring on rented machines of both architectures.

    `perwatt fleet RUNS --peak QPS` is short for `perwatt fleet size RUNS --peak QPS`.
    """


fleet.add_command(size, "size")


@fleet.command()
@click.option("--arm", "arms", multiple=True, help="arm64 instance type; repeat for more.")
@click.option("--amd64", multiple=True, required=True, help="amd64 instance type; the first is the baseline.")
@click.option("--blocks", type=click.IntRange(1), default=6, show_default=True, help="Each holds every arm once.")
@click.option("--replica/--no-replica", default=True, show_default=True,
              help="Also run the baseline as an arm of its own (A/A).")  # fmt: skip
@click.option("--max-usd", type=Number(min=0, min_open=True), required=True,
              help="Nothing is launched if it could cost more.")  # fmt: skip
@click.option("--minutes", type=click.IntRange(10, 240), default=25, show_default=True,
              help="After which a machine ends itself; a trial takes some 15.")  # fmt: skip
@click.option(
    "--generator", default="c8i.4xlarge", show_default=True, help="Instance type that loads, for every trial."
)
@click.option("--spot", is_flag=True, help="Spot instead of on demand; a trial that is interrupted is made again.")
@click.option("--region", default="us-east-1", show_default=True)
@click.option(
    "--prices", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=None,
    help="A price table of your own, for other regions: perwatt prices refresh.",
)  # fmt: skip
@click.option(
    "--stack", "stack_name", default="perwatt-fleet", show_default=True, help="Made from deploy/cloud/fleet.yaml."
)
@click.option("--archives", type=click.Path(file_okay=False, path_type=Path), default=Path(".perwatt/images/archives"),
              show_default=True, help="Folder of serve-ARCH.tar, loadtest-ARCH.tar (make images) and index.tar "
                                      "(deploy/ci/index.sh).")  # fmt: skip
@click.option("--index", "index_name", default="docs", show_default=True, help="Index in index.tar.")
@click.option("--slo-p99-ms", type=Number(min=0, min_open=True), default=20.0, show_default=True)
@click.option("--recall", type=Number(0, 1, min_open=True, max_open=True), default=0.95, show_default=True,
              help="Recall@k that must be proven, below 1: no sample proves 1.")  # fmt: skip
@click.option(
    "--knee-option", multiple=True, help="More for `perwatt loadtest knee`, e.g. --knee-option=--generators=12"
)
@click.option("--serve-option", multiple=True, help="More for `perwatt serve`, e.g. --serve-option=--threads=2")
@click.option(
    "--poll-s",
    type=Number(min=0.01, max=600),
    default=10.0,
    show_default=True,
    help="Seconds between looks at a trial.",
)
@click.option("--seed", default=1, show_default=True, help="Of the order within blocks.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path(".perwatt/fleet"),
              show_default=True, help="Folder of plan, records and report; the same again goes on.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the plan and its price; ask and launch nothing.")
def run(
    arms: tuple[str, ...], amd64: tuple[str, ...], blocks: int, replica: bool, max_usd: float, minutes: int,
    generator: str, spot: bool, region: str, prices: Path | None, stack_name: str, archives: Path, index_name: str,
    slo_p99_ms: float, recall: float, knee_option: tuple[str, ...], serve_option: tuple[str, ...], poll_s: float,
    seed: int, out: Path, dry_run: bool,
) -> None:  # fmt: skip
    """Measure the same images and index bytes on rented machines, in randomised blocks, and compare."""
    from deploy.cloud import options, parcel
    from deploy.cloud.plan import described, make_plan, one_at_a_time, read_plan, same_question
    from loadtest.prices.table import price_table

    knee = ["--index", index_name, "--slo-p99-ms", repr(slo_p99_ms), "--recall", repr(recall)]
    options.check_knee(knee, knee_option)
    options.check_serve(serve_option)
    plan = make_plan(
        arms=arms, amd64=amd64, blocks=blocks, replica=replica, generator=generator, region=region, spot=spot,
        minutes=minutes, max_usd=max_usd, sha256={}, knee=[*knee, *knee_option], serve=serve_option,
        seed=seed, table=price_table(prices) if prices else None,
    )  # fmt: skip
    names = [name.format(generator=plan.generator_arch) for name in ARCHIVES]
    names = [name for name in names if name != "serve-arm64" or arms]
    paths = {name: archives / f"{name}.tar" for name in names}
    if not dry_run:
        if read_plan(out) is None:
            plan.check_budget()  # before the archives are read
        plan.sha256 = {name: parcel.sha256_of(path) for name, path in paths.items()}
        parcel.check_index(paths["index"], index_name)
    with one_at_a_time(out) if not dry_run else contextlib.nullcontext():
        before = read_plan(out)
        if before is not None:
            if dry_run:
                plan.sha256 = before.sha256
            same_question(before, plan)
            before.max_usd = max_usd
            plan = before
        for line in described(plan):
            click.echo(line)
        plan.check_budget()
        if dry_run:
            click.echo("dry run: nothing was asked and nothing launched")
            return
        records = _measured(plan, stack_name, paths, out, poll_s)
    _report(plan, records, amd64[0], replica, out)


def _measured(plan: Any, stack_name: str, paths: dict[str, Path], out: Path, poll_s: float) -> list[Path]:
    """Runs the plan with the credentials that boto3 finds: the records. poll_s: seconds. Raises DeployError."""
    from deploy.cloud import experiment, parcel
    from deploy.cloud.boot import SPARE_MINUTES
    from deploy.cloud.machines import Machines
    from deploy.cloud.stack import read_stack

    region = plan.region
    with cloud(region):
        import boto3

        session = boto3.Session(region_name=region)
        clients = experiment.clients(session)
        stack = read_stack(clients["cloudformation"], stack_name, region)
        machines = Machines(clients["ec2"], clients["ssm"], stack, plan.experiment)
        bucket = parcel.Parcel(
            clients["s3"],
            stack.bucket,
            plan.experiment,
            valid_s=(plan.minutes + SPARE_MINUTES) * 60,
            credentials=session.get_credentials(),
            sign_in=lambda: parcel.sign_in(region),
        )
        with ended_by_signals():
            return experiment.run(plan, out, paths, machines, bucket, tell=click.echo, poll_s=poll_s)


def _report(plan: Any, records: list[Path], baseline: str, replica: bool, out: Path) -> None:
    """A page for every other arm against the baseline, which counts what was made again."""
    import msgspec

    from deploy.cloud.plan import REPLICA
    from loadtest.analysis.arm import by_arm
    from loadtest.analysis.compare import compare
    from loadtest.analysis.reading import readings
    from loadtest.record.run_record import read_record
    from loadtest.report.compare_page import compare_page
    from loadtest.report.html import html
    from loadtest.report.markdown import markdown

    read = readings(read_record(path) for path in records)
    again = baseline + REPLICA if replica else None
    again_section = _attempts_section(plan, out)
    click.echo(again_section.lead)
    for arm in by_arm(read):
        if arm in (baseline, again):
            continue
        compared = compare(read, baseline, arm, replica=again)
        page = compare_page(compared, [each for each in read if each.arm in (baseline, arm, again)])
        page = msgspec.structs.replace(page, sections=[*page.sections, again_section])
        (out / f"{arm}.html").write_text(html(page), "utf-8")
        (out / f"{arm}.md").write_text(markdown(page), "utf-8")
        click.echo(
            f"{compared.verdict.value}: {arm} against {baseline}, queries {compared.headline}; see {out / arm}.html"
        )


def _attempts_section(plan: Any, out: Path) -> Any:
    """How often each arm was measured, and what did not count, so that nothing is selected in silence."""
    from deploy.cloud.experiment import INVALID, RUNS, put_aside
    from loadtest.report.page import Section, Table

    aside = [path.name.removesuffix(".invalid.json").rpartition("-")[0] for path in put_aside(out)]
    rows, launched = [], 0
    for arm in dict.fromkeys(trial.arm for trial in plan.trials):
        trials = [trial for trial in plan.trials if trial.arm == arm]
        attempts, invalid = sum(trial.attempts for trial in trials), sum(aside.count(trial.name) for trial in trials)
        launched += attempts
        rows.append([arm, str(len(trials)), str(attempts), str(attempts - len(trials) - invalid), str(invalid)])
    lead = f"{len(plan.trials)} trials took {launched} pairs of machines; records that did not count: {len(aside)}"
    lead += f", kept in {INVALID}/ beside {RUNS}/." if aside else "."
    columns = ["Arm", "Trials", "Pairs launched", "Without a record", "Records that did not count"]
    return Section("Attempts", lead, [Table(columns, rows)])


@fleet.command()
@click.option("--region", default="us-east-1", show_default=True)
@click.option("--all", "everything", is_flag=True, help="Also machines whose time is not over, of every experiment.")
def reap(region: str, everything: bool) -> None:
    """Terminate machines of experiments that outlived their time."""
    import datetime

    from deploy.cloud import machines

    with cloud(region):
        found: list[tuple[str, str]] = machines.reap(_ec2(region), datetime.datetime.now(datetime.UTC), everything)
    for instance, experiment in found:
        click.echo(f"terminated {instance} of {experiment}")
    click.echo(f"{len(found)} machines were left over")


def _ec2(region: str) -> Any:
    import boto3

    return boto3.Session(region_name=region).client("ec2")

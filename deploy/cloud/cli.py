"""`perwatt fleet`: size one from a record, measure on a rented one, and find what was left of it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from deploy.errors import DeployError
from loadtest.commands import fleet as size

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
            f"AWS in {region} refused or did not answer: {error}. What was measured is kept; the same command goes on."
        ) from error


class Fleet(click.Group):
    """A group whose bare form is `size`: `perwatt fleet RUNS --peak …` says how many machines a day needs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["size", *args]
        return super().parse_args(ctx, args)


@click.group(cls=Fleet)
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
@click.option("--minutes", type=click.IntRange(10, 240), default=30, show_default=True,
              help="After which a machine ends itself.")  # fmt: skip
@click.option(
    "--generator", default="c8i.4xlarge", show_default=True, help="Instance type that loads, for every trial."
)
@click.option("--spot", is_flag=True, help="Spot instead of on demand; a trial that is interrupted is made again.")
@click.option("--region", default="us-east-1", show_default=True)
@click.option(
    "--stack", "stack_name", default="perwatt-fleet", show_default=True, help="Made from deploy/cloud/fleet.yaml."
)
@click.option("--archives", type=click.Path(file_okay=False, path_type=Path), default=Path(".perwatt/images/archives"),
              show_default=True, help="Folder of SERVE-ARCH.tar, LOADTEST-ARCH.tar (make images) and index.tar "
                                      "(deploy/ci/index.sh).")  # fmt: skip
@click.option("--index", "index_name", default="docs", show_default=True, help="Index in index.tar.")
@click.option("--slo-p99-ms", type=Number(min=0, min_open=True), default=20.0, show_default=True)
@click.option("--recall", type=Number(0, 1, min_open=True), default=0.95, show_default=True)
@click.option(
    "--knee-option", multiple=True, help="More for `perwatt loadtest knee`, e.g. --knee-option=--processes=12"
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
    generator: str, spot: bool, region: str, stack_name: str, archives: Path, index_name: str, slo_p99_ms: float,
    recall: float, knee_option: tuple[str, ...], serve_option: tuple[str, ...], poll_s: float, seed: int, out: Path,
    dry_run: bool,
) -> None:  # fmt: skip
    """Measure the same images and index bytes on rented machines, in randomised blocks, and compare."""
    from deploy.cloud import experiment, parcel
    from deploy.cloud.machines import Machines
    from deploy.cloud.plan import described, make_plan, one_at_a_time, read_plan, same_question
    from deploy.cloud.stack import read_stack
    from loadtest.prices.table import find_price

    names = [name.format(generator=find_price(generator, region=region).architecture) for name in ARCHIVES]
    names = [name for name in names if name != "serve-arm64" or arms]
    paths = {name: archives / f"{name}.tar" for name in names}
    knee = ["--index", index_name, "--slo-p99-ms", f"{slo_p99_ms:g}", "--recall", f"{recall:g}", *knee_option]
    plan = make_plan(
        arms=arms, amd64=amd64, blocks=blocks, replica=replica, generator=generator, region=region, spot=spot,
        minutes=minutes, max_usd=max_usd, sha256={}, knee=knee, serve=serve_option, seed=seed,
    )  # fmt: skip
    if not dry_run:
        if read_plan(out) is None:
            plan.check_budget()  # before the archives are read
        plan.sha256 = {name: parcel.sha256_of(path) for name, path in paths.items()}
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
        with cloud(region):
            clients = experiment.clients(region)
            stack = read_stack(clients["cloudformation"], stack_name)
            records = experiment.run(
                plan,
                out,
                paths,
                Machines(clients["ec2"], clients["ssm"], stack, plan.experiment),
                parcel.Parcel(clients["s3"], stack.bucket, plan.experiment, valid_s=minutes * 60),
                tell=click.echo,
                poll_s=poll_s,
            )
    _report(records, plan.baseline if replica else amd64[0], replica, out)


def _report(records: list[Path], baseline: str, replica: bool, out: Path) -> None:
    """A page for every other arm against the baseline."""
    from deploy.cloud.plan import REPLICA
    from loadtest.compare import by_arm, compare
    from loadtest.record import read_record
    from loadtest.report.compare_page import compare_page
    from loadtest.report.html import html
    from loadtest.report.markdown import markdown

    read = [read_record(path) for path in records]
    again = baseline + REPLICA if replica else None
    for arm in by_arm(read):
        if arm in (baseline, again):
            continue
        compared = compare(read, baseline, arm, replica=again)
        page = compare_page(compared, [each for each in read if each.label.arm in (baseline, arm, again)])
        (out / f"{arm}.html").write_text(html(page), "utf-8")
        (out / f"{arm}.md").write_text(markdown(page), "utf-8")
        click.echo(
            f"{compared.verdict.value}: {arm} against {baseline}, queries {compared.headline}; see {out / arm}.html"
        )


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

    return boto3.client("ec2", region_name=region)

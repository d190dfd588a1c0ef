"""What an experiment on rented machines is to be: trials, prices, regions, and what is refused unpaid."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner
from renting import REGION, Cloud, fleet, pack, planned

from deploy.cloud.boot import SPARE_MINUTES
from deploy.cloud.cli import cloud as answering
from deploy.cloud.cli import fleet as commands
from deploy.cloud.options import check_knee, check_serve
from deploy.cloud.parcel import check_index
from deploy.cloud.plan import FILE, one_at_a_time, read_plan, write_plan
from deploy.cloud.stack import Stack, read_stack
from deploy.errors import DeployError
from loadtest.prices.table import find_price

pytest_plugins = ["renting_fixtures"]
pytestmark = pytest.mark.usefixtures("credentials")


def test_every_block_holds_every_arm_once_in_an_order_of_its_own(archives: dict[str, Path]) -> None:
    plan = planned(archives, amd64=["c8i.4xlarge", "c8a.4xlarge"], blocks=8, replica=True)
    orders = [[trial.arm for trial in plan.trials if trial.block == block] for block in range(1, 9)]
    assert all(sorted(order) == ["c8a.4xlarge", "c8g.4xlarge", "c8i.4xlarge", "c8i.4xlarge-again"] for order in orders)
    assert len({tuple(order) for order in orders}) > 3
    assert plan.baseline == "c8i.4xlarge"


def test_the_price_is_that_of_both_machines_until_they_end_themselves(archives: dict[str, Path]) -> None:
    plan = planned(archives, blocks=6)
    each = {name: find_price(name).usd_per_hour for name in ("c8g.4xlarge", "c8i.4xlarge")}
    assert plan.worst_usd == pytest.approx(
        6 * (25 + SPARE_MINUTES) / 60 * (each["c8g.4xlarge"] + 3 * each["c8i.4xlarge"])
    )


def test_what_was_launched_counts_even_if_it_failed(archives: dict[str, Path]) -> None:
    plan = planned(archives)
    before = plan.worst_usd
    plan.trials[0].attempts = 2
    assert plan.worst_usd == pytest.approx(before + 2 * plan.trial_usd(plan.trials[0]))
    plan.trials[0].done = True
    assert plan.worst_usd == pytest.approx(before + plan.trial_usd(plan.trials[0]))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"arms": ["c8i.2xlarge"]}, "is an amd64 machine: name it with --amd64"),
        ({"amd64": ["c8g.4xlarge"], "arms": []}, "make no comparison"),
        ({"amd64": ["c8g.2xlarge"]}, "is an arm64 machine: name it with --arm"),
        ({"amd64": []}, "make no comparison"),
        ({"amd64": ["c8i.4xlarge", "c8i.4xlarge"]}, "each once"),
    ],
)
def test_a_plan_without_a_comparison_is_refused(changed: dict[str, Any], says: str, archives: dict[str, Path]) -> None:
    with pytest.raises(DeployError, match=says):
        planned(archives, **changed)


def test_a_dry_run_prints_the_plan_and_its_price_and_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = fleet("run", "--arm", "c8g.4xlarge", "--amd64", "c8i.4xlarge", "--amd64", "c8a.4xlarge", "--blocks", "6",
                "--max-usd", "20", "--dry-run", endpoint="http://127.0.0.1:9")  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "at most $17.99 of $20.00 allowed" in ran.stdout
    [hours] = re.findall(r"one trial after the other: some (.*) h to (.*) h in all, at most (.*) h", ran.stdout)
    assert 2 < float(hours[0]) < float(hours[1]) < float(hours[2]) == 24 * 30 / 60
    assert ran.stdout.count("block ") == 6
    assert "c8g.4xlarge, us-east-1, on-demand, $0.63808/h as of" in ran.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--max-usd", "nan"], "nan is not a finite number"),
        (["--max-usd", "inf"], "inf is not a finite number"),
        (["--max-usd", "1"], r"could cost \$\d+\.\d\d.*allows \$1\.00"),
        (["--max-usd", "100", "--poll-s", "0"], "is not in the range"),
        (["--max-usd", "100", "--recall", "1.5"], "is not in the range"),
        (["--max-usd", "100", "--amd64", "c9z.4xlarge"], "no price of 'c9z.4xlarge' in us-east-1 is known"),
        (["--max-usd", "100"], "serve-amd64.tar cannot be read"),
    ],
)
def test_what_cannot_be_paid_or_run_is_refused_before_anybody_is_asked(
    given: list[str], says: str, tmp_path: Path
) -> None:
    ran = CliRunner().invoke(
        commands, ["run", "--amd64", "c8i.4xlarge", "--archives", str(tmp_path), "--out", str(tmp_path / "out"), *given]
    )
    assert ran.exit_code != 0
    assert re.search(says, ran.output + str(ran.exception))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--recall", "1"], "is not in the range"),
        (["--knee-option=--bogus"], "`perwatt loadtest knee` would refuse '--bogus': No such option"),
        (["--knee-option=--processes=many"], "'many' is not a valid integer"),
        (["--knee-option=--effort=high"], "'high': expected a number or 'auto'"),
        (["--knee-option=--help"], "No such option"),
        (["--knee-option=--arm=mine"], "--knee-option: --arm is set by `perwatt fleet` itself"),
        (["--knee-option=--filters=filters.jsonl"], "--filters names filters.jsonl, and a rented machine has no files"),
        (["--serve-option=--nope"], "`perwatt serve` would refuse '--nope': No such option"),
        (["--serve-option=--threads=0"], "0 is not in the range"),
        (["--serve-option=--port=9000"], "--serve-option: --port is set by `perwatt fleet` itself"),
        (["--index", ""], r"index\.tar has no index ''; it has docs"),
        (["--index", "doc"], r"index\.tar has no index 'doc'; it has docs"),
    ],
)
def test_what_a_machine_would_refuse_is_refused_before_it_is_paid_for(
    given: list[str], says: str, archives: dict[str, Path], tmp_path: Path
) -> None:
    ran = CliRunner().invoke(
        commands, ["run", "--amd64", "c8i.4xlarge", "--max-usd", "100", "--archives", str(archives["index"].parent),
                   "--out", str(tmp_path / "out"), *given]
    )  # fmt: skip
    assert ran.exit_code != 0
    assert re.search(says, ran.output + str(ran.exception))
    assert not (tmp_path / "out").exists()


def test_options_of_the_machines_commands_are_taken_as_they_were_said() -> None:
    check_knee(["--index", "docs", "--slo-p99-ms", "20.0", "--recall", "0.95"],
               ["--processes=12", "--indexing", "/srv/perwatt/vectors", "--filter", '0.2:{"field":"kind","eq":"class"}',
                "--no-curve"])  # fmt: skip
    check_serve(["--threads=2", "--workers", "8"])


@pytest.mark.parametrize(
    ("names", "mode", "says"),
    [
        (("indexes/docs/current", "vectors/embed.json"), 0o600, "only its owner can read.*--mode=a"),
        (("indexes/docs/current",), 0o644, "has no folder vectors"),
        (("vectors/embed.json",), 0o644, "has no index 'docs'; it has none"),
        ((), None, "is not an archive"),
    ],
)
def test_an_archive_without_what_machines_need_is_refused(
    names: tuple[str, ...], mode: int | None, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "index.tar"
    if mode is None:
        path.write_text("no archive")
    else:
        pack(path, *names, mode=mode)
    with pytest.raises(DeployError, match=says):
        check_index(path, "docs")


def test_a_machine_may_be_paid_for_no_longer_than_its_price_says(archives: dict[str, Path]) -> None:
    plan = planned(archives)
    both = 2 * plan.price("c8i.4xlarge").usd_per_hour
    [trial] = [trial for trial in plan.trials if trial.instance == "c8i.4xlarge"]
    assert plan.trial_usd(trial) == pytest.approx(both * (plan.minutes + SPARE_MINUTES) / 60)


def test_a_budget_that_is_no_number_allows_nothing(archives: dict[str, Path]) -> None:
    with pytest.raises(DeployError, match="could cost"):
        planned(archives, max_usd=float("nan")).check_budget()


def test_without_credentials_it_is_said_and_nothing_is_left(
    archives: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    rest = ["--amd64", "c8i.4xlarge", "--max-usd", "100", "--archives", str(archives["index"].parent)]
    for arguments in (["run", *rest, "--out", str(tmp_path / "out")], ["reap"]):
        ran = CliRunner().invoke(commands, arguments)
        assert isinstance(ran.exception, DeployError), ran.output
        assert "No credentials for AWS were found. Set AWS_PROFILE" in str(ran.exception)
    assert read_plan(tmp_path / "out") is None


def test_a_refusal_of_the_cloud_is_a_sentence() -> None:
    refused = ClientError({"Error": {"Code": "VcpuLimitExceeded", "Message": "too many"}}, "RunInstances")
    says = r"AWS in us-east-1 refused or did not answer: .*too many.* goes on"
    with pytest.raises(DeployError, match=says), answering(REGION):
        raise refused


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    """It would take the first one's machines for what an earlier run left."""
    with one_at_a_time(tmp_path), pytest.raises(DeployError, match="Another run is at work"), one_at_a_time(tmp_path):
        pass
    with one_at_a_time(tmp_path):
        pass


def test_a_budget_that_is_too_small_launches_nothing(cloud: Cloud, archives: dict[str, Path], tmp_path: Path) -> None:
    plan = planned(archives, max_usd=1.0)
    with pytest.raises(DeployError, match=r"could cost \$1\.44.*allows \$1\.00"):
        cloud.run(plan, tmp_path, archives)
    assert cloud.calls == []


def test_the_plan_on_disk_is_the_plan(archives: dict[str, Path], tmp_path: Path) -> None:
    plan = planned(archives, blocks=2)
    write_plan(plan, tmp_path)
    assert read_plan(tmp_path) == plan
    (tmp_path / FILE).write_text(json.dumps({"format": "perwatt-fleet-0"}))
    with pytest.raises(DeployError, match="not a plan that this version can go on with"):
        read_plan(tmp_path)


def test_stacks_of_another_kind_are_refused() -> None:
    class Other:
        def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 – AWS's name
            return {"Stacks": [{"Outputs": [{"OutputKey": "Subnet", "OutputValue": "subnet-1"}]}]}

    with pytest.raises(DeployError, match="no output Bucket, PlacementGroup, SecurityGroup"):
        read_stack(Other(), "other", REGION)
    assert Stack("subnet", "group", "place", "bucket").bucket == "bucket"

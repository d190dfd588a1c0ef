"""What rented machines cost and where: regions, zones, and the prices that a plan and its records keep."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import msgspec
import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner
from late import Late
from renting import MOTO_TEMPLATE, REGION, Cloud, boto3, of_one_trial, planned

from deploy.cloud.cli import cloud as answering
from deploy.cloud.cli import fleet as commands
from deploy.cloud.parcel import Parcel, sign_in
from deploy.cloud.plan import read_plan, same_question, write_plan
from deploy.cloud.stack import read_stack
from deploy.errors import DeployError
from loadtest.prices.refresh import write_table
from loadtest.prices.table import find_price, price_table

pytest_plugins = ["renting_fixtures"]
pytestmark = pytest.mark.usefixtures("credentials")


# --- regions and their prices ---------------------------------------------------------------------------------------
@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A table as `perwatt prices refresh --region eu-west-1` writes it."""
    rows = [
        msgspec.structs.replace(find_price(name), region="eu-west-1", usd_per_hour=usd)
        for name, usd in (("c8g.4xlarge", 0.7), ("c8i.4xlarge", 0.8))
    ]
    write_table(rows, tmp_path / "prices.csv")
    return tmp_path / "prices.csv"


def test_another_region_is_planned_with_its_own_prices(elsewhere: Path) -> None:
    asked = ["run", "--arm", "c8g.4xlarge", "--amd64", "c8i.4xlarge", "--no-replica", "--blocks", "1",
             "--max-usd", "20", "--region", "eu-west-1", "--dry-run"]  # fmt: skip
    ran = CliRunner().invoke(commands, [*asked, "--prices", str(elsewhere)])
    assert ran.exit_code == 0, ran.output + str(ran.exception)
    assert "c8g.4xlarge, eu-west-1, on-demand, $0.7/h" in ran.output
    assert "at most $1.55 of" in ran.output
    without = CliRunner().invoke(commands, asked)
    assert "no price of 'c8g.4xlarge' in eu-west-1 is known" in str(without.exception)
    assert "--prices FILE" in str(without.exception)


def test_a_machine_of_another_provider_is_not_planned() -> None:
    ran = CliRunner().invoke(
        commands, ["run", "--region", "us-east1", "--amd64", "n4-standard-16", "--generator", "n4-standard-16",
                   "--max-usd", "100", "--dry-run"]
    )  # fmt: skip
    assert "no price of 'n4-standard-16' in us-east1 is known" in str(ran.exception)


def test_the_prices_of_the_plan_are_kept_and_are_those_of_the_records(
    elsewhere: Path, archives: dict[str, Path], tmp_path: Path
) -> None:
    plan = planned(archives, region="eu-west-1", table=price_table(elsewhere))
    write_plan(plan, tmp_path)
    kept = read_plan(tmp_path)
    assert kept == plan
    assert kept.price("c8g.4xlarge").usd_per_hour == 0.7
    with pytest.raises(DeployError, match="was started with other prices"):
        same_question(kept, msgspec.structs.replace(plan, prices=plan.prices[:1]))


def test_the_generator_is_told_the_price_of_the_machine_under_test(
    cloud: Cloud, archives: dict[str, Path], tmp_path: Path
) -> None:
    plan = of_one_trial(archives)
    cloud.run(plan, tmp_path, archives)
    [script] = [each["script"] for each in cloud.machinery.launched if "generator" in each["tags"]["Name"]]
    [table] = re.findall(r"^prices='(.*?)'$", script, re.MULTILINE | re.DOTALL)
    (tmp_path / "prices.csv").write_text(table)
    assert price_table(tmp_path / "prices.csv") == (plan.price(plan.trials[0].instance),)


def test_addresses_are_signed_for_the_region_of_the_bucket(archives: dict[str, Path]) -> None:
    signed = urlparse(Parcel(sign_in("eu-central-1")[0], "perwatt-bucket", "fleet", valid_s=60).to_read("0"))
    assert signed.hostname == "perwatt-bucket.s3.eu-central-1.amazonaws.com"
    assert "/eu-central-1/s3/aws4_request" in parse_qs(signed.query)["X-Amz-Credential"][0]


def test_the_first_use_of_spot_is_explained() -> None:
    refused = ClientError(
        {"Error": {"Code": "AuthFailure.ServiceLinkedRoleCreationNotPermitted", "Message": "no"}}, "RunInstances"
    )
    says = "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
    with pytest.raises(DeployError, match=says), answering(REGION):
        raise refused


def test_the_zone_of_the_stack_can_be_chosen() -> None:
    with Late("moto").mock_aws():
        cloudformation, ec2 = boto3.client("cloudformation", REGION), boto3.client("ec2", REGION)
        for zone in ("us-east-1b", "us-east-1d", ""):
            given = [{"ParameterKey": "Zone", "ParameterValue": zone}]
            name = f"perwatt-{zone or 'any'}"
            cloudformation.create_stack(
                StackName=name, TemplateBody=MOTO_TEMPLATE, Parameters=given, Capabilities=["CAPABILITY_IAM"]
            )
            subnet = read_stack(cloudformation, name, REGION).subnet
            [found] = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]
            assert found["AvailabilityZone"] == zone or not zone

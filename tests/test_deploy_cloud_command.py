"""`perwatt fleet` as a process: killed outright, told to end, with credentials that end before it does."""

from __future__ import annotations

import datetime
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pytest
from late import Late
from renting import MOTO_TEMPLATE, REGION, Machinery, boto3, environment, fleet, starved
from warm import Process, shared

from deploy.cloud.cli import ended_by_signals
from deploy.cloud.experiment import put_aside
from deploy.cloud.parcel import Parcel, sign_in
from deploy.cloud.plan import read_plan
from deploy.errors import DeployError

pytest_plugins = ["renting_fixtures"]
pytestmark = pytest.mark.usefixtures("credentials")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """moto as a server of its own, so that a command can be killed and the cloud is still there."""
    server = Late("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    given = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    boto3.client("cloudformation", REGION, endpoint_url=url, **given).create_stack(
        StackName="perwatt-killed", TemplateBody=MOTO_TEMPLATE, Capabilities=["CAPABILITY_IAM"]
    )
    yield url
    server.stop()


def until_two_are_alive(machinery: Machinery, command: subprocess.Popen[str] | Process) -> None:
    deadline = time.monotonic() + 100
    while len(machinery.alive()) < 2:
        assert command.poll() is None, command.stdout and command.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_command_that_was_killed_goes_on_and_ends_with_a_report(
    endpoint: str, archives: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked = ("run", "--arm", "c8g.4xlarge", "--amd64", "c8i.4xlarge", "--blocks", "3", "--max-usd", "50",
             "--recall", "0.94999999", "--knee-option=--no-curve",
             "--poll-s", "0.4", "--stack", "perwatt-killed", "--archives", archives["index"].parent,
             "--out", out)  # fmt: skip
    machinery = Machinery(endpoint)
    killed = shared().start(["fleet", *map(str, asked)], environment={"AWS_ENDPOINT_URL": endpoint})
    until_two_are_alive(machinery, killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    left = {each["InstanceId"] for each in machinery.alive()}
    assert len(left) == 2

    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.3):
            machinery.step()

    machinery.seen = set(left)  # those of the killed run never come to write anything
    machinery.damaged = {"c8g.4xlarge-02": starved}
    worker = threading.Thread(target=work)
    worker.start()
    try:
        ran = fleet(*asked, endpoint=endpoint)
    finally:
        stop.set()
        worker.join()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "ended 2 machines that an earlier run left" in ran.stdout
    assert re.search(r"better[\w ]*: c8g\.4xlarge against c8i\.4xlarge, queries per dollar", ran.stdout), ran.stdout
    assert machinery.alive() == []
    assert len(list((out / "runs").glob("*-0?.json"))) == 9
    assert [path.name for path in put_aside(out)] == ["c8g.4xlarge-02-1.invalid.json"]
    counted = "9 trials took 11 pairs of machines; records that did not count: 1, kept in invalid/ beside runs/."
    assert counted in ran.stdout
    page = (out / "c8g.4xlarge.md").read_text()
    assert counted in page
    assert re.search(r"\| c8g\.4xlarge +\| 3 \| [45] \| [01] \| 1 \|", page), page
    assert "<html" in (out / "c8g.4xlarge.html").read_text()[:200]
    assert "simulated" in (out / "c8g.4xlarge.md").read_text()

    kept = read_plan(out)
    assert kept
    assert kept.knee == ["--index", "docs", "--slo-p99-ms", "20.0", "--recall", "0.94999999", "--no-curve"]
    other = fleet(*asked[:-1], out, "--minutes", "20", endpoint=endpoint)
    assert other.returncode == 1
    assert "was started with other minutes" in other.stderr
    assert fleet("reap", "--all", endpoint=endpoint).stdout == "0 machines were left over\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.long)])
def test_a_command_that_is_told_to_end_ends_its_machines_first(
    number: signal.Signals, endpoint: str, archives: dict[str, Path], tmp_path: Path
) -> None:
    machinery = Machinery(endpoint)
    told = subprocess.Popen(
        ["env", f"--default-signal={number.name.removeprefix('SIG')}",  # under nohup, SIGHUP is ignored
         sys.executable, "-m", "deploy.command", "fleet", "run", "--amd64", "c8i.4xlarge", "--max-usd", "50",
         "--poll-s", "60", "--stack", "perwatt-killed", "--archives", str(archives["index"].parent),
         "--out", str(tmp_path / "out")],
        env=environment(endpoint), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    until_two_are_alive(machinery, told)
    told.send_signal(number)
    said, _ = told.communicate(timeout=60)
    assert told.returncode == 128 + number, said
    assert "Traceback" not in said
    assert machinery.alive() == []


def test_handlers_of_signals_are_put_back_and_nohup_is_heeded() -> None:
    before, ending = signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            with pytest.raises(SystemExit) as ended:
                os.kill(os.getpid(), signal.SIGTERM)
        assert ended.value.code == 128 + signal.SIGTERM
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.signal(signal.SIGTERM, ending)


def test_credentials_that_end_before_the_addresses_are_made_new_or_refused(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session of botocore keeps those of a role until a quarter of an hour before their end."""
    config = tmp_path / "config"
    config.write_text(
        "[default]\naws_access_key_id = testing\naws_secret_access_key = testing\n"
        "[profile fleet]\nrole_arn = arn:aws:iam::123456789012:role/fleet\nsource_profile = default\n"
        "duration_seconds = 3600\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    given = {"AWS_CONFIG_FILE": config, "AWS_SHARED_CREDENTIALS_FILE": tmp_path / "none", "AWS_PROFILE": "fleet",
             "AWS_ENDPOINT_URL": endpoint}  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, str(value))

    def token(parcel: Parcel) -> str:
        return parse_qs(urlparse(parcel.to_read("0")).query)["X-Amz-Security-Token"][0]

    s3, credentials = sign_in(REGION)
    again = {"credentials": credentials, "sign_in": lambda: sign_in(REGION)}
    lasting = Parcel(s3, "bucket", "fleet", valid_s=1800, **again)
    first = token(lasting)
    lasting.renew()
    assert token(lasting) == first
    credentials._expiry_time -= datetime.timedelta(minutes=40)  # as if so much had passed
    assert token(lasting) == first
    lasting.renew()
    assert token(lasting) != first
    with pytest.raises(DeployError, match=r"end in less than the 70 minutes.*duration_seconds = 43200"):
        Parcel(s3, "bucket", "fleet", valid_s=4200, **again).renew()
    Parcel(s3, "bucket", "fleet", valid_s=4200).renew()  # a user's, which do not end


def test_without_the_stack_the_command_says_how_to_make_it(
    endpoint: str, archives: dict[str, Path], tmp_path: Path
) -> None:
    ran = fleet("run", "--amd64", "c8i.4xlarge", "--max-usd", "50", "--stack", "nowhere", "--archives",
                archives["index"].parent, "--out", tmp_path / "out", endpoint=endpoint)  # fmt: skip
    assert ran.returncode == 1
    assert "There is no stack nowhere in us-east-1" in ran.stderr
    assert "aws cloudformation deploy --region us-east-1 --stack-name nowhere" in ran.stderr

"""Power as the management controller or a plug sees it: IPMI DCMI, Redfish, Shelly.

All are at the wall, all are gauges of whole watts, and all average over a time of their own: DCMI about a second,
Redfish often minutes. They suit long steady runs. The plug counts energy itself, in tenths of a watt-hour at best, so
its gauge is used here and its counter only checks it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from urllib.parse import urlsplit

from loadtest.errors import PowerError
from loadtest.power.sources import PowerChannel, PowerSource, Probed, ReadingKind, Unreadable

TIMEOUT_S = 5.0
COMMANDS = (
    (
        "ipmi-dcmi",
        ("--get-system-power-statistics",),
        re.compile(r"Current Power\s*:\s*(\d+) Watts"),
    ),
    (
        "ipmitool",
        ("dcmi", "power", "reading"),
        re.compile(r"Instantaneous power reading:\s*(\d+) Watts"),
    ),
)


def ipmi_sources() -> Probed:
    """The first IPMI tool that is installed and answers."""
    problems = []
    for program, arguments, pattern in COMMANDS:
        path = shutil.which(program)
        if path is None:
            continue
        read = _command([path, *arguments], pattern)
        try:
            read()
        except PowerError as error:
            problems.append(str(error))
            continue
        return [
            PowerSource(
                "IPMI DCMI", "wall", program, (PowerChannel("system", ReadingKind.GAUGE, read),), averages_s=1.0
            )
        ]
    if problems:
        return [
            Unreadable(
                "IPMI DCMI",
                problems[0],
                "run as root on a machine with a management controller (/dev/ipmi0)",
            )
        ]
    return [
        Unreadable(
            "IPMI DCMI",
            "neither ipmi-dcmi nor ipmitool is installed",
            "apt install freeipmi-tools or ipmitool",
        )
    ]


def _command(command: list[str], pattern: re.Pattern[str]) -> Callable[[], float]:
    def read() -> float:
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
                env={**os.environ, "LC_ALL": "C"},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PowerError(f"{command[0]} did not answer: {error}") from error
        found = pattern.search(done.stdout)
        if done.returncode != 0 or found is None:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise PowerError(f"{command[0]} gave no reading: {said[0] if said else f'status {done.returncode}'}")
        return float(found[1])

    return read


def _get(url: str, user: str | None = None, password: str | None = None) -> dict[str, object]:
    request = urllib.request.Request(url, headers={"Accept": "application/json"})
    if user is not None:
        token = base64.b64encode(f"{user}:{password or ''}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            found = json.loads(response.read(1 << 20))
    except urllib.error.HTTPError as error:
        raise PowerError(f"{url} answered {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        raise PowerError(f"{url} gave no reading: {error}") from error
    if not isinstance(found, dict):
        raise PowerError(f"{url} answered something that is not an object")
    return found


def redfish_source(chassis_url: str) -> PowerSource:
    """A chassis by its URL (https://bmc/redfish/v1/Chassis/1). Credentials: PERWATT_REDFISH_USER and _PASSWORD."""
    if urlsplit(chassis_url).scheme not in ("http", "https"):
        raise PowerError(f"{chassis_url!r} is not a URL of a Redfish chassis (https://bmc/redfish/v1/Chassis/1)")
    user, password = (
        os.environ.get("PERWATT_REDFISH_USER"),
        os.environ.get("PERWATT_REDFISH_PASSWORD"),
    )
    base = chassis_url.rstrip("/")

    def newer() -> float:
        reading = _get(f"{base}/EnvironmentMetrics", user, password).get("PowerWatts")
        if isinstance(reading, dict) and isinstance(reading.get("Reading"), int | float):
            return float(reading["Reading"])
        raise PowerError(f"{base}/EnvironmentMetrics has no PowerWatts.Reading")

    def older() -> float:
        control = _get(f"{base}/Power", user, password).get("PowerControl")
        if isinstance(control, list) and control and isinstance(control[0].get("PowerConsumedWatts"), int | float):
            return float(control[0]["PowerConsumedWatts"])
        raise PowerError(f"{base}/Power has no PowerControl[0].PowerConsumedWatts")

    problems = []
    for read in (newer, older):
        try:
            read()
        except PowerError as error:
            problems.append(str(error))
            continue
        minutes = _averaging_minutes(base, user, password) if read is older else 0.0
        channel = PowerChannel("chassis", ReadingKind.GAUGE, read)
        return PowerSource("Redfish", "wall", base, (channel,), averages_s=minutes * 60, given=True)
    raise PowerError("; ".join(problems))


def _averaging_minutes(base: str, user: str | None, password: str | None) -> float:
    control = _get(f"{base}/Power", user, password).get("PowerControl")
    metrics = control[0].get("PowerMetrics") if isinstance(control, list) and control else None
    minutes = metrics.get("IntervalInMin") if isinstance(metrics, dict) else None
    return float(minutes) if isinstance(minutes, int | float) else 0.0


def shelly_source(url: str) -> PowerSource:
    """A Shelly plug (generation 2 or later) by its address, http://192.168.1.20; local, no cloud."""
    base = url.rstrip("/")
    problems = []
    for call in ("/rpc/Switch.GetStatus?id=0", "/rpc/PM1.GetStatus?id=0"):

        def read(call: str = call) -> float:
            watts = _get(base + call).get("apower")
            if not isinstance(watts, int | float):
                raise PowerError(f"{base}{call} has no apower")
            return float(watts)

        try:
            read()
        except PowerError as error:
            problems.append(str(error))
            continue
        return PowerSource(
            "Shelly plug", "wall", base, (PowerChannel("plug", ReadingKind.GAUGE, read),), averages_s=1.0, given=True
        )
    raise PowerError("; ".join(problems))

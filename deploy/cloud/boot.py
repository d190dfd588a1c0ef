"""What a machine does from its first second, as user data: set its own end, fetch, check, run, report.

The first line sets the end, before anything that can fail: whatever becomes of the one who launched it, the machine
shuts down after so many minutes, and it was launched so that shutting down terminates it. That needs no rights. An
error ends it at once, after its log is written where the other side looks.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.errors import DeployError

LIMIT_BYTES = 16384  # of user data, before base64
PORT, FACTS_PORT = 8000, 8001
# A machine's minutes are counted from its first script; until then, and after its end was said, it may be paid for.
SPARE_MINUTES = 5
SERVER = Path(__file__).with_name("server.sh")
GENERATOR = Path(__file__).with_name("generator.sh")


def user_data(script: Path, minutes: int, settings: dict[str, str], lists: Mapping[str, Sequence[str]]) -> str:
    """The script with its settings before it. Raises DeployError when it is longer than EC2 takes."""
    lines = [
        "#!/bin/bash",
        f"shutdown -h +{minutes} 'perwatt: this machine was rented for {minutes} minutes'",
        *(f"{name}={shlex.quote(value)}" for name, value in settings.items()),
        *(f"{name}=({' '.join(map(shlex.quote, values))})" for name, values in lists.items()),
        script.read_text(),
    ]
    text = "\n".join(lines)
    if len(text.encode()) > LIMIT_BYTES:
        raise DeployError(
            f"The first script of a machine has {len(text.encode()):,} bytes and EC2 takes {LIMIT_BYTES:,}: the signed "
            "addresses are too long. Use credentials with a shorter session token."
        )
    return text


def decoded(user_data_base64: str) -> str:
    return base64.b64decode(user_data_base64).decode()

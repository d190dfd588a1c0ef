"""What every record says of how it was made: when, by which versions, in how much memory."""

import datetime
import resource
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PROC = Path("/proc/self")


def now_utc() -> str:
    """ISO 8601, UTC, whole seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def installed(package: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def own_version() -> str:
    """perwatt's; "source tree" where its code is run without having been installed."""
    return installed("perwatt") or "source tree"


def reset_peak_rss() -> None:
    """Starts the peak of `peak_rss_bytes` again from what is resident now, where the kernel allows it."""
    with suppress(OSError):
        (_PROC / "clear_refs").write_text("5")


def peak_rss_bytes() -> int:
    """The largest resident set of this process, file mappings included.

    On Linux its own, where getrusage carries over the parent's at a fork.
    """
    with suppress(OSError):
        for line in (_PROC / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10

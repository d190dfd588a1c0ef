"""Waits until a service is ready: python3 -m deploy.jobs.ready URL SECONDS

For what starts beside the service that it asks, and would find nobody there: GET URL/readyz, once a second, straight to
the service whatever proxies the environment names. Exit status 1 when the time is over.
"""

from __future__ import annotations

import http.client
import sys
import time
from urllib.parse import urlsplit

PAUSE_S = 1.0
TIMEOUT_S = 5.0


def wait(url: str, seconds: float, pause_s: float = PAUSE_S) -> float:
    """Returns the seconds until it was ready. Raises SystemExit with what was found last when it took too long."""
    started = time.monotonic()
    while found := _lacks(url):
        waited = time.monotonic() - started
        if waited >= seconds:
            raise SystemExit(
                f"{url}/readyz was not ready within {seconds:g} s: {found}. Does the service load its index?"
            )
        time.sleep(pause_s)
    return time.monotonic() - started


def _lacks(url: str) -> str:
    """Why the service is not ready, empty when it is."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port or 80, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return "" if answer.status == 200 else f"it answers {answer.status} {answer.reason}"
    except (OSError, http.client.HTTPException) as error:
        return f"it does not answer ({error})"
    finally:
        connection.close()


def main(arguments: list[str]) -> None:
    if len(arguments) != 2 or urlsplit(arguments[0]).scheme != "http":
        raise SystemExit(__doc__)
    url, seconds = arguments
    print(f"{url} is ready after {wait(url.rstrip('/'), float(seconds)):.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Whether requests are traced: `--otel`, or the usual environment variables of OpenTelemetry.

The work is done in `spans.py`, which is imported only then: a server that is not traced has nothing of OpenTelemetry's
SDK in its memory and no check for it in the path of a request.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING

from service.errors import SettingsError

if TYPE_CHECKING:
    from service.telemetry.spans import Spans

log = logging.getLogger("perwatt.service")

# Of the request under way: the heads that go with what a router asks its shards for it, so that their spans join.
PASSED_ON: ContextVar[str] = ContextVar("perwatt_passed_on", default="")

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def pass_on(traceparent: str) -> None:
    """ "" for none."""
    PASSED_ON.set(f"traceparent: {traceparent}\r\n" if traceparent else "")


def wanted(asked: bool | None, environ: Mapping[str, str]) -> bool:
    """
    Args:
        asked: by the command line, None where it says nothing; then an endpoint or OTEL_TRACES_EXPORTER=otlp asks.
            OTEL_SDK_DISABLED and OTEL_TRACES_EXPORTER=none win over everything, as they do elsewhere.
    """
    exporters = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporters == "none":
        return False
    if asked is not None:
        return asked
    return exporters == "otlp" or any(environ.get(name) for name in ENDPOINTS)


def spans_of(asked: bool | None, environ: Mapping[str, str]) -> Spans | None:
    """What makes and sends spans; None when requests are not traced. Raises SettingsError for what cannot be done.

    Where only the environment asks (it is often set for every container of a cluster), missing packages are logged and
    do not keep the server from starting.
    """
    if not wanted(asked, environ):
        return None
    protocol = next((environ[name] for name in PROTOCOLS if environ.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        raise SettingsError(
            f"OpenTelemetry is asked for over {protocol!r}, and spans leave here as http/protobuf, which every "
            "collector takes (on port 4318): set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf."
        )
    try:
        from service.telemetry.spans import Spans
    except ModuleNotFoundError as error:
        missing = f"Spans need OpenTelemetry, which is not installed ({error}): pip install 'perwatt[otel]'."
        if asked:
            raise SettingsError(missing) from error
        log.warning("%s Serving without.", missing)
        return None
    return Spans()

"""The search page for people: a few files, read once, sent with a policy that forbids everything they do not need.

The page is plain HTML, CSS and JavaScript without a build step and makes no requests to other hosts. The policy makes
the browser enforce that, and would also stop a payload that got into the page as markup.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

FOLDER = Path(__file__).parent
FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/hits.js": ("hits.js", "text/javascript; charset=utf-8"),
    "/filters.js": ("filters.js", "text/javascript; charset=utf-8"),
    "/facets.js": ("facets.js", "text/javascript; charset=utf-8"),
    "/compare.js": ("compare.js", "text/javascript; charset=utf-8"),
    "/manage.js": ("manage.js", "text/javascript; charset=utf-8"),
    "/timing.js": ("timing.js", "text/javascript; charset=utf-8"),
    "/values.js": ("values.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class SearchPage:
    """Serves `FILES`. Unchanged files are answered with 304, so that a reload costs nothing but the
    question."""

    def __init__(self) -> None:
        self._files: dict[str, Response] = {}
        for path, (name, kind) in FILES.items():
            content = (FOLDER / name).read_bytes()
            self._files[path] = Response(
                content,
                headers={
                    "etag": f'"{hashlib.sha256(content).hexdigest()[:16]}"',
                    "cache-control": "no-cache",
                    "content-security-policy": POLICY,
                    "referrer-policy": "no-referrer",
                },
                media_type=kind,
            )

    async def page(self, request: Request) -> Response:
        file = self._files[request.scope["path"]]
        if request.headers.get("if-none-match") == file.headers["etag"]:
            headers = {name: file.headers[name] for name in ("etag", "cache-control")}
            return Response(status_code=304, headers=headers)
        return Response(file.body, headers=dict(file.headers))

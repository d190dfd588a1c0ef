"""The README's pictures: the search page on the demo index, and the report of a real run, by day and by night.

    python -m deploy.figures pictures [RUN]     after `make run` and `make report`, whose data they show

Chromium is the one that the tests use (`deploy/ci/chromium.sh`).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

QUERY = "compress bytes in memory"
WIDTH, PAGE_HEIGHT, REPORT_HEIGHT = 1100, 720, 900
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
STARTED = re.compile(r"serving on (http://\S+)")


def take(root: Path, index: str, run: Path, to: Path) -> None:
    """Writes page-light.png, page-dark.png, report-light.png and report-dark.png."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as scratch, _served(root, index) as url, sync_playwright() as play:
        report = Path(scratch, "report.html")
        _perwatt("report", str(run), "--html", str(report), check=True)
        browser = play.chromium.launch(executable_path=os.environ.get("PERWATT_CHROMIUM"))
        for scheme in SCHEMES:
            page = browser.new_page(viewport={"width": WIDTH, "height": PAGE_HEIGHT}, color_scheme=scheme)
            page.goto(url)
            page.locator("#query").fill(QUERY)
            page.locator("#hits > li").first.wait_for()
            page.wait_for_timeout(1000)  # for the answer to the last letter
            page.screenshot(path=to / f"page-{scheme}.png")
            page.set_viewport_size({"width": WIDTH, "height": REPORT_HEIGHT})
            page.goto(report.as_uri())
            page.screenshot(path=to / f"report-{scheme}.png")
            page.close()
        browser.close()


@contextmanager
def _served(root: Path, index: str) -> Iterator[str]:
    command = [sys.executable, "-m", "deploy.command", "serve", index, "--root", str(root), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        for line in server.stdout:
            if started := STARTED.search(line):
                yield started[1]
                return
        raise SystemExit(f"the service ended with {server.wait()} before it served {index} of {root}; `make run` first")
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


def _perwatt(*arguments: str, **options: Any) -> None:
    subprocess.run([sys.executable, "-m", "deploy.command", *arguments], **options)

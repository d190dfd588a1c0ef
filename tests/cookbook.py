"""Runs the code blocks of a page of service/cookbook as its reader would, in a folder that is empty at first.

    ```sh              a shell runs it; a command that begins with `perwatt serve` is left running until the page ends
    ```python          a program
    ```text            what the block before it has to have printed, to the letter
    ```KIND NAME       the contents of the file NAME
    ```                not run: what is installed, or belongs to another machine

Port 8000 of the page is a free one here, and each further one of the 80xx its own.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from patience import patient

from loadtest.generator.ports import free_port

PAGES = Path(__file__).parents[1] / "service" / "cookbook"
BLOCK = re.compile(r"^```(\w*)[ ]?([\w./-]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PORT = re.compile(r"\b80\d\d\b")


class Block(NamedTuple):
    kind: str
    name: str
    text: str


class CookbookRun:
    """One page in one folder.

    Args:
        env: beside that of this process.
        replaced: words of the page that are others here, as the name of a model that is downloaded.
    """

    def __init__(self, page: Path, folder: Path, env: dict[str, str], replaced: dict[str, str]) -> None:
        text = page.read_text(encoding="utf-8")
        for word, ours in replaced.items():
            assert word in text
            text = text.replace(word, ours)
        self.ports = {port: str(free_port()) for port in sorted(set(PORT.findall(text)))}
        text = PORT.sub(lambda found: self.ports[found[0]], text)
        self.blocks = [Block(*found) for found in BLOCK.findall(text)]
        self.folder = folder
        command = folder / "bin" / "perwatt"  # of this environment, wherever its own lies
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m deploy.command "$@"\n')
        command.chmod(0o755)
        self.env = {**os.environ, "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}", **env}
        self._left: list[subprocess.Popen[str]] = []

    def run(self) -> None:
        """Every block; raises AssertionError for one that fails or prints something else."""
        printed = ""
        for block in self.blocks:
            if block.name:
                (self.folder / block.name).write_text(block.text)
            elif block.kind == "sh" and block.text.lstrip().startswith("perwatt serve"):
                for line in block.text.splitlines():
                    self._leave_running(line)
            elif block.kind == "sh":
                printed = self._done(["bash", "-euo", "pipefail", "-c", block.text], block.text)
            elif block.kind == "python":
                printed = self._done([sys.executable, "-W", "error", "-c", block.text], block.text)
            elif block.kind == "text":
                assert printed == block.text, f"{printed!r} was printed, and the page says {block.text!r}"

    def _done(self, command: list[str], block: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=patient(600), check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _leave_running(self, line: str) -> None:
        words = shlex.split(line, comments=True)
        assert "--port" in words or len(self.ports) <= 1, f"{line}: which of {self.ports}?"
        port = [] if "--port" in words else ["--port", *self.ports.values()]
        log = (self.folder / f"serve-{len(self._left)}.log").open("w+")
        started = subprocess.Popen(
            [*words, *port], cwd=self.folder, env=self.env, stdout=log, stderr=subprocess.STDOUT, text=True
        )
        self._left.append(started)
        limit_s = time.monotonic() + patient(60)
        while "perwatt is serving on" not in (said := Path(log.name).read_text()):
            assert started.poll() is None, said
            assert time.monotonic() < limit_s, said
            time.sleep(0.05)
        log.close()

    def end(self) -> None:
        for process in self._left:
            process.terminate()
        for process in self._left:
            process.wait(patient(60))


@contextmanager
def reading(
    page: Path, folder: Path, env: dict[str, str], replaced: dict[str, str] | None = None
) -> Iterator[CookbookRun]:
    run = CookbookRun(page, folder, env, replaced or {})
    try:
        yield run
    finally:
        run.end()

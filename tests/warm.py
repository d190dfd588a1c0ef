"""Processes of ours that have imported already: forks of one process that imports once for all tests of a worker.

A server imports for most of a second before it does anything of its own, and the tests start hundreds of them and of
other commands. The process that is forked has one thread and runs nothing: what a fork inherits is code, and what the
files of the model hash to. A fork gets the arguments, environment, folder and files that a process of its own would
get, and ends like one. It runs the `perwatt` command, or a program.

What is imported may change Python's own modules, as Locust does (`warm_locust.py`): what makes forks is bound before.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from os import close, fork, waitpid
from pathlib import Path
from select import select
from signal import signal as handle
from typing import IO, Any

# What commands import on their way to the first answer.
IMPORTED = (
    "deploy.command", "embed.cli", "embed.encoders.backends", "embed.encoders.load", "embed.encoders.native",
    "embed.kernels", "index.cli", "index.keeping", "service.cli.route", "service.cli.serve", "service.processes.server",
    "service.processes.workers", "service.telemetry.logs", "uvicorn.lifespan.on", "uvloop",
)  # fmt: skip
MESSAGE_BYTES = 1 << 20
plain_socket = socket.socket


class Process:
    """What tests use of `subprocess.Popen`, of a fork."""

    stdin = None

    def __init__(
        self, pid: int, life: socket.socket, stdout: IO[str] | None = None, stderr: IO[str] | None = None
    ) -> None:
        self.pid, self.stdout, self.stderr = pid, stdout, stderr
        self.returncode: int | None = None
        self._life = life

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select([self._life], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"perwatt, process {self.pid}", timeout or 0)
            said = self._life.recv(64)
            self._life.close()
            assert said, "the process that has imported for the others has ended"
            self.returncode = int(said)
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        """What it said until it ended."""
        assert self.stdout is not None
        assert self.stderr is not None
        with self.stdout, self.stderr:
            said = self.stdout.read(), self.stderr.read()
        self.wait()
        return said

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Warm:
    """
    Args:
        prefix: a command that runs others; the forks are what they would be under it.
        imported: the names of modules.
    """

    def __init__(self, prefix: Sequence[str] = (), imported: Sequence[str] = IMPORTED) -> None:
        from service.processes.native_threads import environment

        self._asking, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            for end in (self._asking, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE_BYTES)
            self._process = subprocess.Popen(
                [*prefix, sys.executable, __file__, str(theirs.fileno()), *imported],
                env=environment(1) | {"JE_ARROW_MALLOC_CONF": "background_thread:false"},
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip

    def start(
        self,
        arguments: Sequence[str],
        stderr: IO[str] | None = None,
        *,
        program: str = "",
        alone: bool = False,
        environment: Mapping[str, str] = {},
    ) -> Process:
        """`perwatt ARGUMENTS`, its output in a pipe.

        Args:
            stderr: by default a pipe too.
            program: what to run instead, as by `python -c`.
            alone: in a process group of its own.
            environment: beside that of the tests.
        """
        pipes = [os.pipe() for _ in range(1 if stderr else 2)]
        with contextlib.ExitStack() as closed:
            stdin = closed.enter_context(Path(os.devnull).open())
            written = [closed.enter_context(os.fdopen(writing, "w")) for _, writing in pipes]
            files = [stdin, *written, *([stderr] if stderr else [])]
            pid, life = self._fork(arguments, files, environment, program=program, alone=alone)
        return Process(pid, life, *(os.fdopen(reading) for reading, _ in pipes))

    def run(self, *arguments: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """`perwatt ARGUMENTS` until it ends. given: what it reads on its standard input."""
        with (
            tempfile.TemporaryFile("w+") as stdin,
            tempfile.TemporaryFile("w+") as stdout,
            tempfile.TemporaryFile("w+") as stderr,
        ):
            stdin.write(given)
            stdin.seek(0)
            status = Process(*self._fork(arguments, [stdin, stdout, stderr], environment)).wait()
            for each in (stdout, stderr):
                each.seek(0)
            return subprocess.CompletedProcess(["perwatt", *arguments], status, stdout.read(), stderr.read())

    def close(self) -> None:
        self._asking.close()
        self._process.wait()

    def _fork(
        self,
        arguments: Sequence[str],
        files: Sequence[Any],
        environment: Mapping[str, str] = {},
        *,
        program: str = "",
        alone: bool = False,
    ) -> tuple[int, socket.socket]:
        """Its number, and where its exit status comes from."""
        asked = {
            "arguments": list(arguments),
            "environment": {**os.environ, **environment},
            "folder": str(Path.cwd()),
            "program": program,
            "alone": alone,
        }
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            numbers = [theirs.fileno(), *(each.fileno() for each in files)]
            socket.send_fds(self._asking, [json.dumps(asked).encode()], numbers)
        return int(ours.recv(64)), ours


@functools.cache
def shared() -> Warm:
    """For every test of this process."""
    warm = Warm()
    atexit.register(warm.close)
    return warm


def _serve(asking: socket.socket) -> str:
    """Forks for whoever asks, until nobody can. Returns in each fork, with the program that it is to run, if any."""
    lives: dict[int, socket.socket] = {}
    woken, waking = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(waking)
    handle(signal.SIGCHLD, lambda *_: None)
    handle(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who ask
    while True:
        ready = select([asking, woken], [], [])[0]
        if woken in ready:
            os.read(woken, 4096)
            for pid in list(lives):
                if (done := waitpid(pid, os.WNOHANG))[0]:
                    with contextlib.suppress(OSError), lives.pop(pid) as life:
                        life.send(str(os.waitstatus_to_exitcode(done[1])).encode())
        if asking in ready:
            said, numbers, *_ = socket.recv_fds(asking, MESSAGE_BYTES, 4)
            if not said:
                raise SystemExit
            life, *files = numbers
            pid = fork()
            if pid:
                lives[pid] = plain_socket(fileno=life)
                lives[pid].send(str(pid).encode())
                for each in files:
                    close(each)
                continue
            signal.set_wakeup_fd(-1)
            handle(signal.SIGCHLD, signal.SIG_DFL)
            handle(signal.SIGINT, signal.default_int_handler)
            for standard, each in enumerate(files):
                os.dup2(each, standard)
            for each in (*numbers, woken, waking):
                close(each)
            for other in (asking, *lives.values()):
                other.close()
            return _become(**json.loads(said))


def _become(arguments: list[str], environment: dict[str, str], folder: str, program: str, alone: bool) -> str:
    # The objects that are there remember what kind of file the first process had.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv[1:] = arguments
    if alone:
        os.setsid()
    return program


if __name__ == "__main__":
    sys.path[:1] = [str(folder) for folder in Path(__file__).parents[:2]]
    threads = sorted(Path("/proc/self/task").iterdir())  # an emulator may have one of its own
    for name in sys.argv[2:]:
        importlib.import_module(name)
    started = sorted(Path("/proc/self/task").iterdir())
    assert started == threads, "a fork would lose a thread that a library has started"
    if "embed.encoders.load" in sys.modules:
        from embed.models.cache import cache_folder
        from embed.models.folder import find_model, sha256_file

        # Hashes that every fork would make.
        for file in (find_model().tokenizer, *cache_folder().glob("*.safetensors")):
            sha256_file(file)
    gc.collect()
    gc.freeze()
    # What is frozen stays so: looking at all of it for garbage, as a server does before it begins, takes as long as all
    # else that a fork does until then.
    asked = _serve(plain_socket(fileno=int(sys.argv[1])))
    if asked:
        from deploy.ending import leave

        try:
            exec(compile(asked, "<program>", "exec"), {"__name__": "__main__"})
            raise SystemExit
        except SystemExit as end:
            leave(end)
            raise
    else:
        from deploy.command import main

        main()

"""The `perwatt` command as a person meets it."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from patience import patient

from deploy.command import BENCHES, FORESEEN, STEPS, Step
from deploy.command import perwatt as root


def perwatt(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.command", *arguments], capture_output=True, text=True, timeout=patient(120)
    )


def test_help_lists_the_steps_in_the_order_of_the_data_path() -> None:
    shown = perwatt("--help").stdout
    places = [shown.index(f"\n  {name} ") for name in STEPS]
    assert places == sorted(places)


def test_help_imports_none_of_the_packages() -> None:
    code = (
        "import sys; from deploy.command import perwatt\n"
        "try: perwatt(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('embed', 'index', 'service', 'numpy', 'faiss') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("steps", "name"), [(steps, name) for steps in (STEPS, BENCHES) for name in steps])
def test_each_step_is_a_command_with_the_help_that_is_listed(steps: dict[str, Step], name: str) -> None:
    module, attribute = steps[name].place.split(":")
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    assert command.get_short_help_str(limit=200).rstrip(".") == steps[name].help.rstrip(".")


def every_command(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The command and all below it, each with the words that call it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None, name
            yield from every_command(below, (*path, name))


def test_no_help_shows_a_range_that_has_no_ends() -> None:
    helps = {path: command.get_help(click.Context(command, info_name="x")) for path, command in every_command(root)}
    assert len(helps) > 40
    assert {path: text for path, text in helps.items() if re.search(r"[<>=]=?None|None[<>=]", text)} == {}


def test_foreseen_errors_exist() -> None:
    for module, name in FORESEEN:
        assert issubclass(getattr(importlib.import_module(module), name), Exception)


def test_a_foreseen_error_is_a_sentence_and_not_a_traceback() -> None:
    ran = perwatt("embed", "python:stdlib", "--out", "/dev/null/nowhere", "--model", "/no/such/model")
    assert ran.returncode == 1
    assert ran.stderr.startswith("perwatt: error: ")
    assert "Traceback" not in ran.stderr


def test_a_package_of_an_extra_that_is_not_there_is_named(tmp_path: Path) -> None:
    code = "import sys; sys.modules['hdrh'] = None; sys.argv = ['perwatt', 'compare', 'x.json'];"
    ran = subprocess.run(
        [sys.executable, "-c", f"{code} from deploy.command import main; main()"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr == (
        "perwatt: error: this needs the package hdrh, which is not installed: pip install 'perwatt[loadtest]'\n"
    )


@pytest.mark.parametrize("arguments", [("no-such-step",), ("embed",), ("build", "--no-such-option")])
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    ran = perwatt(*arguments)
    assert ran.returncode == 2
    assert "Usage: perwatt" in ran.stderr


def test_version() -> None:
    assert perwatt("--version").stdout.startswith("perwatt 0.")


ENDING = """
import atexit, sys, threading, time
from deploy.command import main

class Kept:
    def __del__(self):
        print("taken apart")

kept = Kept()
atexit.register(print, "asked for at the end")
print("the beginning", end=" ")
threading.Thread(target=lambda: (threading.main_thread().join(), time.sleep(0.2), print("a thread"))).start()
sys.argv[1:] = ["keys", "show"]
main()
"""
BUFFERED = {"PYTHONUNBUFFERED": ""}  # else all is written at once, and nothing is left for the end


def test_a_command_ends_after_all_that_was_begun_and_takes_nothing_apart() -> None:
    ran = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, env=os.environ | BUFFERED)
    assert ran.returncode == 2, ran.stderr  # of wrong usage
    assert ran.stdout == "the beginning a thread\nasked for at the end\n"


def test_a_command_whose_last_words_cannot_be_written_says_so() -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-c", ENDING],
            stdout=full, stderr=subprocess.PIPE, text=True, env=os.environ | BUFFERED,
        )  # fmt: skip
    assert ran.returncode == 120  # of Python, for output that is lost
    assert "No space left on device" in ran.stderr


BAD = b"bad\xff\xfe"


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", BAD, "--index", "x"],
        ["build", "folder", "--index", BAD],
        ["embed", "d.jsonl", "--out", BAD],
        ["search", "docs", BAD],
        ["search", "docs", "text", "--url", BAD],
        ["put", BAD, "d.jsonl", "--url", "http://127.0.0.1:1"],
        ["delete", "docs", BAD, "--url", "http://127.0.0.1:1"],
        ["loadtest", "run", "--index", "x", "--queries", "d.jsonl", "--rate", "1", "--url", b"http://" + BAD],
        ["keys", "create", BAD],
    ],
    ids=lambda arguments: " ".join(repr(each)[1:] if isinstance(each, bytes) else each for each in arguments[:4]),
)
def test_an_argument_that_is_no_utf8_is_named_in_any_locale(arguments: list[str | bytes], tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"id": "a", "text": "some text"}\n')
    ran = subprocess.run(
        [sys.executable, "-m", "deploy.command", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C", "PYTHONPATH": str(Path(__file__).parents[1])},
        check=False,
    )
    assert ran.returncode == 2, ran.stderr
    assert "has bytes that are no UTF-8" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_file_of_documents_may_have_any_name(tmp_path: Path) -> None:
    file = os.fsencode(tmp_path) + b"/" + BAD + b".jsonl"
    Path(os.fsdecode(file)).write_text('{"id": "a", "text": "some text"}\n')
    command = [sys.executable, "-m", "deploy.command", "embed", file, "--out", str(tmp_path / "out"), "--quiet"]
    assert subprocess.run(command, check=False, cwd=Path(__file__).parents[1]).returncode == 0

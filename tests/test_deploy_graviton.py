"""The page for those who move to arm64 shows what there is."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from deploy.command import perwatt
from loadtest.prices.table import price_table

TOP = Path(__file__).parents[1]
PAGE = (TOP / "deploy" / "cloud" / "GRAVITON.md").read_text()
COMMANDS = sorted(
    {
        re.sub(r"\s+", " ", found)
        for found in re.findall(r"(?:^|`)(?:perwatt|in-image) ([^`#\n]*)", PAGE.replace("\\\n", ""), re.MULTILINE)
    }
)


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_and_their_options_exist(line: str) -> None:
    words = line.split()
    command: click.Command | None = perwatt
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command = command.get_command(click.Context(command), words.pop(0))
    assert command
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_targets_and_files_exist() -> None:
    makefile = (TOP / "Makefile").read_text()
    for target in re.findall(r"make\s+([a-z][a-z-]+)", " ".join(re.findall(r"`[^`]*`", PAGE))):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for path in set(re.findall(r"\bdeploy/[\w./-]+\w", PAGE)):
        assert (TOP / path).exists(), path


def test_instance_types_are_in_the_price_table() -> None:
    sold = {price.instance: price for price in price_table()}
    for instance in set(re.findall(r"\b[cmr]\d[a-z]+\.\w+\b", PAGE)):
        assert instance in sold
    for generation, core in re.findall(r"^\| (Graviton\d) \|.*?\| (Neoverse \w\d)", PAGE, re.MULTILINE):
        [row] = [line for line in PAGE.splitlines() if line.startswith(f"| {generation} ")]
        for family in row.split("|")[2].split():
            found = {price.microarchitecture for price in sold.values() if price.instance.startswith(f"{family}.")}
            assert found == {core}, family


def test_a_vcpu_of_every_graviton_is_a_core() -> None:
    arm = [price for price in price_table() if price.architecture == "arm64" and price.provider == "aws"]
    assert all(price.vcpus == price.cores for price in arm)
    assert len(arm) > 50

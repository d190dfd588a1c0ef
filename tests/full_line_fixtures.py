"""A server with one place and a line of one, both taken."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from full_line import Filled, filled


@pytest.fixture(scope="module")
def one_server(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    with filled(root, tmp_path_factory.mktemp("full")) as full:
        yield full


@pytest.fixture
def full(one_server: Filled) -> Filled:
    one_server.fill()
    return one_server


@pytest.fixture
def connection(full: Filled) -> Iterator[socket.socket]:
    with full.dial() as made:
        yield made

"""Processors that are kept awake while a server serves."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from isthmus.errors import BadInput
from isthmus.run.awake import processors_awake


@pytest.fixture
def device(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A named pipe stands for the kernel's device, and its end for reading: that ends when nobody holds it any more."""
    path = tmp_path / "cpu_dma_latency"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path, reader
    os.close(reader)


def test_no_latency_is_allowed_while_it_is_held_and_then_it_is_let_go(device: tuple[Path, int]) -> None:
    path, reader = device
    with processors_awake(path):
        assert struct.unpack("=i", os.read(reader, 64)) == (0,)
        with pytest.raises(BlockingIOError):  # nothing more, and still held
            os.read(reader, 64)
    assert os.read(reader, 64) == b""


def test_it_is_let_go_when_the_server_fails(device: tuple[Path, int]) -> None:
    path, reader = device
    with suppress(RuntimeError), processors_awake(path):
        raise RuntimeError
    assert os.read(reader, 64) == struct.pack("=i", 0)
    assert os.read(reader, 64) == b""


def test_a_system_without_it_says_so_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="this system has no"), processors_awake(tmp_path / "none"):
        pass


def test_who_may_not_is_told_who_may(tmp_path: Path) -> None:
    """A folder cannot be opened for writing by anybody, root or not."""
    with pytest.raises(BadInput, match=r"is a directory.*who may write it"), processors_awake(tmp_path):
        pass

"""One engine for all tests of a process, and a server on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus.engine import Engine
from isthmus.model import load_model
from isthmus.run import Bounds, Server, serve


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def engine(cache_dir: Path) -> Engine:
    return Engine.open(load_model("zoo:tiny"), cache_dir=cache_dir)


@pytest.fixture(scope="session")
def other_engine(cache_dir: Path) -> Engine:
    """The same network with other weights."""
    return Engine.open(load_model("zoo:tiny", seed=1), cache_dir=cache_dir)


@pytest.fixture(scope="module")
def server(engine: Engine) -> Iterator[Server]:
    with serve(engine, bounds=Bounds(batch=4)) as made:
        yield made

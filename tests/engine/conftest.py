"""Engines are made in a cache of the test run's own; models and engines are shared by the tests of a process."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from isthmus.engine import Engine
from isthmus.model import Model, load_model


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def model_of() -> Callable[[str], Model]:
    """A model by name, loaded once."""
    return cache(load_model)


@pytest.fixture(scope="session")
def engine_of(cache_dir: Path, model_of: Callable[[str], Model]) -> Callable[[str], Engine]:
    """A model's engine by name, opened once."""
    return cache(lambda name: Engine.open(model_of(name), cache_dir=cache_dir))

"""What all tests share: a cache of their own, models and engines made once a process, a server on the smallest."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from isthmus.cli import main
from isthmus.codec import Array
from isthmus.engine import Engine
from isthmus.model import Model, digits_test, load_model
from isthmus.profile import ExitTable
from isthmus.profile.exit_measure import measure_exits
from isthmus.profile.samples import Samples
from isthmus.run import Bounds, Server, serve

Call = Callable[..., tuple[int, str, str]]
"""The command line as a function of its words: (exit code, stdout, stderr)."""


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One cache for all test processes of a run, and none of the user's."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ["ISTHMUS_CACHE"] = str(shared / "isthmus-cache")


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


@pytest.fixture(scope="session")
def engine(cache_dir: Path) -> Engine:
    return Engine.open(load_model("zoo:tiny"), cache_dir=cache_dir)


@pytest.fixture(scope="session")
def other_engine(cache_dir: Path) -> Engine:
    """The same network with other weights."""
    return Engine.open(load_model("zoo:tiny", seed=1), cache_dir=cache_dir)


@pytest.fixture(scope="session")
def digits(engine_of: Callable[[str], Engine]) -> Engine:
    """The trained network with three exits."""
    return engine_of("zoo:digits")


@pytest.fixture(scope="session")
def images(digits: Engine) -> dict[str, Array]:
    """The test pictures of `digits`, as its input."""
    return {digits.model.inputs[0].name: digits_test()[0]}


@pytest.fixture(scope="session")
def table(digits: Engine, images: dict[str, Array]) -> ExitTable:
    """When inputs leave `digits` early, by those pictures."""
    return measure_exits(digits, Samples(images, digits_test()[1]), data="digits")


@pytest.fixture(scope="module")
def server(engine: Engine) -> Iterator[Server]:
    with serve(engine, bounds=Bounds(batch=4)) as made:
        yield made


@pytest.fixture
def piped() -> Iterator[Callable[[bytes], Path]]:
    """A path that is a pipe with this content (up to 64 kB), as a shell's <(...): it has no size before it is read."""
    ends: list[int] = []

    def path(content: bytes) -> Path:
        reading, writing = os.pipe()
        ends.append(reading)
        with os.fdopen(writing, "wb") as file:
            file.write(content)
        return Path(f"/dev/fd/{reading}")

    yield path
    for end in ends:
        os.close(end)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run the command line here."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["isthmus", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, captured.out, captured.err

    return run

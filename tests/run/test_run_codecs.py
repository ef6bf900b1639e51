"""Writing and reading tensors on a machine that is declared slow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_rig import Told

from isthmus.engine import Engine
from isthmus.model import load_model
from isthmus.run import connect as client_file
from isthmus.run import connect_engine, serve
from isthmus.run import server as server_file
from isthmus.run.codecs import Codecs

X = {"x": np.linspace(-1, 1, 64 * 64, dtype=np.float32).reshape(1, 64, 8, 8)}


@pytest.mark.parametrize("codec", ["float32", "float16", "int8"])
def test_a_slow_machine_waits_once_for_each_tensor_written_and_read(codec: str) -> None:
    waited: list[float] = []
    slow = Codecs(slowdown=3.0, wait=waited.append)
    heads, payloads = slow.dump(codec, {**X, "y": X["x"]})
    assert len(waited) == 2
    found = slow.load(heads, memoryview(b"".join(payloads)))
    assert len(waited) == 4
    assert min(waited) > 0
    assert float(np.abs(np.asarray(found["y"], np.float32) - X["x"]).max()) < 0.02


def test_a_machine_as_it_is_never_waits() -> None:
    waited: list[float] = []
    plain = Codecs(wait=waited.append)
    heads, payloads = plain.dump("int8", X)
    plain.load(heads, memoryview(b"".join(payloads)))
    assert waited == []


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The slow-downs that client and server tell their codecs."""
    found: list[float] = []

    class Noted(Codecs):
        def __init__(self, *given: Any, slowdown: float = 1.0, **more: Any) -> None:
            found.append(slowdown)
            super().__init__(*given, **{**more, "slowdown": slowdown})

    monkeypatch.setattr(client_file, "Codecs", Noted)
    monkeypatch.setattr(server_file, "Codecs", Noted)
    return found


def test_client_and_server_write_as_slowly_as_their_engines_compute(told: list[float], tmp_path: Path) -> None:
    device, server = (Engine.open(load_model("zoo:tiny"), cache_dir=tmp_path, slowdown=s) for s in (3.0, 2.0))
    with (
        serve(server, host="127.0.0.1") as there,
        connect_engine(device, f"127.0.0.1:{there.port}", chooser=Told("@input")) as session,
    ):
        assert session.infer(device.model.random_inputs(1)).outputs
    assert told == [2.0, 3.0]

"""What a server says of outputs and of how bytes came in is not believed where it cannot be."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from run_rig import Told, until
from test_run_recovery import Slow

from isthmus.codec import Array
from isthmus.engine import Engine
from isthmus.graph import INPUT
from isthmus.run import Bounds, connect_engine, intake, serve
from isthmus.run.frame import Kind, pack
from isthmus.run.split_pb2 import Arrival


@pytest.mark.parametrize("cut", [0, 1])
@pytest.mark.parametrize(
    "lie",
    [
        lambda x: x.reshape(-1),
        lambda x: x.astype(np.float64),
        lambda x: x.view(np.int32),
        lambda x: x[:, :1],
        lambda x: np.repeat(x, 2, 0),
        lambda x: x[:0],
    ],
)
def test_outputs_of_another_kind_are_no_answer(
    engine: Engine, lie: Callable[[Array], Array], cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = engine.model.random_inputs(3)
    with serve(engine, bounds=Bounds(batch=4)) as there:
        run = there._desk.places.run

        def lying(*asked: Any) -> Any:
            outputs, crossing = run(*asked)
            return {name: lie(x) for name, x in outputs.items()}, crossing

        monkeypatch.setattr(there._desk.places, "run", lying)
        with connect_engine(engine, there.address, chooser=Told(engine.cuts[cut].id), verify=True) as session:
            for _ in range(2):
                assert session.wait_connected(10)
                answer = session.infer(inputs)
                assert (answer.ran, answer.step.wrong) == ("device", False)
                assert "the server's logits is" in answer.step.trouble


@pytest.mark.parametrize("seconds", [math.nan, -1.0, 1e300])
@pytest.mark.parametrize("kind", [Kind.PROBED, Kind.CANCELLED])
def test_bytes_that_cannot_have_come_in_so_teach_nothing(
    engine: Engine, kind: Kind, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie = Arrival(bytes_after_first=100_000, seconds=seconds, bytes=200_000).SerializeToString()
    monkeypatch.setattr(intake, "_arrival", lambda kind, job: pack(kind, job.id, lie))
    slow, told = Slow(engine), Told(INPUT)
    with (
        serve(slow) as there,  # type: ignore[arg-type]
        connect_engine(engine, there.address, chooser=told, deadline_s=0.2) as session,
    ):
        keeper = session._keeper
        assert keeper is not None
        line = keeper.wait_line(10)
        if kind is Kind.PROBED:
            told.probe = 20_000
        else:
            session.infer(engine.model.random_inputs())  # late, and cancelled
        assert until(lambda: line.lost is not None)
        slow.gate.set()
    assert not [step for step in told.steps if step.kind == "probe"]

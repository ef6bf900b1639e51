"""What a server says of outputs and of how bytes came in is not believed where it cannot be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from run_rig import Told

from isthmus.codec import Array
from isthmus.engine import Engine
from isthmus.run import Bounds, connect_engine, serve


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

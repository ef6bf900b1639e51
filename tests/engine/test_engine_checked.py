"""What was found right is remembered: for what it was asked for, and for nothing else."""

from __future__ import annotations

import pytest

from isthmus.engine import Engine
from isthmus.errors import BadInput
from isthmus.graph import INPUT, OUTPUT


def test_tensors_that_were_right_for_one_cut_are_not_for_another(engine: Engine) -> None:
    inputs = engine.model.random_inputs()
    middle = [c for c in engine.cuts if c.id not in (INPUT, OUTPUT)]
    crossing = {c.id: {t: engine.head(c.id, inputs)[t] for t in c.crossing} for c in middle}
    assert len(middle) > 1
    for _ in range(2):
        for cut in middle:
            engine.tail(cut.id, crossing[cut.id])
        for cut in middle:
            for other in middle:
                if set(other.crossing) != set(cut.crossing):
                    with pytest.raises(BadInput, match="it was given no"):
                        engine.tail(cut.id, crossing[other.id])
            with pytest.raises(BadInput, match="it was given no"):
                engine.whole(crossing[cut.id])

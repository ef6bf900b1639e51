"""What makes an answer wrong: other numbers than this cut and codec give, or a codec beyond its stated bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.codec import PlanarRange
from isthmus.engine import Engine
from isthmus.graph import OUTPUT
from isthmus.record import Choice, Seconds, Step
from isthmus.run.codecs import Codecs
from isthmus.run.halves import Halves
from isthmus.run.trip import Trip
from isthmus.run.verify import Verifier


def judged(engine: Engine, cut: str, codec: str, spoil: float = 0.0) -> Step:
    """The verdict on an answer computed here in halves, its last output moved by `spoil`."""
    halves, codecs = Halves(engine), Codecs()
    inputs = engine.model.random_inputs(2)
    trip = Trip(0.0, Choice(cut=cut, codec=codec), 2, cut=cut, codec=codec)
    if cut == OUTPUT:
        outputs = halves.whole(inputs)
    else:
        crossing, already = halves.head(cut, inputs)
        heads, payloads = codecs.dump(codec, crossing)
        outputs = {**already, **halves.tail(cut, codecs.load(heads, memoryview(b"".join(payloads))))}
    last = halves.engine.graph.outputs[-1]
    outputs[last] = np.add(outputs[last], np.asarray(spoil, outputs[last].dtype))
    step = Step(id=0, t_s=0.0, ran="split", cut=cut, codec=codec, seconds=Seconds(total=1.0))
    return Verifier(halves, codecs).check(step, trip, inputs, outputs)


@pytest.mark.parametrize("codec", ["float32", "float16", "int8", "int4", "int2"])
def test_right_answers_are_right_at_every_cut(engine: Engine, codec: str) -> None:
    for cut in engine.cuts:
        assert judged(engine, cut.id, codec).wrong is False


def test_other_numbers_are_wrong(engine: Engine) -> None:
    cut = engine.cuts[1].id
    assert judged(engine, cut, "float32", spoil=1.0).wrong is True
    assert judged(engine, OUTPUT, "float32", spoil=1.0).wrong is True


def test_a_codec_beyond_its_bound_is_wrong(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = engine.cuts[1].id
    assert judged(engine, cut, "int8").wrong is False

    def lying(self: Any, x: Any) -> float:
        return 1e-9

    monkeypatch.setattr(PlanarRange, "bound", lying)
    assert judged(engine, cut, "int8").wrong is True


def test_an_answer_that_is_no_number_is_no_small_error(digits: Engine) -> None:
    """The outputs before it are right; how far this one is from the whole model cannot be told, so none is told."""
    step = judged(digits, OUTPUT, "float32", spoil=float("nan"))
    assert (step.wrong, step.error) == (True, None)

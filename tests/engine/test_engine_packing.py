"""Kernels that repack their weights: those of matrix products share the packed form, integer kernels keep their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from engine_nets import convolutions, matrices, quantised

from isthmus.engine import Engine
from isthmus.model import Model


def plain(model: Model, x: dict[str, np.ndarray]) -> np.ndarray:
    session = ort.InferenceSession(model.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    answer: np.ndarray = session.run(None, x)[0]
    return answer


@pytest.mark.parametrize(("make", "packing"), [(matrices, "shared"), (quantised, "own"), (convolutions, "none")])
def test_every_cut_answers_however_weights_are_packed(make: Callable[[], Model], packing: str, cache_dir: Path) -> None:
    model = make()
    name = model.outputs[0].name
    for _ in range(2):  # made, then from the cache
        engine = Engine.open(model, cache_dir=cache_dir)
        assert engine.core.packing == packing
        assert len(engine.safe) >= 2
        inputs = model.random_inputs(2)
        wanted = engine.whole(inputs)[name]
        assert wanted.std() > 0.01
        np.testing.assert_allclose(np.asarray(wanted, np.float64), plain(model, inputs), atol=1e-4)
        for cut_id in engine.safe:
            np.testing.assert_array_equal(engine.tail(cut_id, engine.head(cut_id, inputs))[name], wanted)


def test_the_packed_form_stands_in_the_file(tmp_path: Path) -> None:
    Engine.open(matrices(), cache_dir=tmp_path)
    core = onnx.load(next(tmp_path.glob("*/core.onnx")), load_external_data=False)
    entries = [e.key for t in core.graph.initializer for e in t.external_data]
    assert sum(key.startswith("prepacked") for key in entries) == 8


def test_pairs_with_weights_of_their_own_do_not_pile_up(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isthmus.engine.engine._KEPT_PREPACKED", 1)
    engine = Engine.open(quantised(), cache_dir=cache_dir)
    one, other = [c.id for c in engine.cuts if c.id in engine.safe]
    made = engine.halves(one)
    assert engine.halves(one) is made
    engine.halves(other)
    assert engine.halves(one) is not made

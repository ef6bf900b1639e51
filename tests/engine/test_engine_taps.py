"""A network in pieces makes what the whole network makes, tensor by tensor, and holds little at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from engine_nets import convolutions

from isthmus.engine import Engine, taps
from isthmus.engine.taps import tapped
from isthmus.errors import BadInput
from isthmus.graph import graph_of
from isthmus.model import Model

CUTS = ("r0", "r1", "r3")


@pytest.mark.parametrize("share", [1, 40_000, 1 << 30])
def test_every_tensor_is_the_one_of_the_whole(share: int, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taps, "_LEAST_BYTES", share)
    monkeypatch.setattr(taps, "_MOST_BYTES", share)
    model = convolutions()
    inputs = model.random_inputs(2)
    engine = Engine.open(model, cuts=CUTS, cache_dir=cache_dir)
    with tapped(model, ["x", *CUTS, "logits"]) as pieces:
        found = list(pieces.run(inputs))
    assert [name for name, _ in found] == ["x", *CUTS, "logits"]
    values = dict(found)
    assert np.array_equal(values["x"], inputs["x"])
    for cut in ("r0", "r3"):
        assert np.allclose(values[cut], engine.head(cut, inputs)[cut], atol=1e-5)
    assert np.allclose(values["logits"], engine.whole(inputs)["logits"], atol=1e-5)


def test_pieces_are_as_small_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    model = convolutions()
    wanted = [t for n in graph_of(model).nodes for t in n.outputs]
    counts = {}
    for share in (1, 1 << 30):
        monkeypatch.setattr(taps, "_LEAST_BYTES", share)
        monkeypatch.setattr(taps, "_MOST_BYTES", share)
        with tapped(model, wanted) as pieces:
            counts[share] = len(pieces.parts)
            assert {t for p in pieces.parts for t in p.gives} == set(wanted)
    assert counts == {1: len(wanted), 1 << 30: 1}


def test_a_fixed_batch_is_kept_and_an_unknown_tensor_refused(model_of: Callable[[str], Model]) -> None:
    with tapped(convolutions(batch=1), ["r3"]) as pieces:
        assert pieces.batch == 1
    with tapped(model_of("zoo:tiny"), ["logits"]) as pieces:
        assert pieces.batch > 1
    with pytest.raises(BadInput, match=r"no tensor 'nothing'"), tapped(model_of("zoo:tiny"), ["nothing"]):
        pass

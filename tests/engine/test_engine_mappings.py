"""All engines of a process share one budget of mapped weights; what is over it is made when it is asked for."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
from engine_nets import WITH_EXITS, convolutions, matrices

from isthmus.engine import Engine, mappings
from isthmus.model import Model


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What engines of other tests hold is theirs."""
    monkeypatch.setattr(mappings, "_held", {})


def held() -> int:
    return mappings.MOST - mappings.room()


@pytest.mark.parametrize("model", [convolutions(), matrices()], ids=["plain", "repacked"])
def test_what_is_counted_is_what_is_mapped_and_comes_back(model: Model, tmp_path: Path) -> None:
    engine = Engine.open(model, cache_dir=tmp_path)
    with Path("/proc/self/maps").open() as lines:
        mapped = sum(str(tmp_path) in line for line in lines)
    assert held() == mapped > len(engine.safe) > 2
    del engine
    gc.collect()
    assert held() == 0


def test_without_room_the_last_pairs_stay_and_all_answer(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Engine.open(convolutions(), cache_dir=cache_dir)
    inputs = first.model.random_inputs()
    wanted = first.whole(inputs)["logits"]
    monkeypatch.setattr(mappings, "MOST", held())
    second = Engine.open(convolutions(), cache_dir=cache_dir)
    before = held()
    for _ in range(2):
        for cut_id in [*sorted(second.safe), "c1", "a2"]:
            made = second.tail(cut_id, second.head(cut_id, inputs))["logits"]
            assert np.allclose(made, wanted, atol=1e-5)
    files = len(second._maker._files)
    assert 0 < held() - before <= 4 * files < len(second.safe) * files
    del first
    gc.collect()
    kept = {cut_id: second.halves(cut_id) for cut_id in second.safe}
    assert all(second.halves(cut_id) is pair for cut_id, pair in kept.items()), "with room again they stay for good"


def test_pieces_between_cuts_keep_to_it_too(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine.open(convolutions(), cache_dir=cache_dir, cuts="none")
    ends = engine.cuts
    tensors = [
        {t: a for t, a in engine.head(c.id, engine.model.random_inputs()).items() if t in c.crossing} for c in ends
    ]
    monkeypatch.setattr(mappings, "MOST", held())
    for i, start in enumerate(ends):
        for end in ends[i + 1 :]:
            engine.middle(start, end, tensors[i])
    assert len(engine._middles._shared) == 4


def test_an_exit_makes_its_pairs_when_they_are_used(cache_dir: Path) -> None:
    engine = Engine.open(convolutions(exits=WITH_EXITS), cache_dir=cache_dir)
    before = held()
    parts = [engine.at_exit(output) for output in engine.graph.outputs]
    assert held() - before <= len(parts) * len(engine._maker._files), "one session each"
    assert [part._pairs for part in parts] == [{}] * len(parts)
    part = next(p for p in parts if p.safe)
    cut_id = min(part.safe)
    assert part.halves(cut_id) is part.halves(cut_id)

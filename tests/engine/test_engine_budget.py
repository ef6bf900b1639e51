"""All engines of a process share budgets of kernels and mapped files; beyond them pairs are made when asked for."""

from __future__ import annotations

import gc
import math
from pathlib import Path

import numpy as np
import pytest
from engine_nets import WITH_EXITS, convolutions, matrices

from isthmus.engine import Engine
from isthmus.engine.budget import KERNELS, MAPPINGS


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What engines of other tests hold is theirs."""
    for budget in (KERNELS, MAPPINGS):
        monkeypatch.setattr(budget, "_held", {})


def mapped(folder: Path) -> int:
    """Pieces of files in this folder that the process has mapped, by the system's own count."""
    with Path("/proc/self/maps").open() as lines:
        return sum(str(folder) in line for line in lines)


def test_what_the_runtime_maps_is_counted_and_comes_back(tmp_path: Path) -> None:
    engine = Engine.open(matrices(), cache_dir=tmp_path)
    assert MAPPINGS.held == mapped(tmp_path) > len(engine.safe) > 2
    del engine
    gc.collect()
    assert MAPPINGS.held == KERNELS.held == 0


def test_all_sessions_are_lent_one_mapping(tmp_path: Path) -> None:
    engine = Engine.open(convolutions(exits=WITH_EXITS), cache_dir=tmp_path)
    parts = [engine.at_exit(output) for output in engine.graph.outputs]
    assert len(engine._pairs) == len(engine.safe) > 2
    assert len(parts) == 3
    assert mapped(tmp_path) == 1
    assert MAPPINGS.held == 0
    kernels = len(engine.core.proto.graph.node)
    assert KERNELS.held >= kernels * (1 + len(engine.safe))
    del engine, parts
    gc.collect()
    assert mapped(tmp_path) == KERNELS.held == 0


def test_a_part_keeps_what_it_was_lent(tmp_path: Path) -> None:
    engine = Engine.open(convolutions(), cache_dir=tmp_path)
    inputs = engine.model.random_inputs()
    wanted, cut_id = engine.whole(inputs), "r1"
    crossing = engine.head(cut_id, inputs)
    tail = engine.halves(cut_id).tail
    assert tail is not None
    assert 0 < len(tail.lent) < len(engine._whole.lent)
    del engine
    gc.collect()
    assert mapped(tmp_path) == 1
    np.testing.assert_array_equal(tail.run(crossing)["logits"], wanted["logits"])


def test_pairs_are_made_in_advance_up_to_a_number_of_kernels(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = len(Engine.open(convolutions(), cache_dir=cache_dir, cuts="none").core.proto.graph.node)
    monkeypatch.setattr("isthmus.engine.halves._IN_ADVANCE", 3 * kernels - 1)
    engine = Engine.open(convolutions(), cache_dir=cache_dir)
    assert len(engine._pairs) == 2 < len(engine.safe)


def test_pairs_that_repack_their_weights_are_made_in_advance_up_to_a_number_of_bytes(
    cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = Engine.open(matrices(), cache_dir=cache_dir, cuts="none").core.proto.graph.initializer
    large_bytes = sum(4 * math.prod(t.dims) for t in weights if t.external_data)
    monkeypatch.setattr("isthmus.engine.halves._REPACKED_BYTES", 3 * large_bytes - 1)
    engine = Engine.open(matrices(), cache_dir=cache_dir)
    assert len(engine._pairs) == 2 < len(engine.safe)


def test_without_room_for_mappings_no_pair_is_kept_either(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Engine.open(matrices(), cache_dir=cache_dir)
    inputs = first.model.random_inputs()
    wanted = first.whole(inputs)
    monkeypatch.setattr(MAPPINGS, "most", MAPPINGS.held)
    second = Engine.open(matrices(), cache_dir=cache_dir)
    assert second._pairs == {}
    for cut_id in second.safe:
        for name, made in second.tail(cut_id, second.head(cut_id, inputs)).items():
            assert np.allclose(made, wanted[name], atol=1e-5)
    assert second._pairs == {}


def test_without_room_the_last_pairs_stay_and_all_answer(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Engine.open(convolutions(), cache_dir=cache_dir)
    inputs = first.model.random_inputs()
    wanted = first.whole(inputs)["logits"]
    monkeypatch.setattr(KERNELS, "most", KERNELS.held)
    second = Engine.open(convolutions(), cache_dir=cache_dir)
    before = KERNELS.held
    for _ in range(2):
        for cut_id in [*sorted(second.safe), "c1", "a2"]:
            made = second.tail(cut_id, second.head(cut_id, inputs))["logits"]
            assert np.allclose(made, wanted, atol=1e-5)
    kernels = 1 + len(second.core.proto.graph.node)  # a tail has a node more, back into the blocked layout
    assert 0 < KERNELS.held - before <= 4 * kernels < len(second.safe) * kernels
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
    monkeypatch.setattr(KERNELS, "most", KERNELS.held)
    for i, start in enumerate(ends):
        for end in ends[i + 1 :]:
            engine.middle(start, end, tensors[i])
    assert len(engine._middles._shared) == 4


def test_an_exit_makes_its_pairs_when_they_are_used(cache_dir: Path) -> None:
    engine = Engine.open(convolutions(exits=WITH_EXITS), cache_dir=cache_dir)
    before = KERNELS.held
    parts = [engine.at_exit(output) for output in engine.graph.outputs]
    assert KERNELS.held - before <= len(parts) * len(engine.core.proto.graph.node), "one session each"
    assert [part._pairs for part in parts] == [{}] * len(parts)
    part = next(p for p in parts if p.safe)
    cut_id = min(part.safe)
    assert part.halves(cut_id) is part.halves(cut_id)

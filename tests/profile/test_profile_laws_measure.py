"""Timing layers here: what a specimen is, that kernels go to their layers, and that an interrupted run goes on."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from isthmus.engine import Engine
from isthmus.engine.core import LAYOUT_OPS
from isthmus.errors import BadInput
from isthmus.graph import graph_of
from isthmus.profile.measure import machine_here
from isthmus.profile.regression import Sample, layers_of
from isthmus.profile.regression.grid import grouped, shape_grid
from isthmus.profile.regression.measure import (
    LayerMeasuring,
    LayerTimes,
    _groups,
    _placed,
    _with_group,
    measure_layers,
    regression_of,
)
from isthmus.profile.regression.specimens import Spec, write_specimens
from isthmus.profile.regression.types import LAYER_TYPES


def steady() -> float:
    """A clock of which every look costs a millisecond."""
    return next(_TICKS) * 1e-3


_TICKS = itertools.count()


def test_the_grid_is_seeded_and_bounded() -> None:
    specs = shape_grid(24, seed=1)
    assert specs == shape_grid(24, seed=1) != shape_grid(24, seed=2)
    assert len(set(specs)) == len(specs)
    assert {s.type for s in specs} == set(LAYER_TYPES) - {"dropout"}
    groups = grouped(specs, seed=1)
    assert sorted(map(repr, itertools.chain(*groups))) == sorted(map(repr, specs))
    assert max(sum(s.weights for s in g) for g in groups if len(g) > 1) <= 2 * 16e6


def test_products_stand_together_and_beyond_the_cache() -> None:
    """Every model with a fully connected layer has none but these, and tens of megabytes of weights."""
    specs = shape_grid(60, seed=1)
    for seed in range(3):
        with_products = [g for g in grouped(specs, seed=seed) if any(s.type == "fully_connected" for s in g)]
        assert all(s.type == "fully_connected" for g in with_products for s in g)
        assert min(sum(s.weights for s in g) for g in with_products) * 4 >= 32e6


def test_every_pass_gives_a_shape_other_neighbours() -> None:
    """All shapes in each pass, every third at the large batch too, and the same ones each time."""
    how = LayerMeasuring(per_type=24, passes=3)
    groups = list(_groups(how))
    specs = shape_grid(24, seed=0)
    count = len(groups) // 3
    beside: list[set[frozenset[str]]] = []
    for turn in range(3):
        one = groups[turn * count : (turn + 1) * count]
        assert sorted(repr(s) for g, _ in one for s in g) == sorted(map(repr, specs))
        at_large = {s for g, large in one if large for s in g}
        assert at_large == {*specs[::3], *(s for s in specs if s.type == "fully_connected")}
        beside.append({frozenset((repr(a), repr(b))) for g, _ in one for a in g for b in g if a != b})
    assert len(beside[0] & beside[1]) < 0.2 * len(beside[0])
    assert len(beside[1] & beside[2]) < 0.2 * len(beside[1])


def test_a_specimen_is_seen_as_the_layer_it_is_of(tmp_path: Path) -> None:
    """One of each type: the layer that makes the tensor is of that type, as large as was asked for; it runs, and
    has kernels of its own."""
    specs: dict[str, Spec] = {}
    for spec in shape_grid(24, seed=0):
        if spec.size <= 32 and spec.weights < 1e6:
            specs.setdefault(spec.type, spec)
    model, made = write_specimens(list(specs.values()))
    graph = graph_of(model, 1)
    of_node = {i: x for x in layers_of(graph, fuses=True) for i in x.nodes}
    for (kind, spec), tensor in zip(specs.items(), made, strict=True):
        shape = of_node[graph.producer[tensor]].shape
        assert shape.type == kind
        parts = spec.filters if kind == "concat" else 2 if kind in ("add", "mul") else 1
        assert shape.map_bytes == 4 * spec.channels * spec.size**2
        assert shape.in_bytes >= parts * shape.map_bytes
    engine = Engine.open(model, cuts="none", cache_dir=tmp_path)
    assert engine.whole(model.random_inputs(1))
    leads = {graph.nodes[of_node[graph.producer[t]].lead].name: t for t in made}
    kernels = {n.name: 1.0 for n in engine.core.proto.graph.node if n.op_type not in LAYOUT_OPS}
    seen = {t for t, seconds in _placed(engine, kernels, leads, made) if seconds}
    assert seen == set(made), "no layer goes without its kernel"


def test_measuring_stops_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three groups of shapes, stopped after two: the rest is measured once, and both ways there are the same layers."""
    monkeypatch.setattr("isthmus.profile.regression.measure._CHAINS", ((4, 16, 8),))
    few = [s for s in shape_grid(24, seed=0) if s.size <= 14 and s.weights < 3e4][:12]
    monkeypatch.setattr("isthmus.profile.regression.measure._groups", lambda _: [(few[i::3], i == 0) for i in range(3)])
    how = LayerMeasuring(per_type=24, passes=1, runs=2, machine="here")
    seen: list[LayerTimes] = []

    class Stopped(Exception):
        pass

    def stop(so_far: LayerTimes) -> None:
        seen.append(so_far)
        if so_far.done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        measure_layers(how, taken="", clock=steady, checkpoint=stop)
    with pytest.raises(BadInput, match=r"not finished"):
        regression_of(seen[-1])
    told: list[int] = []
    done = measure_layers(how, taken="", clock=steady, resume=seen[-1], progress=lambda at, of, what: told.append(at))
    assert told == [2, 4]
    assert done.complete
    assert done.layers[: len(seen[-1].layers)] == seen[-1].layers
    assert done.call is not None
    assert len({s.shape for s in done.samples}) >= len(few) - 1
    assert all(s.seconds > 0 for s in done.samples)
    with pytest.raises(BadInput, match=r"another machine or grid"):
        measure_layers(LayerMeasuring(per_type=25), taken="", clock=steady, resume=done)


def test_the_quickest_pass_counts() -> None:
    """Of four passes the quickest; all are kept, and each group's loading."""
    model, made = write_specimens([Spec("relu", 8, 4)])
    graph = graph_of(model, 1)
    shape = next(x.shape for x in layers_of(graph, fuses=True) if graph.nodes[x.lead].name == made[0])
    times = LayerTimes(machine=machine_here("", 1), taken="", seed=0, per_type=24)
    for turn, seconds in enumerate((4.0, 1.0, 9.0, 2.0)):
        times = _with_group(times, [Sample(shape, seconds)], (turn, 1.0))
    assert times.samples == (Sample(shape, 1.0),)
    assert times.layers[0].seconds == (4.0, 1.0, 9.0, 2.0)
    assert (times.done, times.loading) == (4, ((0, 1), (1, 1), (2, 1), (3, 1)))


@pytest.mark.parametrize(("more", "complaint"), [({"per_type": 5}, r"5 shapes"), ({"runs": 1}, r"passes of 1 runs")])
def test_bad_measuring(more: dict[str, int], complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        LayerMeasuring(**more)  # type: ignore[arg-type]

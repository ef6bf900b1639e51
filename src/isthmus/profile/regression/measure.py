"""Timing layers of this machine over a grid of shapes, for laws of latency. Runs the engine; resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat

from isthmus.engine import Engine, kernel_times, owners
from isthmus.engine.core import LAYOUT_OPS
from isthmus.errors import BadInput
from isthmus.files import scratch_folder
from isthmus.graph import INPUT, OUTPUT, graph_of
from isthmus.model import Model
from isthmus.model.types import Progress
from isthmus.profile.measure import Measuring, machine_here, measure_codecs, timing_of
from isthmus.profile.regression.fit import Sample, fit_loading, fit_types
from isthmus.profile.regression.grid import grouped, shape_grid
from isthmus.profile.regression.layers import layers_of
from isthmus.profile.regression.shapes import LayerShape
from isthmus.profile.regression.solve import nnls
from isthmus.profile.regression.specimens import Spec, write_chain, write_specimens
from isthmus.profile.regression.types import Call, Regression
from isthmus.profile.types import CodecTiming, Machine

Clock = Callable[[], float]
_MB = 1e6
_CHAINS = ((8, 64, 56), (8, 32, 80), (8, 128, 28), (8, 256, 14), (24, 32, 14), (2, 64, 40))
"""(layers, channels, size) of the chains that a call and a cut are timed on."""
_LARGE_BATCH = 4
_LARGE_EVERY = 3
"""Every third shape is timed at the large batch too, and every fully connected layer."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TimedLayer(_Strict):
    """One layer and the seconds it took, one number a pass."""

    shape: LayerShape
    seconds: tuple[NonNegativeFloat, ...] = Field(min_length=1)


class LayerTimes(_Strict):
    """What was measured so far, from which laws are fitted; written after every group of shapes."""

    kind: Literal["isthmus-layer-times"] = "isthmus-layer-times"
    version: Literal[2] = 2
    machine: Machine
    taken: str
    seed: int
    per_type: int
    layers: tuple[TimedLayer, ...] = ()
    done: int = 0
    """groups timed, over all passes"""
    loading: tuple[tuple[PositiveFloat, PositiveFloat], ...] = ()
    """(bytes of weights, seconds until the network is ready to run)"""
    call: Call | None = None
    codecs: dict[str, CodecTiming] = Field(default_factory=dict)
    complete: bool = False

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All layers timed, each with its quickest pass: what a slow moment of the machine adds is not the layer's."""
        return tuple(Sample(layer.shape, min(layer.seconds)) for layer in self.layers)


@dataclass(frozen=True)
class LayerMeasuring:
    """How to measure: about so many shapes a type, in `passes` over the grid, `runs` of each in a pass; the grid
    depends on the seed.

    Each pass puts the shapes together in other models. Whether the memory that a layer writes to is in the cache hangs
    on who wrote there before; beside the same neighbours each time, that would pass for a trait of the shape. A slow
    moment of the machine costs a shape one pass, too.
    """

    per_type: int = 60
    passes: int = 4
    runs: int = 10
    seed: int = 0
    threads: int = 1
    machine: str = ""

    def __post_init__(self) -> None:
        if self.per_type < 24:
            raise BadInput(f"{self.per_type} shapes a type are too few for a law; give at least 24")
        if self.runs < 2 or self.passes < 1:
            raise BadInput(f"{self.passes} passes of {self.runs} runs are too few; give at least 1 of 2")


def measure_layers(
    how: LayerMeasuring,
    *,
    taken: str,
    clock: Clock,
    progress: Progress | None = None,
    resume: LayerTimes | None = None,
    checkpoint: Callable[[LayerTimes], None] | None = None,
) -> LayerTimes:
    """Seconds of every layer of the grid on this machine.

    `resume`: an unfinished measurement of the same machine, seed and size; what it holds is not measured again.
    """
    so_far = _start(how, taken, resume)
    groups = list(_groups(how))
    total = len(groups)
    for done in range(so_far.done, total):
        specs, large = groups[done]
        if progress is not None:
            progress(done, total + 1, f"{len(specs)} layers")
        so_far = _with_group(so_far, *_measure_group(specs, how, clock, large=large))
        if checkpoint is not None:
            checkpoint(so_far)
    if not so_far.complete:
        codecs = measure_codecs(Measuring().codecs, how.runs, clock)
        so_far = so_far.model_copy(update={"call": measure_call(how, clock), "codecs": codecs, "complete": True})
    if progress is not None:
        progress(total + 1, total + 1, "calls and cuts")
    return so_far


def regression_of(times: LayerTimes, *, seed: int = 0) -> Regression:
    """The laws of what was measured. Raises BadInput for an unfinished measurement."""
    if not times.complete or times.call is None:
        raise BadInput("this measurement is not finished; go on with --resume")
    return Regression(
        machine=times.machine.model_copy(update={"kind": "regression", "runtime": f"laws of {times.machine.runtime}"}),
        taken=times.taken,
        source=f"{len(times.samples)} layers timed with {times.machine.runtime}, {times.machine.threads} thread",
        layers=fit_types(times.samples, seed=seed),
        call=times.call,
        loading=fit_loading(times.loading, seed=seed),
        codecs=times.codecs,
    )


def measure_call(how: LayerMeasuring, clock: Clock) -> Call:
    """What a call costs, and a cut by its megabytes: the halves of a chain are the whole but for these."""
    rows, extra = [], []
    with scratch_folder() as scratch:
        for layers, channels, size in _CHAINS:
            engine = Engine.open(write_chain(layers, channels, size), threads=how.threads, cache_dir=scratch)
            for moved, more_s in _cut_costs(engine, how.runs, clock):
                rows.append((1.0, 2.0 * moved / _MB))
                extra.append(more_s)
    fixed_s, per_mb = nnls(np.array(rows), np.array(extra))
    return Call(fixed_s=float(fixed_s), cut_s_per_mb=float(per_mb))


def _start(how: LayerMeasuring, taken: str, resume: LayerTimes | None) -> LayerTimes:
    machine = machine_here(how.machine, how.threads)
    fresh = LayerTimes(machine=machine, taken=taken, seed=how.seed, per_type=how.per_type)
    if resume is None:
        return fresh
    if (resume.machine, resume.seed, resume.per_type) != (machine, how.seed, how.per_type):
        raise BadInput("the measurement to resume is of another machine or grid; give a new --out or delete it")
    return resume


def _groups(how: LayerMeasuring) -> Iterator[tuple[list[Spec], bool]]:
    """(shapes of one model, whether they are timed at the large batch too), of all passes."""
    specs = shape_grid(how.per_type, seed=how.seed)
    large = [s for i, s in enumerate(specs) if i % _LARGE_EVERY == 0 or s.type == "fully_connected"]
    others = [s for i, s in enumerate(specs) if i % _LARGE_EVERY and s.type != "fully_connected"]
    for turn in range(how.passes):
        yield from ((group, True) for group in grouped(large, seed=how.seed + turn))
        yield from ((group, False) for group in grouped(others, seed=how.seed + turn))


def _with_group(so_far: LayerTimes, found: Sequence[Sample], loaded: tuple[float, float]) -> LayerTimes:
    """One more group, and its layers beside what earlier passes found of them."""
    layers = {layer.shape: layer for layer in so_far.layers}
    for sample in found:
        before = layers[sample.shape].seconds if sample.shape in layers else ()
        layers[sample.shape] = TimedLayer(shape=sample.shape, seconds=(*before, sample.seconds))
    return so_far.model_copy(
        update={
            "layers": tuple(layers.values()),
            "done": so_far.done + 1,
            "loading": (*so_far.loading, loaded),
        }
    )


def _measure_group(
    specs: Sequence[Spec], how: LayerMeasuring, clock: Clock, *, large: bool
) -> tuple[list[Sample], tuple[float, float]]:
    model, made = write_specimens(specs, seed=how.seed)
    with scratch_folder() as scratch:
        engine = Engine.open(model, threads=how.threads, cuts="none", cache_dir=scratch)
        start = clock()
        Engine.open(model, threads=how.threads, cuts="none", cache_dir=scratch)
        loaded = clock() - start
        weight_bytes = sum(n.weight_bytes for n in engine.graph.nodes)
        samples = [
            sample
            for batch in ((1, _LARGE_BATCH) if large else (1,))
            for sample in _samples(engine, model, made, batch, how.runs)
        ]
    return samples, (float(weight_bytes), loaded)


def _samples(engine: Engine, model: Model, made: Sequence[str], batch: int, runs: int) -> Iterator[Sample]:
    """The layers under test: their kernels, and the layout moves before and behind them."""
    kernels = {k: _steady_s(v) for k, v in kernel_times(engine, model.random_inputs(batch), runs).items()}
    graph = graph_of(model, batch)
    layers = layers_of(graph, fuses=True)
    of_node = {i: layer for layer in layers for i in layer.nodes}
    leads = {graph.nodes[of_node[graph.producer[t]].lead].name: t for t in made}
    seconds = dict.fromkeys(made, 0.0)
    for name, duration_s in _placed(engine, kernels, leads, made):
        seconds[name] += duration_s
    for tensor in made:
        yield Sample(of_node[graph.producer[tensor]].shape, seconds[tensor])


def _steady_s(seconds: Sequence[float]) -> float:
    """The mean of the faster half: as robust as is needed where passes are compared, and finer than the microsecond in
    which kernels are timed."""
    return float(np.sort(seconds)[: max(1, (len(seconds) + 1) // 2)].mean())


def _placed(
    engine: Engine, kernels: Mapping[str, float], leads: Mapping[str, str], made: Sequence[str]
) -> Iterator[tuple[str, float]]:
    """(tensor of the layer, seconds) of every kernel that belongs to a layer under test.

    A layout move does when it brings what the layer reads, or takes away what it makes; convolutions need none, so it
    is the layer that is to blame for it, wherever the move stands.
    """
    owner = owners(engine.core, engine.graph)
    by_prefix = {t.partition("_")[0]: t for t in made}
    inputs = set(engine.graph.inputs)
    ends = set(engine.graph.outputs)
    for node in engine.core.proto.graph.node:
        spent_s = kernels.get(node.name, 0.0)
        if node.op_type not in LAYOUT_OPS:
            if owner[node.name] in leads:
                yield leads[owner[node.name]], spent_s
            continue
        plain = node.input[0] if node.op_type == "ReorderInput" else node.output[0]
        if plain not in inputs and plain not in ends and plain.partition("_")[0] in by_prefix:
            yield by_prefix[plain.partition("_")[0]], spent_s


def _cut_costs(engine: Engine, runs: int, clock: Clock) -> Iterator[tuple[float, float]]:
    """(bytes over the cut, seconds that both halves take more than the whole)."""
    inputs = engine.model.random_inputs(1)
    inner = [c for c in engine.cuts if c.id not in (INPUT, OUTPUT)]
    chosen = inner[:: max(1, len(inner) // 4)]
    wholes: list[float] = []
    halves: dict[str, list[float]] = {c.id: [] for c in chosen}
    for turn in range(runs + 1):
        start = clock()
        engine.whole(inputs)
        spent = [clock() - start]
        for cut in chosen:
            start = clock()
            engine.tail(cut.id, engine.head(cut.id, inputs))
            spent.append(clock() - start)
        if turn:
            wholes.append(spent[0])
            for cut, seconds in zip(chosen, spent[1:], strict=True):
                halves[cut.id].append(seconds)
    whole_s = timing_of(wholes).low_s
    for cut in chosen:
        moved = sum(engine.graph.tensors[t].bytes for t in cut.crossing)
        yield float(moved), timing_of(halves[cut.id]).low_s - whole_s

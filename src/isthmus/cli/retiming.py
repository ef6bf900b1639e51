"""Timing the best few choices here, halves and codec for real, before a plan is answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from isthmus.cli.machines import Machines
from isthmus.codec import Array, codec_for
from isthmus.engine import Engine
from isthmus.graph import INPUT, OUTPUT, at_exit, cut_at, graph_of
from isthmus.link import Link
from isthmus.model import Model
from isthmus.plan import Candidate
from isthmus.plan.cost import asked_cut
from isthmus.profile import Profile, Times
from isthmus.profile.measure import time_call


def timer(
    machines: Machines, link: Link, batch: int, runs: int, *, exit: str | None = None, server_first: bool = False
) -> Callable[[Candidate], float]:
    """Measures a candidate's seconds on this machine: head, encode, decode and tail are run; the bytes they really make
    travel over the link by its own arithmetic. Where a profile comes from another machine, its part is scaled by the
    two machines' times for the whole model. `exit`: the candidates cut what this early exit needs, and no more is run.
    `server_first`: they are of that order."""
    engine = machines.engine if exit is None else machines.engine.at_exit(exit)
    inputs = engine.model.random_inputs(batch)
    here_s = time_call(lambda: engine.whole(inputs), 2 * runs, time.perf_counter).low_s
    device, server = (_whole_s(p, machines.model, batch, exit) / here_s for p in (machines.device, machines.server))

    def measure(candidate: Candidate) -> float:
        (cut_id,) = candidate.cuts
        if asked_cut(cut_id, "server" if server_first else "device") == OUTPUT:
            return device * here_s
        took = _back if server_first else _forth
        spent = took(engine, inputs, cut_id, candidate.codec, runs)
        way_s = link.up_s(spent.up_bytes) + link.down_s(spent.down_bytes) + link.fixed_s
        return device * spent.device_s + server * spent.server_s + way_s

    return measure


class _Spent(NamedTuple):
    """Seconds of either side's work as this machine does it, and what travels."""

    device_s: float
    server_s: float
    up_bytes: int
    down_bytes: int


class _Coded(NamedTuple):
    """Writing and reading some tensors."""

    write_s: float
    read_s: float
    bytes: int


def _forth(engine: Engine, inputs: Mapping[str, Array], cut_id: str, codec: str, runs: int) -> _Spent:
    """The device runs the head, the server the tail."""
    made = engine.head(cut_id, inputs)
    crossing = {t: made[t] for t in cut_at(engine.graph, cut_id).crossing}
    coded = _coded(crossing, codec, runs)
    answers = sum(v.nbytes for k, v in engine.tail(cut_id, made).items() if k not in made)
    head_s = _timed(lambda: engine.head(cut_id, inputs), runs)
    tail_s = _timed(lambda: engine.tail(cut_id, crossing), runs)
    return _Spent(head_s + coded.write_s, coded.read_s + tail_s, coded.bytes, answers)


def _back(engine: Engine, inputs: Mapping[str, Array], cut_id: str, codec: str, runs: int) -> _Spent:
    """The server runs the head on the inputs it needs, the device the tail."""
    graph, cut = engine.graph, cut_at(engine.graph, cut_id)
    made = {**inputs, **engine.head(cut_id, inputs)}
    answers = {t: made[t] for t in graph.outputs if t in made}
    up = _coded({t: inputs[t] for t in graph.inputs if not cut.head.isdisjoint(graph.consumers[t])}, codec, runs)
    down = _coded({t: made[t] for t in cut.crossing if t not in answers and t not in inputs}, codec, runs)
    head_s = _timed(lambda: engine.head(cut_id, inputs), runs)
    tail_s = _timed(lambda: engine.tail(cut_id, {t: made[t] for t in cut.crossing}), runs)
    back = down.bytes + sum(v.nbytes for v in answers.values())
    return _Spent(up.write_s + down.read_s + tail_s, up.read_s + head_s + down.write_s, up.bytes, back)


def _coded(tensors: Mapping[str, Array], codec: str, runs: int) -> _Coded:
    write_s = read_s = 0.0
    size = 0
    for value in tensors.values():
        made, dtype = codec_for(codec, value.dtype.name), value.dtype.name
        payload = memoryview(made.dump(value)).cast("B")
        write_s += _timed(lambda c=made, v=value: c.dump(v), runs)  # type: ignore[misc]
        read_s += _timed(lambda c=made, p=payload, v=value, d=dtype: c.load(p, v.shape, d), runs)  # type: ignore[misc]
        size += len(payload)
    return _Coded(write_s, read_s, size)


def _timed(call: Callable[[], object], runs: int) -> float:
    return time_call(call, runs, time.perf_counter).low_s


def _whole_s(profile: Profile, model: Model, batch: int, exit: str | None) -> float:
    graph = graph_of(model, batch)
    if exit is not None:
        graph = at_exit(graph, exit)
        profile = profile.at_exit(exit, {node.name for node in graph.nodes})
    return Times(profile, graph).part_s(cut_at(graph, INPUT), cut_at(graph, OUTPUT))

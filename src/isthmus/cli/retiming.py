"""Timing the best few choices here, halves and codec for real, before a plan is answered."""

from __future__ import annotations

import time
from collections.abc import Callable

from isthmus.cli.planning import Machines
from isthmus.codec import codec_for
from isthmus.graph import OUTPUT, cut_at
from isthmus.link import Link
from isthmus.plan import Candidate
from isthmus.profile import Profile, Times
from isthmus.profile.measure import time_call


def timer(machines: Machines, link: Link, batch: int, runs: int) -> Callable[[Candidate], float]:
    """Measures a candidate's seconds on this machine: head, encode, decode and tail are run; the bytes they really make
    travel over the link by its own arithmetic. Where a profile comes from another machine, its part is scaled by the
    two machines' times for the whole model."""
    engine = machines.engine
    inputs = engine.model.random_inputs(batch)
    here_s = time_call(lambda: engine.whole(inputs), 2 * runs, time.perf_counter).low_s
    device, server = (_whole_s(p, machines, batch) / here_s for p in (machines.device, machines.server))

    def measure(candidate: Candidate) -> float:
        (cut_id,) = candidate.cuts
        if cut_id == OUTPUT:
            return device * here_s
        crossing = cut_at(engine.graph, cut_id).crossing
        made = engine.head(cut_id, inputs)
        payloads = {}
        near_s = time_call(lambda: engine.head(cut_id, inputs), runs, time.perf_counter).low_s
        far_s = time_call(lambda: engine.tail(cut_id, {t: made[t] for t in crossing}), runs, time.perf_counter).low_s
        for name in crossing:
            value = made[name]
            codec = codec_for(candidate.codec, value.dtype.name)
            payloads[name] = memoryview(codec.dump(value)).cast("B")
            near_s += time_call(lambda c=codec, v=value: c.dump(v), runs, time.perf_counter).low_s  # type: ignore[misc]
            far_s += time_call(
                lambda c=codec, v=value, p=payloads[name]: c.load(p, v.shape, v.dtype.name),  # type: ignore[misc]
                runs,
                time.perf_counter,
            ).low_s
        up_s = link.up_s(sum(len(p) for p in payloads.values()))
        answers = sum(v.nbytes for k, v in engine.tail(cut_id, made).items() if k not in made)
        return device * near_s + up_s + server * far_s + link.down_s(answers) + link.fixed_s

    return measure


def _whole_s(profile: Profile, machines: Machines, batch: int) -> float:
    from isthmus.graph import graph_of

    graph = graph_of(machines.model, batch)
    return Times(profile, graph).part_s(cut_at(graph, "@input"), cut_at(graph, "@output"))

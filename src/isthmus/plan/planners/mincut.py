"""The cheapest of all cuts of a DAG, exactly, for any number of machines, as a minimum s–t cut.

DADS (Hu, Bao, Wang, Liu: "Dynamic Adaptive DNN Surgery for Inference Acceleration on the Edge", INFOCOM 2019) for light
load, with what it leaves open closed: the input is pinned to home (or uploading it would be free), what one node needs
never lies on a later machine, a tensor is paid once however many read it, k machines become k−1 nested layers, and the
arithmetic is whole nanoseconds. Limits and codecs that single out particular cuts are met by Lawler's branching (1972):
where the cheapest cut is not allowed, look for the cheapest among the others.

Exact for additive times (`Times.additive`): a part costs the sum of its nodes. Where heads and tails were measured, the
flow's answer is only a candidate; all are priced as measured, the narrow cuts with it, and the best is taken. Nor is it
exact under a promise (`Limits.sure`) that the cheapest cut breaks: of the others only the surely fastest is looked at.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from isthmus.errors import BadInput
from isthmus.graph import Cut, Graph, cut_at, cut_of
from isthmus.plan.build import candidates_for
from isthmus.plan.choose import choose
from isthmus.plan.cost import Option, allowed_codecs, priced
from isthmus.plan.layers import Layers, Pin
from isthmus.plan.limits import home_bytes
from isthmus.plan.planners import device_only, server_only
from isthmus.plan.types import Plan, Problem

MOST_TRIES = 64
"""Minimum cuts solved for one codec before giving up on finding one that is allowed."""


def mincut(problem: Problem) -> Plan:
    """The cheapest choice over all cuts and allowed codecs.

    Raises NoPlan where nothing keeps the limits. A memory limit can need more than MOST_TRIES cuts; the why says so.
    """
    # under a promise the cut that is cheapest when all is late is looked for too: where any is in time, that one is
    sides = (problem,) if problem.surely is problem else (problem, problem.surely)
    codecs = dict.fromkeys(problem.default_codecs)
    found = [(codec, *cheapest_allowed(side, codec)) for side in sides for codec in codecs]
    at_home = device_only.option(problem)
    cut = [at_home if cuts == at_home[0] else (cuts, codec) for codec, cuts, _ in found if cuts is not None]
    note = _note(problem, cut, proven=all(proven for *_, proven in found))
    options: list[Option] = [*cut, at_home, *server_only.options(problem), *listed(problem)]
    return choose(problem, "mincut", options, note)


def cheapest_allowed(problem: Problem, codec: str) -> tuple[tuple[Cut, ...] | None, bool]:
    """(cuts of least additive cost that allow this codec and fit home's memory, or None; whether that is proven)."""
    layers = Layers(problem, codec)
    waiting: list[tuple[int, int, tuple[Pin, ...], tuple[frozenset[int], ...]]] = []
    tries = 0

    def look(pins: tuple[Pin, ...]) -> None:
        nonlocal tries
        tries += 1
        answer = layers.cheapest(pins)
        if answer is not None:
            heapq.heappush(waiting, (answer[0], tries, pins, answer[1]))

    look(())
    while waiting:
        _, _, pins, heads = heapq.heappop(waiting)
        cuts = tuple(cut_of(problem.graph, head) for head in heads)
        if _allowed(problem, cuts, codec):
            return cuts, True
        if tries >= MOST_TRIES:
            return None, False
        for branch in _others(problem.graph, heads, pins):
            look(branch)
    return None, True


def _allowed(problem: Problem, cuts: tuple[Cut, ...], codec: str) -> bool:
    memory = problem.limits.home_memory_bytes
    if memory is not None and home_bytes(problem, cuts) > memory:
        return False
    return cuts == device_only.option(problem)[0] or codec in allowed_codecs(problem, cuts)


def _others(graph: Graph, heads: tuple[frozenset[int], ...], pins: tuple[Pin, ...]) -> Iterator[tuple[Pin, ...]]:
    """Pins whose union admits every choice of heads but this one: another closed set has one of the first nodes
    outside, or lacks one of the last nodes inside; each branch excludes those before it."""
    known = {(v, j) for v, j, _ in pins}
    more: list[Pin] = []
    for j, head in enumerate(heads):
        for v, node in enumerate(graph.nodes):
            if (v, j) in known:
                continue
            if v in head:
                edge = not any(c in head for t in node.outputs for c in graph.consumers[t])
            else:
                edge = all(graph.producer.get(t, -1) in head or t not in graph.producer for t in node.inputs)
            if edge:
                yield (*pins, *more, (v, j, v not in head))
                more.append((v, j, v in head))


def listed(problem: Problem) -> list[Option]:
    """Narrow cuts and cuts with codecs of their own, priced one by one."""
    try:
        found = candidates_for(problem)
    except BadInput:  # too many combinations: the minimum cut does without them
        found = []
    if len(problem.links) == 1:
        for name in problem.codecs:
            cuts = (cut_at(problem.graph, name),)
            found += [(cuts, codec) for codec in allowed_codecs(problem, cuts)]
    return found


def _note(problem: Problem, cut: list[Option], *, proven: bool) -> str:
    if not proven:
        return f"not proven best: no cut that fits was among the {MOST_TRIES} cheapest for every codec"
    if all(m.additive for m in problem.machines):
        if problem.surely is problem or _in_time(problem, cut):
            return "exact over all cuts"
        return (
            "not proven best: the cheapest cut breaks the promise, so the one that is surely fastest was looked at too"
        )
    names = ", ".join(f"{' | '.join(c.id for c in cuts)} as {codec}" for cuts, codec in cut)
    return f"measured times are not additive: the minimum cut on node times ({names}) was priced beside all narrow cuts"


def _in_time(problem: Problem, cut: list[Option]) -> bool:
    """Does the cheapest of these keep the deadline when all is late?"""
    within_s = problem.limits.latency_s
    best = min(cut, key=lambda option: priced(problem, *option).total_s, default=None)
    return best is not None and within_s is not None and priced(problem.surely, *best).total_s <= within_s

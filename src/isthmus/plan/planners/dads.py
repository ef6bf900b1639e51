"""DADS (Hu, Bao, Wang, Liu: "Dynamic Adaptive DNN Surgery for Inference Acceleration on the Edge", INFOCOM 2019).

Light load: the partition of least latency, a minimum cut (DSL). Heavy load, where inputs come faster than the slowest
of device, link and server can pass them on: the partition whose slowest stage is fastest (DSH). That is NP-hard; DSH
weighs the stages, device by α, link by 1, server by γ, solves a minimum cut for each weighting and narrows the search
around the best one. Coding is part of its machine's stage, the way of a byte of none. The paper proves a
3-approximation for its three stages; the way back is one of its own here, which makes it 4, where nothing is limited
(200 random problems: 1.6 at worst). With limits of memory or latency it is the best that was looked at, among it the
partition of least latency that fits. Its grid is linear; weights are ratios, so the steps here are factors: from 64
down to 1/64, then ever finer.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from isthmus.errors import BadInput, NoPlan
from isthmus.graph import cut_at, cut_of
from isthmus.plan.choose import Priced, plan_for, within_limits
from isthmus.plan.cost import Option, price
from isthmus.plan.layers import Layers
from isthmus.plan.planners import device_only, server_only
from isthmus.plan.planners.mincut import cheapest_allowed, listed, mincut
from isthmus.plan.types import Plan, Problem
from isthmus.units import show_seconds

_STEP, _REACH = 4.0, 3
"""The first grid: powers of 4 from the -3rd to the 3rd, for both weights."""
_FINEST = 1.1
"""The search ends with steps of this factor."""


def dads(problem: Problem) -> Plan:
    """Least latency where the slowest stage keeps up with `problem.arrivals_hz` (or nobody says how often inputs come),
    the highest throughput where it does not. Raises NoPlan where nothing keeps the limits."""
    light = mincut(problem).model_copy(update={"planner": "dads"})
    asked = problem.arrivals_hz
    if asked is None:
        return light
    stage_s = price(problem, [cut_at(problem.graph, cut) for cut in light.cuts], light.codec).stage_s
    batch = problem.graph.batch
    if stage_s < batch / asked:
        return light
    heavy = dads_heavy(problem)
    why = f"{heavy.why}; heavy load: {asked:g} inputs a second come, the partition of least latency passes "
    return heavy.model_copy(update={"planner": "dads", "why": f"{why}{batch / stage_s:.3g}"})


def dads_heavy(problem: Problem) -> Plan:
    """The partition of highest throughput. Raises BadInput for more than two machines, NoPlan where nothing keeps the
    limits of memory, privacy and latency."""
    if len(problem.machines) != 2:
        raise BadInput(f"dads_heavy weighs a device and a server, not {len(problem.machines)} machines; use mincut")
    within_s = problem.limits.latency_s
    fitting = within_limits(problem, _options(problem))
    kept = [p for p in fitting if within_s is None or p.judged_s <= within_s]
    if not kept:
        raise NoPlan("dads_heavy finds no partition that keeps the limits of memory, privacy and latency; use mincut")
    best = min(kept, key=lambda p: (p.cost.stage_s, p.cost.total_s))
    stage_s = best.cost.stage_s
    rate = f"{problem.graph.batch / stage_s:.3g} inputs a second" if stage_s else "any number of inputs"
    why = f"{best.name}: its slowest stage takes {show_seconds(stage_s)}, so {rate} pass; one takes "
    return plan_for(problem, "dads_heavy", best, fitting, f"{why}{show_seconds(best.cost.total_s)}")


def _options(problem: Problem) -> list[Option]:
    """Both ends, the narrow cuts, what every weighting on the way finds, and the cuts of least latency: those that a
    weighting finds may all be too large for a small memory."""
    found: list[Option] = [device_only.option(problem), *server_only.options(problem), *listed(problem)]
    for codec in dict.fromkeys(problem.default_codecs):
        found += _searched(problem, codec)
        quickest, _ = cheapest_allowed(problem, codec)
        found += [(quickest, codec)] if quickest is not None else []
    return found


def _searched(problem: Problem, codec: str) -> list[Option]:
    known: dict[tuple[float, float], Priced | None] = {}

    def at(alpha: float, gamma: float) -> float:
        key = (alpha, gamma)
        if key not in known:
            known[key] = _cheapest(problem, codec, alpha, gamma)
        option = known[key]
        return option.cost.stage_s if option is not None else float("inf")

    step, centre = _STEP, (1.0, 1.0)
    grid = [_STEP**k for k in range(-_REACH, _REACH + 1)]
    centre = min(product(grid, grid), key=lambda w: at(*w))
    while step > _FINEST:
        step = step**0.5
        near = (1 / step, 1.0, step)
        centre = min(((centre[0] * a, centre[1] * g) for a, g in product(near, near)), key=lambda w: at(*w))
    return [(p.cuts, p.codec) for p in known.values() if p is not None]


def _cheapest(problem: Problem, codec: str, alpha: float, gamma: float) -> Priced | None:
    """The minimum cut for device times × alpha and server times × gamma, at its true price; None where it breaks a
    limit."""
    weights = (alpha, gamma) if problem.home == 0 else (gamma, alpha)
    weighed = tuple(replace(m, factor=m.factor * w) for m, w in zip(problem.machines, weights, strict=True))
    busy = tuple(link.busy for link in problem.links)
    answer = Layers(replace(problem, machines=weighed, links=busy), codec).cheapest()
    if answer is None:
        return None
    return next(iter(within_limits(problem, [((cut_of(problem.graph, answer[1][0]),), codec)])), None)

"""The five methods that Edgent's papers compare, as one search with other exits and another partition inside.

Device only and edge only run the whole network on one side; partition only takes the best cut of the whole network;
right-sizing only takes an exit and runs it on the device; Edgent takes both. The whole network is the most accurate
exit, which is the last one unless it is worse than one before. Used by edgent_static.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import asdict, dataclass, replace
from typing import Any

from isthmus.errors import NoPlan
from isthmus.graph import Graph, cut_at
from isthmus.plan import PLANNERS, Limits, Plan, Problem
from isthmus.plan.planners.edgent import best_partitions, by_accuracy, right_size

Partition = Callable[[Problem], Plan]
METHODS = ("device only", "edge only", "partition only", "right-sizing only", "Edgent")
_INSIDE = {
    "device only": "device_only",
    "edge only": "server_only",
    "partition only": "neurosurgeon",
    "right-sizing only": "device_only",
    "Edgent": "neurosurgeon",
}
_ONE_EXIT = METHODS[:3]
IDLE_OPS = ("Flatten", "Reshape")
"""What an ONNX file writes between layers that the papers do not count."""


@dataclass(frozen=True)
class Row:
    """What one method does at one rate under one requirement; where nothing is in time, the fastest there is.
    `partition`: as the papers number it, the first layer behind the cut (one beyond the last: all before it).
    `seconds` are typical, `judged_s` what was held against the requirement."""

    method: str
    rate_bps: float
    within_s: float
    exit: str
    cut: str
    partition: int
    layers: int
    seconds: float
    judged_s: float
    meets: bool


def outcome(problem: Problem, method: str, rate_bps: float, within_s: float) -> Row:
    """One method at one rate (both ways) under one requirement, seconds."""
    link = replace(problem.links[0], up_bps=rate_bps, down_bps=rate_bps)
    limits = replace(problem.limits, latency_s=within_s)
    exits = problem.exits
    if method in _ONE_EXIT:
        exits = tuple(by_accuracy(exits)[:1])
    here = replace(problem, links=(link,), limits=limits, exits=exits)
    inside = PLANNERS[_INSIDE[method]]
    try:
        plan = right_size(here, inside, method)
        judged = plan.promise.sure_s if plan.promise else plan.cost.total_s
        return _row(here, method, plan.exit or "", plan, judged, meets=True)
    except NoPlan:
        place, plan = min(best_partitions(here.surely, inside), key=lambda found: found[1].cost.total_s)
        free = replace(here, limits=Limits(), ready=plan.cuts).at_exit(place.output)
        typical = PLANNERS["neurosurgeon"](replace(free, ready=plan.cuts))
        return _row(here, method, place.output, typical, plan.cost.total_s, meets=False)


def _row(problem: Problem, method: str, output: str, plan: Plan, judged_s: float, *, meets: bool) -> Row:
    graph = problem.at_exit(output).graph
    head = cut_at(graph, plan.cuts[0]).head
    return Row(
        method=method,
        rate_bps=problem.links[0].up_bps,
        within_s=problem.limits.latency_s or 0.0,
        exit=output,
        cut=plan.cuts[0],
        partition=layers_of(graph, head) + 1,
        layers=layers_of(graph, frozenset(range(len(graph.nodes)))),
        seconds=plan.cost.total_s,
        judged_s=judged_s,
        meets=meets,
    )


def layers_of(graph: Graph, nodes: Set[int]) -> int:
    """How many of these nodes the papers would call layers."""
    return sum(graph.nodes[i].op not in IDLE_OPS for i in nodes)


def against_rates(problem: Problem, rates_bps: Sequence[float], within_s: float) -> list[Row]:
    """Every method at every rate under one requirement."""
    return [outcome(problem, method, rate, within_s) for method in METHODS for rate in rates_bps]


def against_requirements(problem: Problem, rate_bps: float, within_s: Sequence[float]) -> list[Row]:
    """Every method under every requirement at one rate."""
    return [outcome(problem, method, rate_bps, seconds) for method in METHODS for seconds in within_s]


def as_dicts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(row) for row in rows]

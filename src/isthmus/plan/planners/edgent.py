"""Edgent, static (Li et al., 2018, Algorithm 1; IEEE TWC 2020, §III-C): the most accurate exit that is in time.

For every exit, from the most to the least accurate: the best partition of the layers that exit needs; the first that
meets the latency requirement is the plan. Right-sizing gives up accuracy only where no partition is fast enough.

Nothing here has a direction: Edgent's own order, the server first and the device last, is a problem with
`machines=(server, device), home=1`; device first is `home=0`. The inner search is any planner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from isthmus.errors import NoPlan
from isthmus.plan.choose import name_of
from isthmus.plan.planners.mincut import mincut
from isthmus.plan.planners.neurosurgeon import neurosurgeon
from isthmus.plan.types import Exit, ExitPlan, Plan, Problem
from isthmus.units import show_seconds

Partition = Callable[[Problem], Plan]


def edgent(problem: Problem) -> Plan:
    """Exits × the places where one tensor crosses, as published (a scan of the chain).

    Without a latency requirement the most accurate exit always wins. A problem without exits is partitioned as a whole.
    Raises NoPlan with the nearest miss when no exit is in time.
    """
    return right_size(problem, neurosurgeon, "edgent")


def edgent_mincut(problem: Problem) -> Plan:
    """The same with the exact minimum cut as the inner search: several tensors may cross. Raises NoPlan."""
    return right_size(problem, mincut, "edgent_mincut")


def right_size(problem: Problem, partition: Partition, planner: str) -> Plan:
    """Algorithm 1 with any inner search. The plan's `exits` hold the best partition of every exit that was looked at,
    from the most accurate on; its candidates are those of its own exit. Raises NoPlan."""
    within_s = problem.limits.latency_s
    looked_at: list[ExitPlan] = []
    for place, best in best_partitions(problem, partition):
        looked_at.append(_row(place, best))
        if within_s is None or best.cost.total_s <= within_s:
            why = f"{_reason(looked_at, within_s)}{best.why}"
            return best.model_copy(
                update={"planner": planner, "exit": place.output or None, "exits": tuple(looked_at), "why": why}
            )
    nearest = min(looked_at, key=lambda row: row.total_s)
    named = name_of(nearest.cuts, nearest.codec, sends=nearest.sends)
    raise NoPlan(
        f"{planner} finds no exit within {show_seconds(within_s or 0.0)}: {_called(nearest)}, {named}, comes nearest "
        f"at {show_seconds(nearest.total_s)}; raise the deadline, train an earlier exit or get a faster link"
    )


def best_partitions(problem: Problem, partition: Partition) -> Iterator[tuple[Exit, Plan]]:
    """(exit, its fastest partition), from the most accurate exit to the least, one at a time. Exits that break another
    limit everywhere (memory, privacy) are left out; where all do, the first's NoPlan is raised.

    A problem without exits is one exit without a name. Unknown accuracies: the later exit counts as the more accurate.
    """
    free = replace(problem, limits=replace(problem.limits, latency_s=None))
    refused: NoPlan | None = None
    found = False
    for place in by_accuracy(problem.exits) or [Exit("")]:
        at = free.at_exit(place.output) if place.output else free
        try:
            best = partition(at)
        except NoPlan as error:
            refused = refused or error
            continue
        found = True
        yield place, best
    if refused is not None and not found:
        raise refused


def by_accuracy(exits: tuple[Exit, ...]) -> list[Exit]:
    """From the most accurate to the least; of equals, and where an accuracy is unknown, the later first."""
    later_first = list(reversed(exits))
    if any(e.accuracy is None for e in exits):
        return later_first
    return sorted(later_first, key=lambda e: -(e.accuracy or 0.0))


def _row(place: Exit, plan: Plan) -> ExitPlan:
    return ExitPlan(
        output=place.output,
        accuracy=place.accuracy,
        cuts=plan.cuts,
        codec=plan.codec,
        total_s=plan.cost.total_s,
        sends=sum(plan.cost.up_bytes) > 0,
    )


def _reason(looked_at: list[ExitPlan], within_s: float | None) -> str:
    """Why this exit: what it is, and what was passed over."""
    row = looked_at[-1]
    if not row.output:
        return ""
    if len(looked_at) == 1:
        return f"{_called(row)}, the most accurate; "
    before = looked_at[-2]
    return (
        f"{_called(row)}: {_called(before)} takes {show_seconds(before.total_s)} at best, "
        f"{show_seconds(within_s or 0.0)} are allowed; "
    )


def _called(row: ExitPlan) -> str:
    if not row.output:
        return "the whole network"
    return f"exit {row.output}" if row.accuracy is None else f"exit {row.output} ({row.accuracy:.1%})"

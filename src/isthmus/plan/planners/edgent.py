"""Edgent, static (Li et al., 2018, Algorithm 1; IEEE TWC 2020, §III-C): the most accurate exit that is in time.

For every exit, from the most to the least accurate: the best partition of the layers that exit needs; the first that
meets the latency requirement is the plan. Right-sizing gives up accuracy only where no partition is fast enough.

The papers hold predicted seconds against the requirement, and half of all requests are later than predicted. Here what
`Limits.sure` of them keep is held against it; with `sure=None` it is Algorithm 1 as printed.

Nothing here has a direction: Edgent's own order, the server first and the device last, is a problem with
`machines=(server, device), home=1`; device first is `home=0`. The inner search is any planner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from isthmus.errors import BadInput, NoPlan
from isthmus.graph import cut_at
from isthmus.link.types import Link
from isthmus.plan.choose import judged_text, name_of
from isthmus.plan.cost import price
from isthmus.plan.map_types import ConfigRow
from isthmus.plan.planners.mincut import mincut
from isthmus.plan.planners.neurosurgeon import neurosurgeon
from isthmus.plan.strategies import Strategies
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
    for place, fastest in best_partitions(problem.surely, partition):
        at = problem.at_exit(place.output) if place.output else problem
        looked_at.append(_row(at, place, fastest))
        if within_s is None or fastest.cost.total_s <= within_s:
            best = partition(at)
            looked_at[-1] = _row(at, place, best)
            why = f"{_reason(problem, looked_at)}{best.why}{_idle(problem.exits)}"
            return best.model_copy(
                update={"planner": planner, "exit": place.output or None, "exits": tuple(looked_at), "why": why}
            )
    nearest = min(looked_at, key=lambda row: row.judged_s)
    named = name_of(nearest.cuts, nearest.codec, sends=nearest.sends)
    raise NoPlan(
        f"{planner} finds no exit within {show_seconds(within_s or 0.0)}: {_called(nearest)}, {named}, comes nearest "
        f"at {judged_text(problem, nearest.judged_s, nearest.total_s)}; raise the deadline, train an earlier exit or "
        "get a faster link"
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


def in_time(found: Sequence[Strategies], link: Link, within_s: float | None) -> ConfigRow:
    """Algorithm 1 over tables made ahead (`strategies`): what `edgent` answers on this link, in some 100 µs instead of
    many milliseconds. Where nothing is surely in time, the strategy that comes nearest to it."""
    by_output = {each.exit.output: each for each in found}
    nearest: tuple[float, Strategies, int] | None = None
    for place in by_accuracy(tuple(each.exit for each in found)):
        each = by_output[place.output]
        typical, surely = each.typical_s(link), each.surely_s(link)
        meets = np.flatnonzero(surely <= (np.inf if within_s is None else within_s))
        if meets.size:
            return each.row(int(meets[np.argmin(typical[meets])]), link, within_s)
        least = int(np.argmin(surely))
        if nearest is None or surely[least] < nearest[0]:
            nearest = float(surely[least]), each, least
    if nearest is None:
        raise BadInput("an exit is chosen among strategies, and there are none")
    _, each, least = nearest
    return each.row(least, link, within_s)


def by_accuracy(exits: tuple[Exit, ...]) -> list[Exit]:
    """From the most accurate to the least; of equals, and where an accuracy is unknown, the later first."""
    later_first = list(reversed(exits))
    if any(e.accuracy is None for e in exits):
        return later_first
    return sorted(later_first, key=lambda e: -(e.accuracy or 0.0))


def _row(at: Problem, place: Exit, plan: Plan) -> ExitPlan:
    cuts = [cut_at(at.graph, name) for name in plan.cuts]
    cost = price(at, cuts, plan.codec)
    return ExitPlan(
        output=place.output,
        accuracy=place.accuracy,
        cuts=plan.cuts,
        codec=plan.codec,
        total_s=cost.total_s,
        sends=sum(cost.up_bytes) > 0,
        sure_s=None if at.surely is at else price(at.surely, cuts, plan.codec).total_s,
    )


def _reason(problem: Problem, looked_at: list[ExitPlan]) -> str:
    """Why this exit: what it is, and what was passed over."""
    row = looked_at[-1]
    if not row.output:
        return ""
    if len(looked_at) == 1:
        return f"{_called(row)}, the most accurate; "
    before = looked_at[-2]
    return (
        f"{_called(row)}: {_called(before)} takes {judged_text(problem, before.judged_s, before.total_s)} at best, "
        f"{show_seconds(problem.limits.latency_s or 0.0)} are allowed; "
    )


def _idle(exits: tuple[Exit, ...]) -> str:
    """Which exits are no better than one before them, and so are never chosen where that one is as fast."""
    found = [
        exits[k].output
        for k in range(1, len(exits))
        if any((before.accuracy or 0.0) >= (exits[k].accuracy or 0.0) for before in exits[:k])
    ]
    if not found or any(e.accuracy is None for e in exits):
        return ""
    return f"; no more accurate than an exit before: {', '.join(found)}"


def _called(row: ExitPlan) -> str:
    if not row.output:
        return "the whole network"
    return f"exit {row.output}" if row.accuracy is None else f"exit {row.output} ({row.accuracy:.1%})"

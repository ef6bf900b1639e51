"""Which closed set of things costs least: the one exact optimisation problem behind every minimum cut in isthmus.

There are items in running order; each needs earlier items, so whoever takes an item takes what it needs (a *closed*
set). Item i in the set costs `weights[i]` (which may be negative). A parcel (maker, readers, price) costs its price
when its maker is in the set and at least one reader is not; the maker START is always in. All numbers are whole
(nanoseconds), so nothing is lost to rounding on the way.

That is a minimum s–t cut: "needs" are infinite edges against the flow (which forbids server → device → server), a
parcel with several readers gets an auxiliary vertex (so that it is paid once). `cheapest` looks only at those stretches
between narrow places that can hold the optimum (`gates.py`), shrinks them (`shrink.py`; residual and densely connected
blocks dissolve there) and cuts what is left (`maxflow.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.plan.gates import Parcels, Stretches
from isthmus.plan.maxflow import Flow
from isthmus.plan.shrink import Shrunk, shrink

START = -1
"""The maker of parcels that are there from the beginning."""


@dataclass(frozen=True)
class Closure:
    """`needs[i]`: items before i that i needs; `parcels`: (maker or START, readers, price ≥ 0); prices and weights in
    whole units."""

    weights: Sequence[int]
    needs: Sequence[Sequence[int]]
    parcels: Sequence[tuple[int, Sequence[int], int]]

    def value(self, chosen: frozenset[int]) -> int:
        """What a closed set costs."""
        total = sum(self.weights[i] for i in chosen)
        for maker, readers, paid in self.parcels:
            if (maker == START or maker in chosen) and any(r not in chosen for r in readers):
                total += paid
        return total

    def cheapest(self) -> frozenset[int]:
        """A closed set of least cost, exactly; the same one every time."""
        stretches = Stretches(self.weights, self.needs, self.parcels)
        best, items = stretches.best_prefix()
        chosen = frozenset(range(items))
        for stretch in sorted(stretches.all, key=lambda s: s.bound):
            if stretch.bound >= best:
                break
            weights, needs, parcels = stretches.local(stretch)
            inside = _cheaper_than(best - stretch.floor, weights, needs, parcels)
            value = stretch.floor + Closure(weights, needs, parcels).value(inside)
            if value < best:
                first = stretch.gate + 1
                best, chosen = value, frozenset([*range(first), *(i + first for i in inside)])
        return chosen


def _cheaper_than(
    limit: int, weights: Sequence[int], needs: Sequence[Sequence[int]], parcels: Parcels
) -> frozenset[int]:
    """The cheapest closed set of one stretch where that costs less than the limit; else any closed set."""
    left = shrink(weights, needs, parcels)
    inside = set(left.members[left.start])
    for group in _inside(left, limit):
        inside.update(left.members[group])
    return frozenset(inside)


def _inside(left: Shrunk, limit: int) -> list[int]:
    """Groups on the start's side of a minimum cut of what shrinking has left over; none where a cut below the limit
    does not exist."""
    groups = left.groups()
    if not groups:
        return []
    ends: dict[int, int] = {left.start: 0}
    auxiliary: dict[int, int] = {}
    for group in (left.start, *groups):
        ends.setdefault(group, len(ends) + len(auxiliary))
        for parcel in left.made[group]:
            if len(left.readers[parcel]) > 1:
                auxiliary[parcel] = len(ends) + len(auxiliary)
    flow = Flow(len(ends) + len(auxiliary) + 1)
    endless = 1 + sum(abs(w) for w in left.weights) + sum(left.prices)
    for group in (left.start, *groups):
        _add_group(left, group, flow, ends, auxiliary, endless)
    sure = left.weights[left.start] + sum(min(0, left.weights[g]) for g in groups)
    side = flow.source_side(limit - sure)
    return [g for g in groups if side[ends[g]]]


def _add_group(
    left: Shrunk, group: int, flow: Flow, ends: dict[int, int], auxiliary: dict[int, int], endless: int
) -> None:
    me, weight = ends[group], left.weights[group]
    if group != left.start and weight:
        flow.add(*((me, flow.sink, weight) if weight > 0 else (0, me, -weight)))
    single: dict[int, int] = {}
    for parcel in left.made[group]:
        readers = left.readers[parcel]
        if len(readers) == 1:
            (reader,) = readers
            single[reader] = single.get(reader, 0) + left.prices[parcel]
        else:
            middle = auxiliary[parcel]
            flow.add(me, middle, left.prices[parcel])
            for reader in sorted(readers):
                flow.add(middle, ends[reader], endless)
    for reader, paid in single.items():
        flow.add(me, ends[reader], paid, endless if reader in left.after[group] else 0)
    if group != left.start:
        for follower in sorted(left.after[group] - single.keys() - {left.end}):
            flow.add(me, ends[follower], 0, endless)

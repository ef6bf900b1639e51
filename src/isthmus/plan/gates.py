"""Cutting a closed-set problem into independent stretches at its gates, and bounding each so that few need solving.

A gate is an item that every earlier item leads to and every later item needs: a narrow place. A closed set holds a gate
with everything before it, or neither it nor anything behind it; so it lies in the stretch between two neighbouring
gates, and stretches can be solved one by one (QDMP: Zhang et al., IMWUT 4(2), 2020; there on cut vertices, here parcels
may jump over any number of gates). A stretch whose lower bound reaches the best value known is never solved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

Parcels = Sequence[tuple[int, Sequence[int], int]]


@dataclass(frozen=True)
class Stretch:
    """Closed sets that hold all up to `gate` (−1: none of it) and nothing from `stop` on. `floor`: what the part up to
    the gate costs, with the parcels that are paid whatever happens inside; `bound`: no set of this stretch costs less.
    """

    number: int
    gate: int
    stop: int
    floor: int
    bound: int


class Stretches:
    """All stretches of a problem; arguments as in `Closure`."""

    def __init__(self, weights: Sequence[int], needs: Sequence[Sequence[int]], parcels: Parcels) -> None:
        self.weights, self.needs = weights, needs
        self.count = len(weights)
        self.parcels = [(maker, readers, max(readers), price) for maker, readers, price in parcels if readers and price]
        self._ends = [-1, *_gates(weights, needs), self.count]
        self._upto = [0, *accumulate(weights)]
        self._stretch_of = _stretch_of(self._ends, self.count)
        self._inside: list[list[int]] = [[] for _ in self._ends[1:]]
        for k, (maker, _, last, _) in enumerate(self.parcels):
            homes = {self._stretch_of[i] for i in (maker, last) if i >= 0} - {-1}
            for s in homes:
                self._inside[s].append(k)
        self.all = self._bounded()

    def local(self, stretch: Stretch) -> tuple[list[int], list[list[int]], list[tuple[int, list[int], int]]]:
        """(weights, needs, parcels) of the items strictly inside, numbered from 0. What was made up to the gate is
        there from the start (maker −1); what is read from `stop` on is paid by whoever takes its maker."""
        first = stretch.gate + 1
        weights = list(self.weights[first : stretch.stop])
        needs = [[p - first for p in self.needs[i] if p >= first] for i in range(first, stretch.stop)]
        parcels = []
        for k in self._inside[stretch.number]:
            maker, readers, last, price = self.parcels[k]
            if last < stretch.stop:
                parcels.append((max(-1, maker - first), [r - first for r in readers if r >= first], price))
            elif maker >= first:
                weights[maker - first] += price
        return weights, needs, parcels

    def best_prefix(self) -> tuple[int, int]:
        """(value, items) of the cheapest of the sets that hold exactly all up to some gate, or nothing."""
        paid = self._summed(last_too=True)
        values = [(self._upto[gate + 1] + paid[s], gate + 1) for s, gate in enumerate(self._ends[:-1])]
        return min(values)

    def _bounded(self) -> list[Stretch]:
        gains = [0, *accumulate(min(0, w) for w in self.weights)]
        jumping = self._summed(last_too=False)
        found = []
        for s, (gate, stop) in enumerate(pairwise(self._ends)):
            floor = self._upto[gate + 1] + jumping[s]
            bound = floor + gains[stop] - gains[gate + 1]
            if stop < self.count and stop > gate + 1:
                bound += self._bottleneck(s, gate, stop)
            found.append(Stretch(s, gate, stop, floor, bound))
        return found

    def _summed(self, *, last_too: bool) -> list[int]:
        """For each stretch the price of parcels made up to its gate and read behind it: from its stop on, or
        (`last_too`) inside it as well."""
        position = {gate: s for s, gate in enumerate(self._ends)}
        change = [0] * (len(self._ends) + 1)
        for maker, _, last, price in self.parcels:
            begins = position[maker] if maker in position else self._stretch_of[maker] + 1
            ceases = position[last] if last in position else self._stretch_of[last] + last_too
            if begins < ceases:
                change[begins] += price
                change[ceases] -= price
        return list(accumulate(change))

    def _bottleneck(self, s: int, gate: int, stop: int) -> int:
        """Between a gate that is in and a stop that is out some parcel is paid on every way: the way whose cheapest
        parcel is dearest gives a bound."""
        widest = {gate: 1 << 200}
        edges: dict[int, dict[int, int]] = {}
        for k in self._inside[s]:
            maker, readers, last, price = self.parcels[k]
            if maker >= gate and not (maker == gate and last >= stop):
                for r in readers:
                    if r <= stop:
                        into = edges.setdefault(r, {})
                        into[maker] = into.get(maker, 0) + price
        for i in range(gate + 1, stop + 1):
            widest[i] = max((min(widest[p], price) for p, price in edges.get(i, {}).items()), default=0)
        return widest[stop]


def _gates(weights: Sequence[int], needs: Sequence[Sequence[int]]) -> list[int]:
    """Items that all earlier ones lead to and that all later ones need, in order.

    All earlier ones lead to g if each has a follower up to g; all later ones need g if each needs something from g on.
    """
    count = len(weights)
    follower = [count] * count
    for i, wanted in enumerate(needs):
        for p in wanted:
            if i < follower[p]:
                follower[p] = i
    closes = [-1, *accumulate(follower, max)]
    opens = list(accumulate(([max(wanted, default=-1) for wanted in needs] + [count])[::-1], min))[::-1]
    return [g for g in range(count) if closes[g] <= g <= opens[g + 1]]


def _stretch_of(ends: list[int], count: int) -> list[int]:
    """For each item the stretch that it lies strictly inside, −1 for gates."""
    found = [-1] * count
    for s, (gate, stop) in enumerate(pairwise(ends)):
        for i in range(gate + 1, stop):
            found[i] = s
    return found

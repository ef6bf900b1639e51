"""Which closed set of things costs least: the one exact optimisation problem behind every minimum cut in isthmus.

There are items in running order; each needs earlier items, so whoever takes an item takes what it needs (a *closed*
set). Item i in the set costs `weights[i]` (which may be negative). A parcel (maker, readers, price) costs its price
when its maker is in the set and at least one reader is not; the maker START is always in. All numbers are whole
(nanoseconds), so nothing is lost to rounding on the way.

That is a minimum s–t cut (`maxflow.py`). A parcel with several readers gets a vertex of its own, so that it is paid
once. The flow runs from what costs time in the set (positive weights) backwards to START: nearly every item has such a
weight, and a way back to START is easily found. From START forwards the flow would have to be dealt out among all of
them, which takes several times as long on random layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.plan.maxflow import Flow

START = -1
"""The maker of parcels that are there from the beginning."""

Parcel = tuple[int, Sequence[int], int]
"""(maker or START, readers, price ≥ 0)"""


@dataclass(frozen=True)
class Closure:
    """`needs[i]`: items before i that i needs; prices and weights in whole units."""

    weights: Sequence[int]
    needs: Sequence[Sequence[int]]
    parcels: Sequence[Parcel]

    def value(self, chosen: frozenset[int]) -> int:
        """What a closed set costs."""
        total = sum(self.weights[i] for i in chosen)
        for maker, readers, paid in self.parcels:
            if (maker == START or maker in chosen) and any(r not in chosen for r in readers):
                total += paid
        return total

    def cheapest(self) -> frozenset[int]:
        """A closed set of least cost, exactly: of all such sets the smallest."""
        side = self._network().sink_side()
        return frozenset(i for i in range(len(self.weights)) if side[i + 1])

    def _network(self) -> Flow:
        """Vertex 0 is START and the sink, vertex i + 1 is item i, the last ones are parcels with several readers. An
        edge from a to b is cut, and its capacity paid, where b is in the set and a is not."""
        needs, parcels = self._reduced()
        endless = 1 + sum(map(abs, self.weights)) + sum([price for _, _, price in parcels])
        several = sum(len(readers) > 1 for _, readers, _ in parcels)
        own = 1 + len(self.weights)
        flow = Flow([0, *[weight if weight > 0 else 0 for weight in self.weights], *[0] * several])
        tails = [i for i, weight in enumerate(self.weights, 1) if weight < 0]
        heads, rooms, backs = [0] * len(tails), [-weight for weight in self.weights if weight < 0], [0] * len(tails)
        for maker, readers, price in parcels:
            if len(readers) > 1:
                tails.append(own)
                tails += [r + 1 for r in readers]
                heads.append(maker + 1)
                heads += [own] * len(readers)
                rooms.append(price)
                rooms += [endless] * len(readers)
                backs += [0] * (1 + len(readers))
                own += 1
            else:
                (r,) = readers
                needed = maker in needs[r]
                tails.append(r + 1)
                heads.append(maker + 1)
                rooms.append(price)
                backs.append(endless if needed else 0)
                if needed:
                    needs[r].remove(maker)
        bare = len(tails)
        for i, wanted in enumerate(needs, 1):
            tails += [p + 1 for p in wanted]
            heads += [i] * len(wanted)
        rooms += [endless] * (len(tails) - bare)
        backs += [0] * (len(tails) - bare)
        flow.add(tails, heads, rooms, backs)
        return flow

    def _reduced(self) -> tuple[list[list[int]], list[Parcel]]:
        """Needs that no other need implies, and of every parcel the readers that no other reader needs (where the last
        reader is in, all are): in a densely connected block nearly nothing is left."""
        earlier: list[int] = []  # for every item a bit set of all it needs, directly or not
        upto: list[int] = []  # the same, and the item itself
        needs = []
        bit = 1
        for wanted in self.needs:
            direct = _last(wanted, earlier) if len(wanted) > 1 else [*wanted]
            needs.append(direct)
            every = 0
            for p in direct:
                every |= upto[p]
            earlier.append(every)
            upto.append(every | bit)
            bit <<= 1
        parcels: list[Parcel] = [
            (maker, _last(readers, earlier) if len(readers) > 1 else readers, price)
            for maker, readers, price in self.parcels
            if readers and price
        ]
        return needs, parcels


def _last(items: Sequence[int], earlier: Sequence[int]) -> list[int]:
    """Of two items or more those that no other of them needs; each once."""
    if len(items) == 2:  # nearly all others
        first, last = sorted(items)
        return [last] if first == last or earlier[last] >> first & 1 else [*items]
    implied = 0
    for i in items:
        implied |= earlier[i]
    return [i for i in dict.fromkeys(items) if not implied >> i & 1]

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
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from isthmus.plan.maxflow import Flow

START = -1
"""The maker of parcels that are there from the beginning."""

Parcel = tuple[int, Sequence[int], int]
"""(maker or START, readers, price ≥ 0)"""

_Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Two of equal length."""


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
        weights, parcels = self.weights, [parcel for parcel in self.parcels if parcel[1] and parcel[2]]
        count, prices = len(weights), [price for _, _, price in parcels]
        endless = 1 + sum(map(abs, weights)) + sum(prices)
        (item, need), (parcel, reader) = self._direct([readers for _, readers, _ in parcels])
        maker = np.array([made for made, _, _ in parcels], np.int64)
        several = np.bincount(parcel) > 1
        shared = several[parcel]
        payer = count + np.cumsum(several)
        payer[parcel[~shared]] = reader[~shared] + 1  # a parcel with one reader is paid by that
        # Where that reader needs the maker, the need is the way back of the edge that pays, and no edge of its own. (No
        # item needs START, or one that is not before it; what is paid by a vertex of its own lies above all needs.)
        needs, paid = item * count + need, (payer - 1) * count + maker
        both, alone = np.isin(paid, needs), ~np.isin(needs, paid)
        flow = Flow([0, *[weight if weight > 0 else 0 for weight in weights], *[0] * int(several.sum())])
        debts = [i for i, weight in enumerate(weights) if weight < 0]
        flow.add([i + 1 for i in debts], [0] * len(debts), [-weights[i] for i in debts])
        flow.add((reader[shared] + 1).tolist(), payer[parcel[shared]].tolist(), [endless] * int(shared.sum()))
        flow.add(payer.tolist(), (maker + 1).tolist(), prices, [endless if needed else 0 for needed in both.tolist()])
        flow.add((need[alone] + 1).tolist(), (item[alone] + 1).tolist(), [endless] * int(alone.sum()))
        return flow

    def _direct(self, readers: Sequence[Sequence[int]]) -> tuple[_Pairs, _Pairs]:
        """(item, what it needs) and (place among the `readers` of parcels, reader), without most that follows from
        others: needs of what else is needed, readers that another reader needs. In a densely connected block nearly
        nothing is left."""
        upto: list[int] = []  # for every item a bit set of all it needs, directly or not, and itself
        bit = 1
        for wanted in self.needs:
            every = bit
            for p in wanted:
                every |= upto[p]
            upto.append(every)
            bit <<= 1
        size = len(upto) // 8 + 1
        known = np.frombuffer(b"".join(every.to_bytes(size, "little") for every in upto), np.uint8).reshape(-1, size)
        return _last(_pairs(self.needs), known), _last(_pairs(readers), known)


def _pairs(lists: Sequence[Sequence[int]]) -> _Pairs:
    """(place of a list, what is in it), list by list."""
    sizes = np.fromiter(map(len, lists), np.int64, len(lists))
    return np.repeat(np.arange(len(lists)), sizes), np.fromiter(chain.from_iterable(lists), np.int64, sizes.sum())


def _last(pairs: _Pairs, upto: NDArray[np.uint8]) -> _Pairs:
    """Without what the last thing of the same place needs; `upto`: what each item needs, and itself, eight bits a
    byte."""
    place, what = pairs
    latest = np.zeros(place[-1] + 1 if len(place) else 0, np.int64)
    np.maximum.at(latest, place, what)
    last = latest[place]
    kept = (what == last) | (upto[last, what >> 3] >> (what & 7) & 1 == 0)
    return place[kept], what[kept]

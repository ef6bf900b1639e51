"""A planning problem with additive times as one closed-set problem: a layer of items for every link.

Item (node, link j) is in the set when the node runs before link j. Layers are nested ((node, j) needs (node, j+1)) and
closed under predecessors. Time is then linear: a node on machine k is in layer k and not in layer k−1, and as the
layers are nested its seconds are `t_k` for being in layer k less `t_k` for being in layer k−1. What travels becomes
parcels, and what is paid once a link (half round trips, `fixed_s`) a gate: an item before or after a layer's nodes.
Light-load DADS (Hu et al., INFOCOM 2019) is the case of one link, with the input vertex pinned to home.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import sub
from typing import Any

import numpy as np

from isthmus.codec import RAW
from isthmus.graph import INPUT
from isthmus.plan.closure import START, Closure, Parcel
from isthmus.plan.cost import codec_s, parcel_of
from isthmus.plan.limits import must_stay
from isthmus.plan.types import Problem

Pin = tuple[int, int, bool]
"""(node, link, inside): the node must (or must not) run before the link."""

FORBIDDEN = 10**30
"""Nanoseconds that no plan takes: the price of what must not happen."""


class Layers:
    """The items, needs and parcels of a problem under one codec; built once, solved for any pins."""

    def __init__(self, problem: Problem, codec: str) -> None:
        self.problem, self.codec = problem, codec
        self.nodes = len(problem.graph.nodes)
        self._weights: list[int] = []
        self._needs: list[list[int]] = []
        self._parcels: list[Parcel] = []
        self._first = [0] * len(problem.links)
        graph = problem.graph
        self._made = [(v, name) for v, node in enumerate(graph.nodes) for name in node.outputs]
        self._before: list[list[int]] = [[] for _ in graph.nodes]
        for v, name in self._made:
            for reader in graph.consumers[name]:
                self._before[reader].append(v)
        self._node_ns = [_all_ns(m.nodes_s()) for m in problem.machines]
        for j in range(len(problem.links) - 1, -1, -1):
            if problem.home <= j:
                self._add_layer_after_home(j)
            else:
                self._add_layer_before_home(j)
        self._pins = tuple(self._standing_pins())

    @property
    def closure(self) -> Closure:
        """The problem without any pins."""
        return Closure(self._weights, self._needs, self._parcels)

    def cheapest(self, pins: Iterable[Pin] = ()) -> tuple[int, tuple[frozenset[int], ...]] | None:
        """(nanoseconds against running all on the last machine, heads one a link) of the cheapest choice that obeys
        the pins; None where none does."""
        weights, every = list(self._weights), (*self._pins, *pins)
        for node, j, inside in every:
            weights[self._first[j] + node] += -FORBIDDEN if inside else FORBIDDEN
        chosen = Closure(weights, self._needs, self._parcels).cheapest()
        value = self.closure.value(chosen)
        if value > FORBIDDEN // 2 or any((self._first[j] + v in chosen) is not inside for v, j, inside in every):
            return None
        return value, tuple(frozenset(v for v in range(self.nodes) if first + v in chosen) for first in self._first)

    def _add_layer_after_home(self, j: int) -> None:
        """Home lies before the link: tensors and inputs go up, answers made behind it come down."""
        graph, link = self.problem.graph, self.problem.links[j]
        self._add_nodes(j)
        first = self._first[j]
        carried = [*((START, name) for name in graph.inputs), *((first + v, name) for v, name in self._made)]
        prices = self._prices(j, [name for _, name in carried], up=True)
        self._parcels += [
            (maker, [first + c for c in readers] if first else readers, price)
            for (maker, name), price in zip(carried, prices, strict=True)
            if (readers := graph.consumers[name])
        ]
        answers = [name for name in dict.fromkeys(graph.outputs) if name in graph.producer]
        makers = [graph.producer[name] for name in answers]
        for v, price in zip(makers, self._prices(j, answers, up=False), strict=True):
            self._weights[first + v] -= price
        read = {v for v, name in self._made if graph.consumers[name]}
        last = [v for v in range(self.nodes) if v not in read]
        self._add_item(-_ns(link.up_s(0) + link.fixed_s), [first + v for v in last])
        self._add_item(-_ns(link.down_s(0)), [first + v for v in makers])

    def _add_layer_before_home(self, j: int) -> None:
        """Home lies behind the link: inputs go up (backwards), tensors and answers made before it come down."""
        graph, link = self.problem.graph, self.problem.links[j]
        gate = self._add_item(_ns(link.up_s(0) + link.fixed_s + link.down_s(0)), [])
        sent = self._prices(j, graph.inputs, up=True)
        uploads = {name: self._add_item(price, []) for name, price in zip(graph.inputs, sent, strict=True)}
        extra = [[uploads[t] for t in dict.fromkeys(node.inputs) if t in uploads] for node in graph.nodes]
        self._add_nodes(
            j, [[*more, gate] if not before else more for more, before in zip(extra, self._before, strict=True)]
        )
        prices = self._prices(j, [name for _, name in self._made], up=False)
        for (v, name), price in zip(self._made, prices, strict=True):
            if name in graph.outputs:
                self._weights[self._first[j] + v] += price
            else:
                self._add_parcel(j, self._first[j] + v, name, price)

    def _add_nodes(self, j: int, extra: Sequence[list[int]] = ()) -> None:
        """Item (v, link j) for every node v, which needs its predecessors, the same node one layer out, and `extra`."""
        self._first[j] = first = len(self._weights)
        self._weights += map(sub, self._node_ns[j], self._node_ns[j + 1])
        needs = [[first + p for p in before] for before in self._before] if first else [[*b] for b in self._before]
        for own, more in zip(needs, extra, strict=False):
            own += more
        if j + 1 < len(self._first):
            for v, own in enumerate(needs, self._first[j + 1]):
                own.append(v)
        self._needs += needs

    def _add_item(self, weight: int, needs: list[int]) -> int:
        self._weights.append(weight)
        self._needs.append(needs)
        return len(self._weights) - 1

    def _add_parcel(self, j: int, maker: int, name: str, price: int) -> None:
        readers = self.problem.graph.consumers[name]
        if readers:
            first = self._first[j]
            self._parcels.append((maker, [first + c for c in readers], price))

    def _prices(self, j: int, names: Sequence[str], *, up: bool) -> list[int]:
        """Nanoseconds that each tensor adds to a link that is in use anyway. Answers, which travel home raw, are what
        the outputs are on the way `down`."""
        graph, link = self.problem.graph, self.problem.links[j]
        answers = () if up else graph.outputs
        tensors = [graph.tensors[name] for name in names]
        counts = [tensor.elements for tensor in tensors]
        if self.codec == RAW:  # what would be coded travels like all the rest
            written: list[int | None] = [t.bytes if t.can_cross else None for t in tensors]
            is_coded: Any = False
        else:
            parcels = [parcel_of(tensor, answer=tensor.name in answers) for tensor in tensors]
            known = self.problem.known_ranges
            written = [parcel.written(self.codec, levels=parcel.tensor.name in known) for parcel in parcels]
            is_coded = [parcel.coded for parcel in parcels]
        sizes: Any = np.array([size or 0 for size in written], dtype=np.float64)
        elements = np.array(counts, dtype=np.float64)
        travel = link.up_s if up else link.down_s
        seconds = travel(sizes) - travel(0.0)
        raw, coded = (sum(s for _, s in codec_s(self.problem, j, name, elements, up=up)) for name in (RAW, self.codec))
        seconds += np.where(is_coded, coded, raw)
        prices = _all_ns(np.where(elements > 0, seconds, 0.0))
        return [FORBIDDEN if size is None else price for size, price in zip(written, prices, strict=True)]

    def _standing_pins(self) -> Iterator[Pin]:
        """Readers of private tensors stay at home. Before home, a codec not allowed for the raw input keeps everything
        at home too."""
        graph, home = self.problem.graph, self.problem.home
        stay = must_stay(self.problem)
        fed = {c for name in graph.inputs for c in graph.consumers[name]}
        raw = fed if self.codec not in self.problem.codecs_at(INPUT) else set()
        for j in range(len(self.problem.links)):
            yield from ((v, j, home <= j) for v in sorted(stay if home <= j else stay | raw))


_LONGEST_S = 4e9
"""A century and more: what takes longer is no longer told apart, and fits into 64 bits of nanoseconds."""


def _ns(seconds: float) -> int:
    return round(min(seconds, _LONGEST_S) * 1e9)


def _all_ns(seconds: Any) -> list[int]:
    """The same of many."""
    return np.rint(np.minimum(seconds, _LONGEST_S) * 1e9).astype(np.int64).tolist()  # type: ignore[no-any-return]

"""Maximum flow and minimum cut on whole numbers: push–relabel, first in first out, with global relabelling.

Goldberg and Tarjan, "A new approach to the maximum-flow problem", J. ACM 35 (1988); the global relabelling of
Cherkassky and Goldberg, Algorithmica 19 (1997). Only the first phase is run: it finds the cut, and excess that cannot
reach the sink is left where it lies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

STALE = 0.1
"""Of all edges, those looked at to relabel vertices before all distances are found anew. On the networks of
`benchmarks/mincut_speed.py` 0.05 and 0.3 look at up to a fifth more edges in all."""


class Flow:
    """A network over vertices 0 (the sink) … count−1. `supplies`: what is to flow lies on its vertices from the start,
    as if edges from a source had been saturated."""

    def __init__(self, supplies: Sequence[int]) -> None:
        self.count = len(supplies)
        self._to: list[int] = []
        self._room: list[int] = []
        self._edges: list[list[int]] = [[] for _ in supplies]
        self._excess = [*supplies]

    def add(self, tails: list[int], heads: list[int], capacities: list[int], reverses: list[int] | None = None) -> None:
        """Edges, each with its twin the other way, whose capacity stands in `reverses` (None: 0). Those of a vertex are
        tried in the order in which they were added."""
        edges, at = self._edges, len(self._to)
        end = at + 2 * len(tails)
        for e, tail, head in zip(range(at, end, 2), tails, heads, strict=True):
            edges[tail].append(e)
            edges[head].append(e + 1)
        for ends, even, odd in ((self._to, heads, tails), (self._room, capacities, reverses or [0] * len(tails))):
            ends += [0] * (end - at)
            ends[at::2], ends[at + 1 :: 2] = even, odd

    @property
    def value(self) -> int:
        """What has arrived at the sink: the value of the minimum cut once `sink_side` has run."""
        return self._excess[0]

    def sink_side(self) -> list[bool]:
        """Push until no excess can reach the sink; True for the vertices on the sink's side of the cut (the smallest
        such side there is)."""
        while True:
            label, order = self._distances()
            if not any(self._excess[v] for v in order[1:]):
                return [d < self.count for d in label]
            self._push_all(label, order)

    def _distances(self) -> tuple[list[int], list[int]]:
        """Exact distances to the sink in the residual network (count where there is no way), nearest first."""
        to, room, far, edges = self._to, self._room, self.count, self._edges
        label = [far] * far
        label[0] = 0
        order = [0]
        for v in order:
            next_label = label[v] + 1
            for e in edges[v]:
                u = to[e]
                if label[u] == far and room[e ^ 1]:
                    label[u] = next_label
                    order.append(u)
        return label, order

    def _push_all(self, label: list[int], order: list[int]) -> None:
        """Discharge every vertex, farthest first (so that what meets on the way moves on together), then whatever has
        become active since, in turn, until the labels have grown stale."""
        waiting = deque(order[:0:-1])
        budget = STALE * len(self._to)
        while waiting and budget > 0:
            v = waiting.popleft()
            if self._excess[v]:
                budget -= len(self._edges[v]) * self._discharge(v, label, waiting)

    def _discharge(self, v: int, label: list[int], waiting: deque[int]) -> int:
        """Push v's excess downhill, relabelling v until all is gone or no way is left; returns how often."""
        to, room, excess = self._to, self._room, self._excess
        here, edges, relabels = excess[v], self._edges[v], 0
        while here and label[v] < self.count:
            level, lowest = label[v] - 1, self.count
            for e in edges:
                free = room[e]
                if free:
                    u = to[e]
                    near = label[u]
                    if near == level:
                        sent = free if free < here else here
                        if u and not excess[u]:
                            waiting.append(u)
                        room[e] = free - sent
                        room[e ^ 1] += sent
                        excess[u] += sent
                        here -= sent
                        if not here:
                            break
                    elif near < lowest:
                        lowest = near
            if here:
                relabels += 1
                label[v] = lowest + 1
        excess[v] = here
        return relabels

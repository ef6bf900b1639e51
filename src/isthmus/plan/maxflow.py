"""Maximum flow and minimum cut on whole numbers: push–relabel, highest label first, with global relabelling.

Goldberg and Tarjan, "A new approach to the maximum-flow problem", J. ACM 35 (1988); the gap and global relabelling
heuristics of Cherkassky and Goldberg (1997). Only the first phase is run: it finds the cut, and excess that cannot
reach the sink is left where it lies. Vertices are expected in running order (source 0, sink last): one sweep in that
order pushes most of the flow before any label is needed.
"""

from __future__ import annotations


class Flow:
    """A network over vertices 0 (the source) … count−1 (the sink)."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.sink = count - 1
        self._to: list[int] = []
        self._room: list[int] = []
        self._edges: list[list[int]] = [[] for _ in range(count)]
        self._excess = [0] * count

    def add(self, tail: int, head: int, capacity: int, reverse: int = 0) -> None:
        """An edge, and its twin the other way with capacity `reverse`."""
        self._edges[tail].append(len(self._to))
        self._edges[head].append(len(self._to) + 1)
        self._to += (head, tail)
        self._room += (capacity, reverse)

    @property
    def value(self) -> int:
        """The flow that has arrived: the value of the minimum cut once `source_side` has run."""
        return self._excess[self.sink]

    def source_side(self) -> list[bool]:
        """Push until no excess can reach the sink; True for the vertices on the source's side of the cut."""
        self._fill()
        self._sweep()
        while True:
            label, order = self._distances()
            if not any(self._excess[v] for v in order[1:]):
                return [d >= self.count for d in label]
            self._push_all(label, order)

    def _fill(self) -> None:
        """Saturate every edge that leaves the source."""
        for e in self._edges[0]:
            self._excess[self._to[e]] += self._room[e]
            self._room[e] = self._room[e ^ 1] = 0

    def _sweep(self) -> None:
        """Push whatever arrives on to later vertices, in running order."""
        to, room, excess = self._to, self._room, self._excess
        for v in range(1, self.sink):
            here = excess[v]
            if not here:
                continue
            for e in self._edges[v]:
                free = room[e]
                if free and to[e] > v:
                    sent = free if free < here else here
                    room[e] -= sent
                    room[e ^ 1] += sent
                    excess[to[e]] += sent
                    here -= sent
                    if not here:
                        break
            excess[v] = here

    def _distances(self) -> tuple[list[int], list[int]]:
        """Exact distances to the sink in the residual network (count where there is no way), nearest first."""
        to, room, far = self._to, self._room, self.count
        label = [far] * far
        label[self.sink], label[0] = 0, far + 1
        order = [self.sink]
        for v in order:
            next_label = label[v] + 1
            for e in self._edges[v]:
                if room[e ^ 1] and label[to[e]] == far:
                    label[to[e]] = next_label
                    order.append(to[e])
        return label, order

    def _push_all(self, label: list[int], order: list[int]) -> None:
        """Discharge the highest active vertex again and again, for about as many relabels as there are vertices."""
        excess, sink = self._excess, self.sink
        buckets: list[list[int]] = [[] for _ in range(self.count + 1)]
        population = [0] * (self.count + 1)
        for v in order:
            population[label[v]] += 1
            if excess[v] and v != sink:
                buckets[label[v]].append(v)
        top, budget = label[order[-1]], len(order)
        while top > 0 and budget > 0:
            if not buckets[top]:
                top -= 1
                continue
            v = buckets[top].pop()
            if label[v] != top:
                continue
            lowest = self._discharge(v, label, buckets[top - 1])
            if excess[v]:
                budget -= 1
                population[top] -= 1
                if not population[top] or lowest + 1 >= self.count:
                    _lift_above(top if not population[top] else self.count, label, self.count)
                    label[v] = self.count
                else:
                    top = label[v] = lowest + 1
                    population[top] += 1
                    buckets[top].append(v)

    def _discharge(self, v: int, label: list[int], below: list[int]) -> int:
        """Push v's excess one label down; returns the lowest label that v still has a way to."""
        to, room, excess = self._to, self._room, self._excess
        here, level, lowest = excess[v], label[v] - 1, self.count
        for e in self._edges[v]:
            free = room[e]
            if free:
                u = to[e]
                if label[u] == level:
                    sent = free if free < here else here
                    if not excess[u] and u != self.sink:
                        below.append(u)
                    room[e] = free - sent
                    room[e ^ 1] += sent
                    excess[u] += sent
                    here -= sent
                    if not here:
                        break
                elif label[u] < lowest:
                    lowest = label[u]
        excess[v] = here
        return lowest


def _lift_above(gap: int, label: list[int], far: int) -> None:
    """No vertex has label `gap` any more: what lies above has no way to the sink."""
    for v, d in enumerate(label):
        if gap < d < far:
            label[v] = far

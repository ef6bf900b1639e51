"""Merging items that some cheapest closed set never separates, until no rule applies: exact, and nearly linear.

Two rules, with preconditions that only look at one item v, its group, and their parcels:

- *up*: v needs only p. When p is in, taking v as well costs at most `weight(v) + prices(v makes)` and saves the parcels
  that only v reads. Where that is no loss, v joins p.
- *down*: only c needs v. When c is out, leaving v out as well saves `weight(v) + prices(v makes)` and costs at most the
  parcels that v reads. Where that is no loss, v joins c.

Before that, needs are reduced to those not implied by others, and the readers of a parcel to those that no other reader
needs (if the last reader is in, all are): a densely connected block turns into a chain, and every chain dissolves.
The observation that only the part between two neighbouring cut vertices matters (QDMP: Zhang et al., IMWUT 4(2),
2020) falls out as a special case. START and END are groups too: what joins them is decided.
"""

from __future__ import annotations

from collections.abc import Sequence

Parcels = Sequence[tuple[int, Sequence[int], int]]


class Shrunk:
    """Items in groups, and what is left between them. A group is named by one of its items; `members[g]` are all.

    `before` and `after` are the needs between groups, `made` and `read` the parcels (by index) of each group,
    `makers`, `readers`, `prices` those of each parcel.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        self.count = len(weights)
        self.start, self.end = self.count, self.count + 1
        size = self.count + 2
        self.weights = [*weights, 0, 0]
        self.members = [[i] for i in range(self.count)] + [[], []]
        self.before: list[set[int]] = [set() for _ in range(size)]
        self.after: list[set[int]] = [set() for _ in range(size)]
        self.made: list[set[int]] = [set() for _ in range(size)]
        self.read: list[set[int]] = [set() for _ in range(size)]
        self.makers: list[int] = []
        self.readers: list[set[int]] = []
        self.prices: list[int] = []
        self.bits = [1 << i for i in range(self.count)] + [0, 0]
        self.earlier = [0] * size
        """bit set of everything an item needs, directly or not; merging keeps the relation between groups' names"""
        self.alive = [True] * self.count + [True, True]
        self.todo = list(range(self.count - 1, -1, -1))
        self.queued = [True] * self.count + [True, True]

    def groups(self) -> list[int]:
        """Groups that are neither START's nor END's, in running order."""
        return [g for g in range(self.count) if self.alive[g]]

    def touch(self, group: int) -> None:
        """Something about this group has changed: look at it again."""
        if not self.queued[group]:
            self.queued[group] = True
            self.todo.append(group)


def shrink(weights: Sequence[int], needs: Sequence[Sequence[int]], parcels: Parcels) -> Shrunk:
    """Merge until neither rule applies anywhere. Arguments as in `Closure`."""
    left = Shrunk(weights)
    _reduce_needs(left, needs)
    _reduce_readers(left, parcels)
    while left.todo:
        group = left.todo.pop()
        left.queued[group] = False
        if left.alive[group]:
            _apply_rules(left, group)
    return left


def _reduce_needs(left: Shrunk, needs: Sequence[Sequence[int]]) -> None:
    for i, wanted in enumerate(needs):
        implied = 0
        for p in wanted:
            implied |= left.earlier[p]
        direct = {p for p in wanted if not implied & left.bits[p]} if len(wanted) > 1 else set(wanted)
        for p in direct:
            implied |= left.bits[p]
            left.after[p].add(i)
        left.earlier[i] = implied
        left.before[i] = direct or {left.start}
        if not direct:
            left.after[left.start].add(i)
    for i in range(left.count):
        if not left.after[i]:
            left.after[i].add(left.end)
            left.before[left.end].add(i)


def _reduce_readers(left: Shrunk, parcels: Parcels) -> None:
    for maker, readers, paid in parcels:
        if not paid or not readers:
            continue
        implied = 0
        for r in readers:
            implied |= left.earlier[r]
        last = {r for r in readers if not implied & left.bits[r]}
        made_by = left.start if maker < 0 else maker
        left.made[made_by].add(len(left.prices))
        for r in last:
            left.read[r].add(len(left.prices))
        left.makers.append(made_by)
        left.readers.append(last)
        left.prices.append(paid)


def _apply_rules(left: Shrunk, v: int) -> None:
    prices, readers = left.prices, left.readers
    gain = left.weights[v]
    for t in left.made[v]:
        gain += prices[t]
    if len(left.before[v]) == 1 and gain <= sum([prices[t] for t in left.read[v] if len(readers[t]) == 1]):
        (p,) = left.before[v]
        _unlink_up(left, v, p)
        _join(left, v, p)
    elif len(left.after[v]) == 1 and gain >= sum([prices[t] for t in left.read[v]]):
        (c,) = left.after[v]
        _unlink_down(left, v, c)
        _join(left, v, c)


def _unlink_up(left: Shrunk, v: int, p: int) -> None:
    """v joins the only group it needs: whoever needed v needs p, unless that is implied."""
    left.after[p].discard(v)
    for x in left.after[v]:
        wanted = left.before[x]
        wanted.discard(v)
        implied = bool(wanted) if p == left.start else any(left.earlier[y] & left.bits[p] for y in wanted)
        if not implied:
            wanted.add(p)
            left.after[p].add(x)
        left.touch(x)


def _unlink_down(left: Shrunk, v: int, c: int) -> None:
    """v joins the only group that needs it: c needs what v needed, unless that is implied."""
    left.before[c].discard(v)
    for p in left.before[v]:
        followers = left.after[p]
        followers.discard(v)
        if c == left.end:
            implied = bool(followers)
        elif p == left.start:
            implied = bool(left.before[c])
        else:
            implied = any(left.earlier[y] & left.bits[p] for y in left.before[c])
        if not implied:
            followers.add(c)
            left.before[c].add(p)
        left.touch(p)


def _join(left: Shrunk, v: int, into: int) -> None:
    left.alive[v] = False
    left.members[into] += left.members[v]
    left.weights[into] += left.weights[v]
    for t in left.made[v]:
        _move_maker(left, t, into)
    for t in left.read[v]:
        _move_reader(left, t, v, into)
    left.touch(into)
    if into < left.count:
        for neighbour in (*left.before[into], *left.after[into]):
            left.touch(neighbour)


def _move_maker(left: Shrunk, t: int, into: int) -> None:
    """A parcel's maker joins `into`; made inside END it is never paid, read by its own maker it is not sent there."""
    readers = left.readers[t]
    if into == left.end:
        for r in readers:
            left.read[r].discard(t)
        return
    left.makers[t] = into
    if into in readers:
        readers.discard(into)
        left.read[into].discard(t)
    if readers:
        left.made[into].add(t)


def _move_reader(left: Shrunk, t: int, v: int, into: int) -> None:
    """A parcel's reader joins `into`; read in END it is always paid, by START or its maker never."""
    readers, maker = left.readers[t], left.makers[t]
    readers.discard(v)
    if into == left.end:
        left.weights[maker] += left.prices[t]
        for r in readers:
            left.read[r].discard(t)
            left.touch(r)
        readers.clear()
    elif into not in (left.start, maker):
        _add_reader(left, t, into)
    if not readers:
        left.made[maker].discard(t)
        left.touch(maker)
    elif len(readers) == 1:
        left.touch(next(iter(readers)))


def _add_reader(left: Shrunk, t: int, reader: int) -> None:
    """Add a reader unless another one needs it; drop those that it needs."""
    readers = left.readers[t]
    if any(left.earlier[r] & left.bits[reader] for r in readers):
        return
    for r in [r for r in readers if left.earlier[reader] & left.bits[r]]:
        readers.discard(r)
        left.read[r].discard(t)
        left.touch(r)
    readers.add(reader)
    left.read[reader].add(t)

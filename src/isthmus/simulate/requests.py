"""When requests come, and how many samples each holds."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isthmus.errors import BadInput
from isthmus.record import Batching

MOST = 10_000_000
"""More requests than this are a mistake in a unit."""
LONGEST_PACE_S = 3600.0
"""And more than this from one to the next: idle time is played too, look by look."""


@dataclass(frozen=True)
class Due:
    """One request: when it starts, its samples, and how long they have waited for that (mean, seconds)."""

    start_s: float
    batch: int
    wait_s: float = 0.0


@dataclass(frozen=True)
class Requests:
    """What the caller asks for. One request runs at a time: what comes due meanwhile starts when the one before ends.

    every_s: from one start to the next; 0 starts each when the last has ended. moments_s: instead, the moments at which
    they come. count: how many at most; until_s: none is started from then on. batches: samples a request, taken in
    turn. rule: instead, single samples come at the moments (or every `every_s`) and leave as batches by this rule.
    from_s: the first comes due then and not at 0, so that who probes knows the link by then.
    """

    count: int | None = None
    until_s: float | None = None
    every_s: float = 0.0
    moments_s: tuple[float, ...] = ()
    batches: tuple[int, ...] = (1,)
    rule: Batching | None = None
    from_s: float = 0.0

    def __post_init__(self) -> None:
        if self.count is None and self.until_s is None and not self.moments_s:
            raise BadInput("requests without end: say how many, until when, or at which moments")
        if self.count is not None and not 1 <= self.count <= MOST:
            raise BadInput(f"a simulation runs 1 to {MOST} requests, not {self.count}")
        if self.until_s is not None and not 0 < self.until_s < math.inf:
            raise BadInput(f"requests must be made for a time above zero, not {self.until_s} s")
        if not 0 <= self.from_s < math.inf:
            raise BadInput(f"the first request must come at a finite time from 0 on, not at {self.from_s} s")
        if not 0 <= self.every_s <= LONGEST_PACE_S:
            raise BadInput(f"from request to request it takes 0 to {LONGEST_PACE_S:.0f} s, not {self.every_s} s")
        if not self.batches or min(self.batches) < 1:
            raise BadInput(f"every request holds at least one sample, not {min(self.batches, default=0)}")
        _check_moments(self.moments_s)
        if self.rule is not None and not self.moments_s and self.every_s == 0:
            raise BadInput("batches form of samples that come by themselves: say at which moments, or every how long")

    def walk(self) -> Walk:
        """Go through them from the beginning."""
        return Walk(self)

    def due_s(self, number: int) -> float:
        """When request (or sample) `number` comes due; inf where there is none."""
        if self.count is not None and number >= self.count and self.rule is None:
            return math.inf
        if self.moments_s:
            return self.moments_s[number] if number < len(self.moments_s) else math.inf
        return self.from_s + number * self.every_s

    @property
    def sizes(self) -> tuple[int, ...]:
        """Every batch size that may come."""
        return tuple(range(1, self.rule.max_batch + 1)) if self.rule is not None else tuple(sorted(set(self.batches)))


class Walk:
    """One walk through the requests: `next` says when the following one starts, given when the last has ended."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._number = 0
        self._sample = 0

    def next(self, free_s: float) -> Due | None:
        """The next request; None when there is none."""
        asked = self._requests
        if asked.count is not None and self._number >= asked.count:
            return None
        found = self._single(free_s) if asked.rule is None else self._batch(asked.rule, free_s)
        if found.start_s == math.inf or (asked.until_s is not None and found.start_s >= asked.until_s):
            return None
        if self._number >= MOST:
            raise BadInput(f"more than {MOST} requests: let them come less often or for a shorter time")
        self._number += 1
        return found

    def _single(self, free_s: float) -> Due:
        asked = self._requests
        due_s = asked.due_s(self._number)
        batch = asked.batches[self._number % len(asked.batches)]
        paced = bool(asked.moments_s) or asked.every_s > 0
        return Due(max(free_s, due_s), batch, max(0.0, free_s - due_s) if paced else 0.0)

    def _batch(self, rule: Batching, free_s: float) -> Due:
        arrivals = list(self._coming(rule.max_batch + 1))
        if not arrivals:
            return Due(math.inf, 1)
        start_s, count = rule.next_batch(arrivals, [1] * len(arrivals), free_s)
        self._sample += count
        return Due(start_s, count, sum(start_s - a for a in arrivals[:count]) / count)

    def _coming(self, most: int) -> Iterator[float]:
        for number in range(self._sample, self._sample + most):
            due_s = self._requests.due_s(number)
            if due_s == math.inf or (self._requests.until_s is not None and due_s >= self._requests.until_s):
                return
            yield due_s


def _check_moments(moments_s: Sequence[float]) -> None:
    for number, (before, after) in enumerate(zip((0.0, *moments_s), moments_s, strict=False)):
        if not before <= after < math.inf:
            raise BadInput(f"moments must rise from 0 and be finite, but number {number} is {after:g} s")


def paired(a_starts: Sequence[float], b_starts: Sequence[float]) -> bool:
    """Are these the same moments? Then request k of one is request k of the other."""
    return len(a_starts) == len(b_starts) and all(
        math.isclose(x, y, abs_tol=1e-9) for x, y in zip(a_starts, b_starts, strict=True)
    )


def under_way(starts_s: Sequence[float], t_s: float) -> int:
    """The request that had started last at t (the first one before that)."""
    return max(0, bisect_left(starts_s, t_s + 1e-12) - 1)

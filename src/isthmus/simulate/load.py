"""How busy the server is over time: a factor on its work, requests of others that wait before ours, times away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import BadInput
from isthmus.link import Trace, read_trace
from isthmus.link.read import read_pairs
from isthmus.units import MOST_SLOWER

Floats = NDArray[np.float64]

_BLOCK = 4096
"""Arrivals of others are drawn so many at a time."""
_MOST = 1024 * _BLOCK
"""No more are drawn, which take some 150 MB; after the last the same come again from the first on."""


@dataclass(frozen=True, eq=False)
class Load:
    """A load factor that holds from its time stamp until the next: 2 means that work takes twice as long. Work under
    way when the factor changes goes on at the new speed.

    >>> busy = Load.of([0, 10], [1, 4])
    >>> busy.at(3.0), busy.at(10.0)
    (1.0, 4.0)
    >>> busy.finish_s(np.array([0.0, 9.0, 10.0]), np.array(2.0)).tolist()
    [2.0, 14.0, 18.0]
    """

    speed: Trace
    """profiled seconds of work done per second"""

    @classmethod
    def of(
        cls, times_s: Sequence[float], factors: Sequence[float], *, duration_s: float = math.nan, loop: bool = False
    ) -> Self:
        """From time stamps (s, rising from 0) and factors; duration_s: as of a `Trace`. Raises BadInput for a factor
        that is not between 1 / MOST_SLOWER and MOST_SLOWER."""
        if wrong := _wrong(factors):
            raise BadInput(wrong)
        return cls(Trace.of(times_s, [1 / f for f in factors], duration_s=duration_s, loop=loop))

    @classmethod
    def constant(cls, factor: float = 1.0) -> Self:
        """One factor for ever."""
        return cls.of([0.0], [factor])

    def at(self, t_s: float) -> float:
        """The factor at one moment."""
        return 1 / self.speed.rate_at(t_s)

    def finish_s(self, start_s: Floats, work_s: Floats) -> Floats:
        """When work of so many profiled seconds is done that begins then."""
        return self.speed.finish_many(start_s, work_s)


def read_load(path: str | Path, *, loop: bool = False) -> Load:
    """A load from a file of two columns, seconds and factor; until the first it is 1. Raises BadInput in one
    sentence."""
    if wrong := _wrong([factor for _, factor in read_pairs(path)]):
        raise BadInput(f"{Path(path).name} holds no load: {wrong}")
    trace = read_trace(path, "columns", before_bps=1e6)  # its rates are what stands there, times a million
    factors = (trace.rates_bps / 1e6).tolist()
    return Load.of(trace.times_s.tolist(), factors, duration_s=trace.duration_s, loop=loop)


def _wrong(factors: Sequence[float]) -> str:
    """Which of these is no load factor, in a sentence; empty where all are."""
    bad = [f for f in factors if not 1 / MOST_SLOWER <= f <= MOST_SLOWER]
    if not bad:
        return ""
    return f"a load factor is a number from {1 / MOST_SLOWER:g} to {MOST_SLOWER:g} (1 is as profiled), not {bad[0]:g}"


@dataclass(frozen=True)
class Others:
    """Requests of other clients at the same server: `per_s` of them a second at random (exponential gaps, seeded), each
    `work_s` long, served first come first served. They make ours wait; ours are too few to make them wait.

    >>> Others().wait_s(np.array([1.0, 5.0])).tolist()
    [0.0, 0.0]
    >>> waits = Others(per_s=8.0, work_s=0.1, seed=3).wait_s(np.linspace(0, 5000, 20_001))
    >>> bool(0.17 < waits.mean() < 0.23)  # the mean wait of the queue M/D/1: 0.2 s
    True
    """

    per_s: float = 0.0
    work_s: float = 0.0
    seed: int = 0
    _drawn: dict[str, Floats] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (0 <= self.per_s < math.inf and 0 <= self.work_s < math.inf):
            raise BadInput(f"others need a rate and a work of at least zero, not {self.per_s}/s and {self.work_s} s")
        if self.per_s * self.work_s >= 1:
            raise BadInput(
                f"{self.per_s:g} requests a second of {self.work_s:g} s each never end: together they must take less "
                "than 1 s a second"
            )

    def wait_s(self, at_s: Floats) -> Floats:
        """How long a request that arrives then waits for those before it; inf for one that never arrives."""
        at = np.asarray(at_s, np.float64)
        if self.per_s == 0 or self.work_s == 0:
            return np.where(np.isfinite(at), 0.0, math.inf)
        known = np.where(np.isfinite(at), at, 0.0)
        times, left = self._until(float(known.max(initial=0.0)))
        known = known % times[-1]
        index = times.searchsorted(known, side="right") - 1
        wait = np.where(index < 0, 0.0, np.maximum(0.0, left[index] - (known - times[index])))
        return np.where(np.isfinite(at), wait, math.inf)

    def _until(self, t_s: float) -> tuple[Floats, Floats]:
        """Arrival times up to beyond t, but no more than `_MOST`, and the work that is waiting right after each
        (Lindley's recursion)."""
        times = self._drawn.get("times", np.zeros(0))
        while not times.size or (times[-1] <= t_s and times.size < _MOST):
            rng = np.random.default_rng((self.seed, times.size))
            last = times[-1] if times.size else 0.0
            times = np.concatenate([times, last + np.cumsum(rng.exponential(1 / self.per_s, max(_BLOCK, times.size)))])
        if times is not self._drawn.get("times"):
            # work after arrival k = w + max over j ≤ k of ((k - j) w - (t_k - t_j)): a running maximum
            ahead = np.arange(times.size) * self.work_s - times
            self._drawn["times"] = times
            self._drawn["left"] = self.work_s + ahead - np.minimum.accumulate(ahead)
        return self._drawn["times"], self._drawn["left"]


@dataclass(frozen=True)
class Away:
    """When the server is not there: (from, to) in seconds, rising and apart. What it has begun is lost.

    >>> Away(((2.0, 3.0),)).meets(np.array([1.0, 1.0, 3.0]), np.array([1.5, 2.5, 4.0])).tolist()
    [False, True, False]
    >>> Away(((2.0, 3.0),)).back_s(2.2)
    3.0
    """

    times_s: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        last = -math.inf
        for start, end in self.times_s:
            if not (max(0.0, last) <= start < end):
                raise BadInput(f"the server cannot be away from {start:g} to {end:g} s; give rising times from 0 on")
            last = end

    def meets(self, from_s: Floats, to_s: Floats) -> NDArray[np.bool_]:
        """Is it away at any moment between?"""
        if not self.times_s:
            return np.zeros(np.broadcast_shapes(np.shape(from_s), np.shape(to_s)), bool)
        index = self._ends.searchsorted(from_s, side="right")  # the first time away that ends after `from`
        begins = np.append(self._starts, math.inf)[index]
        met: NDArray[np.bool_] = begins <= to_s
        return met

    def back_s(self, t_s: float) -> float:
        """The first moment from t on at which it is there."""
        return next((end for start, end in self.times_s if start <= t_s < end), t_s)

    @cached_property
    def _starts(self) -> Floats:
        return np.array([start for start, _ in self.times_s])

    @cached_property
    def _ends(self) -> Floats:
        return np.array([end for _, end in self.times_s])

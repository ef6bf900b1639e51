"""A link's rate over time: `Trace`, a step function that holds each value until the next time stamp."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import BadInput
from isthmus.units import MOST_BPS, show_rate, show_seconds

MAX_SAMPLES = 5_000_000

_LEAST_BITS = math.ulp(0.0)
"""Bits left for a last round are above 0 and no more than it carries, whatever the subtraction rounded to: beyond lies
an outage at its start or end, in which nothing is ever done."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trace:
    """Rates in bit/s that hold from their time stamp until the next; 0 is an outage.

    times_s: strictly increasing, the first is 0. duration_s: where the last value ends (by default it holds as long as
    the median step, or 1 s for a single value). Afterwards a looping trace starts again and any other keeps its last
    rate for ever. Raises BadInput on anything else: empty, negative, NaN, time that runs backwards.

    >>> trace = Trace.of([0, 10], [20e6, 1e6], duration_s=15)
    >>> trace.rate_at(9.99), trace.rate_at(10), trace.bits_between(9, 11)
    (20000000.0, 1000000.0, 21000000.0)
    """

    times_s: Floats
    rates_bps: Floats
    duration_s: float = math.nan
    loop: bool = False
    _totals: Floats = field(init=False, repr=False)
    """bits carried from 0 to each time stamp, and to the end"""

    def __post_init__(self) -> None:
        times, rates = (np.array(a, np.float64) for a in (self.times_s, self.rates_bps))
        _check(times, rates)
        steps = np.diff(times)
        end = self.duration_s
        if math.isnan(end):
            end = float(times[-1] + (np.median(steps) if steps.size else 1.0))
        if not times[-1] < end < math.inf:
            raise BadInput(f"a trace whose last value begins at {times[-1]:g} s cannot end at {end:g} s")
        sums = np.concatenate([[0.0], np.cumsum(rates * np.diff(times, append=end))])
        for array in (times, rates, sums):
            array.flags.writeable = False
        for name, value in (("times_s", times), ("rates_bps", rates), ("duration_s", end), ("_totals", sums)):
            object.__setattr__(self, name, value)

    @classmethod
    def of(
        cls, times_s: Sequence[float], rates_bps: Sequence[float], *, duration_s: float = math.nan, loop: bool = False
    ) -> Self:
        """The same from plain sequences."""
        return cls(np.asarray(times_s, np.float64), np.asarray(rates_bps, np.float64), duration_s, loop)

    def rate_at(self, t_s: float) -> float:
        """Bit/s at one moment. Before 0 it is the first rate."""
        if self.loop:
            t_s %= self.duration_s
        return float(self.rates_bps[max(0, self._index(t_s))])

    def bits_between(self, t0_s: float, t1_s: float) -> float:
        """Bits the link can carry from t0 to t1 (t0 ≤ t1), exactly."""
        return self._bits_until(t1_s) - self._bits_until(t0_s)

    def finish_s(self, start_s: float, bits: float) -> float:
        """The moment the last of `bits` has left when the first may leave at `start_s` and nothing else uses the link.

        The exact inverse of `bits_between`; inf when an outage never ends.

        >>> Trace.of([0, 1, 3], [8e6, 0, 8e6]).finish_s(0.5, 8e6)
        3.5
        """
        if bits <= 0:
            return start_s
        index = self._index(start_s)
        last = len(self.rates_bps) - 1
        if 0 <= index < last or (index == last and start_s < self.duration_s):
            rate = float(self.rates_bps[index])  # the common case: done before the rate changes
            ends = self.times_s[index + 1] if index < last else self.duration_s
            if rate > 0 and start_s + bits / rate <= ends:
                return start_s + bits / rate
        return max(start_s, self._when(self._bits_until(start_s) + bits))

    def finish_many(self, start_s: Floats, bits: Floats) -> Floats:
        """`finish_s` of every pair at once; the arrays' shapes are broadcast. A start of inf never finishes.

        >>> Trace.of([0, 1, 3], [8e6, 0, 8e6]).finish_many(np.array([0.5, 1.5]), np.array(8e6)).tolist()
        [3.5, 4.0]
        """
        start, load = np.asarray(start_s, np.float64), np.asarray(bits, np.float64)
        rounds, inside = self._rounds(start)
        index = np.maximum(self.times_s.searchsorted(inside, side="right") - 1, 0)  # NaN sorts last, as inf does
        rate = self.rates_bps[index]
        with np.errstate(divide="ignore", invalid="ignore"):
            needs = np.where(load > 0, load / rate, 0.0)
            found: Floats = start + needs
            far = (load > 0) & ~(needs <= self._ends_s[index] - inside) & np.isfinite(start)
            if far.any():  # the rate changes on the way, or is 0
                carried = self._totals[index] + (inside - self.times_s[index]) * rate + load
                later = np.maximum(start, self._when_many(np.where(far, carried, 1.0), np.where(far, rounds, 0.0)))
                found = np.where(far, later, found)
        return found

    def scaled(self, factor: float) -> Trace:
        """Every rate times `factor`."""
        with np.errstate(over="ignore"):  # what is too fast is refused by its rate
            return replace(self, rates_bps=self.rates_bps * _positive(factor, "factor"))

    def clipped(self, low_bps: float = 0.0, high_bps: float = math.inf) -> Trace:
        """Every rate forced into [low, high]; `clipped(1e5)` turns outages into 100 kbit/s."""
        if not 0 <= low_bps <= high_bps:
            raise BadInput(f"cannot clip a trace into [{low_bps:g}, {high_bps:g}] bit/s")
        return replace(self, rates_bps=np.clip(self.rates_bps, low_bps, high_bps))

    def looped(self) -> Trace:
        """The same trace, starting again when it ends."""
        return replace(self, loop=True)

    def part(self, start_s: float, end_s: float) -> Trace:
        """The piece from `start_s` to `end_s`, with its own clock starting at 0."""
        if not 0 <= start_s < end_s <= self.duration_s:
            raise BadInput(f"a trace of {self.duration_s:g} s has no part {start_s:g}…{end_s:g} s")
        inside = (self.times_s > start_s) & (self.times_s < end_s)
        times = np.concatenate([[0.0], self.times_s[inside] - start_s])
        rates = np.concatenate([[self.rates_bps[self._index(start_s)]], self.rates_bps[inside]])
        return Trace(times, rates, end_s - start_s, self.loop)

    @property
    def mean_bps(self) -> float:
        """Time-weighted mean rate."""
        return float(self._totals[-1] / self.duration_s)

    def summary(self) -> dict[str, float]:
        """Duration, samples, time-weighted mean, least and greatest rate, share of time in outage."""
        held = np.diff(self.times_s, append=self.duration_s)
        return {
            "duration_s": self.duration_s,
            "samples": float(len(self.rates_bps)),
            "mean_bps": self.mean_bps,
            "min_bps": float(self.rates_bps.min()),
            "max_bps": float(self.rates_bps.max()),
            "outage_share": float(held[self.rates_bps == 0].sum() / self.duration_s),
        }

    def row(self) -> dict[str, Any]:
        """The trace as plain values, for JSON; `from_row` reads it."""
        return {
            "times_s": self.times_s.tolist(),
            "rates_bps": self.rates_bps.tolist(),
            "duration_s": self.duration_s,
            "loop": self.loop,
        }

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """The trace that `row` wrote."""
        return cls.of(row["times_s"], row["rates_bps"], duration_s=row["duration_s"], loop=row["loop"])

    def __str__(self) -> str:
        low, high = show_rate(float(self.rates_bps.min())), show_rate(float(self.rates_bps.max()))
        return f"{show_seconds(self.duration_s)} of {low} to {high}, mean {show_rate(self.mean_bps)}"

    def _index(self, t_s: float) -> int:
        return int(np.searchsorted(self.times_s, t_s, side="right")) - 1

    @cached_property
    def _ends_s(self) -> Floats:
        """Where each rate ends; the last one of a trace that does not loop never does."""
        return np.append(self.times_s[1:], self.duration_s if self.loop else math.inf)

    def _rounds(self, t_s: Floats) -> tuple[Floats | float, Floats]:
        """How often a looping trace has begun anew by then, and the time within the present round."""
        if not self.loop:
            return 0.0, t_s
        with np.errstate(invalid="ignore"):
            rounds = np.maximum(np.floor_divide(t_s, self.duration_s), 0.0)
            return rounds, t_s - rounds * self.duration_s

    def _when_many(self, bits: Floats, rounds: Floats | float) -> Floats:
        """The moments at which so many bits have been carried since the start of the given rounds."""
        whole = float(self._totals[-1])
        if self.loop:
            if whole == 0:
                return np.full(bits.shape, math.inf)
            more = np.ceil(bits / whole) - 1
            rounds, bits = rounds + more, np.clip(bits - more * whole, _LEAST_BITS, whole)
        index = np.maximum(self._totals[:-1].searchsorted(bits, side="left") - 1, 0)
        rate = self.rates_bps[index]
        with np.errstate(divide="ignore", invalid="ignore"):
            within = self.times_s[index] + (bits - self._totals[index]) / rate
        turn_s = self.duration_s if self.loop else 0.0
        return np.where(rate > 0, rounds * turn_s + within, math.inf)

    def _bits_until(self, t_s: float) -> float:
        """Bits carried from 0 to t; negative before 0, where the first rate holds."""
        rounds = 0.0
        if self.loop and t_s >= 0:
            rounds, t_s = divmod(t_s, self.duration_s)
        index = max(0, self._index(t_s))
        before = float(self._totals[index] + (t_s - self.times_s[index]) * self.rates_bps[index])
        return rounds * float(self._totals[-1]) + before

    def _when(self, bits: float) -> float:
        """The first moment at which `_bits_until` reaches `bits`."""
        whole = float(self._totals[-1])
        start = 0.0
        if self.loop:
            if whole == 0:
                return math.inf
            rounds = math.ceil(bits / whole) - 1
            start, bits = rounds * self.duration_s, min(max(bits - rounds * whole, _LEAST_BITS), whole)
        index = int(np.searchsorted(self._totals[:-1], bits, side="left")) - 1
        rate = float(self.rates_bps[max(0, index)])
        if rate == 0:  # only the last rate of a trace that ends can be reached here
            return math.inf
        index = max(0, index)
        return start + float(self.times_s[index]) + (bits - float(self._totals[index])) / rate


def _check(times: Floats, rates: Floats) -> None:
    if times.ndim != 1 or times.shape != rates.shape or not times.size:
        raise BadInput(f"a trace needs as many rates as times and at least one, not {rates.size} and {times.size}")
    if times.size > MAX_SAMPLES:
        raise BadInput(f"a trace of {times.size} samples is over the limit of {MAX_SAMPLES}")
    if times[0] != 0 or not np.isfinite(times).all():
        raise BadInput(f"a trace's times must be finite and start at 0, not at {times[0]:g}")
    if (np.diff(times) <= 0).any():
        at = int(np.argmax(np.diff(times) <= 0)) + 1
        raise BadInput(f"a trace's time must increase, but sample {at} is at {times[at]:g} s after {times[at - 1]:g} s")
    bad = ~((rates >= 0) & (rates <= MOST_BPS))
    if bad.any():
        at = int(np.argmax(bad))
        raise BadInput(f"a trace's rates must lie in 0…{MOST_BPS:g} bit/s, but sample {at} is {rates[at]:g}")


def _positive(value: float, name: str) -> float:
    if not 0 < value < math.inf:
        raise BadInput(f"{name} must be finite and above zero, not {value}")
    return value

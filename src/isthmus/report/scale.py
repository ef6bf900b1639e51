"""From values to pixels: linear and logarithmic scales, ticks at round numbers, and labels that carry their unit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MOST_PERCENT = 1e6
_TIME_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400)
_TINY, _HUGE = 1e-12, 1e18
_LEAST_RATIO, _MOST_RATIO = 4.0, 1e4
"""No second, byte or bit per second that means anything lies outside; the arithmetic of a log axis ends near there."""


@dataclass(frozen=True)
class Scale:
    """Values low…high to pixels start…end. What lies outside is drawn at the edge, and so are nan and zero on a log
    scale: the caller counts and names such points."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and self.low < self.high < math.inf) or (self.log and self.low <= 0):
            raise ValueError(f"no scale from {self.low} to {self.high}")

    def at(self, values: ArrayLike) -> NDArray[np.float64]:
        """Pixels of the values."""
        clipped = np.clip(np.nan_to_num(np.asarray(values, dtype=np.float64), nan=self.low), self.low, self.high)
        low, high = self.low, self.high
        if self.log:
            clipped, low, high = np.log(clipped), math.log(low), math.log(high)
        pixels: NDArray[np.float64] = self.start + (clipped - low) / (high - low) * (self.end - self.start)
        return pixels

    def one(self, value: float) -> float:
        """The pixel of one value."""
        return float(self.at(value))


def label_share(share: float) -> str:
    """A percentage, as long as that can be read.

    >>> label_share(0.1234), label_share(2e300)
    ('12.3%', '2e+300 times')
    """
    return f"{share:.1%}" if share < _MOST_PERCENT / 100 else f"{share:.3g} times"


def linear_ticks(high: float, count: int = 5) -> tuple[float, ...]:
    """Round numbers from 0 up to and not beyond `high`, about `count` of them.

    >>> linear_ticks(0.37)
    (0.0, 0.1, 0.2, 0.3)
    """
    raw = high / count
    base = 10.0 ** math.floor(math.log10(raw))
    step = next(m * base for m in (1, 2, 5, 10) if m * base >= raw * (1 - 1e-9))
    return tuple(float(f"{i * step:.12g}") for i in range(int(high / step + 1e-9) + 1))


def log_ticks(low: float, high: float, most: int = 7) -> tuple[float, ...]:
    """Round numbers on a log axis: 1-2-5 in each decade, fewer when that would be more than `most`.

    >>> log_ticks(1e6, 3e7)
    (1000000.0, 2000000.0, 5000000.0, 10000000.0, 20000000.0)
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors, every in (((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 2), ((1,), 3)):
        powers = range(first, last + 1, every)
        found = [float(f"{f}e{p}") for p in powers for f in factors]
        ticks = tuple(t for t in found if low * (1 - 1e-9) <= t <= high * (1 + 1e-9))
        if len(ticks) <= most:
            return ticks
    return ticks[:: math.ceil(len(ticks) / most)]


def time_ticks(low_s: float, high_s: float) -> tuple[float, ...]:
    """Round times from low to high, about ten of them.

    >>> time_ticks(0, 100)
    (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0)
    """
    raw = (high_s - low_s) / 10
    if raw < 1:
        base = 10.0 ** math.floor(math.log10(raw))
        step = next(m * base for m in (1, 2, 5, 10) if m * base >= raw * (1 - 1e-9))
    else:
        days = 86400 * math.ceil(raw / 86400)
        step = next((float(s) for s in _TIME_STEPS_S if s >= raw * (1 - 1e-9)), float(days))
    first, last = math.ceil(low_s / step - 1e-9), math.floor(high_s / step + 1e-9)
    return tuple(float(f"{i * step:.12g}") for i in range(first, last + 1))


def label_time(value_s: float) -> str:
    """`250 ms`, `40 s`, `2 min`, `1 h 30 min`.

    >>> label_time(0.25), label_time(40), label_time(90), label_time(5400)
    ('250 ms', '40 s', '1 min 30 s', '1 h 30 min')
    """
    if 0 < abs(value_s) < 1:
        return f"{value_s * 1e3:g} ms"
    if abs(value_s) < 60 or value_s % 1:
        return f"{value_s:g} s"
    hours, minutes, rest = int(value_s // 3600), int(value_s % 3600 // 60), int(value_s % 60)
    named = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{count} {unit}" for count, unit in named if count)


def drawn_limit(values: ArrayLike) -> float:
    """Where an axis from zero should end so that a few huge values do not flatten the rest: the greatest value, or
    four times the 90th percentile where the greatest lies beyond that (tuned by eye on runs with outages: what happens
    in one request of ten is always drawn in full). At least a microsecond, so that there is an axis at all."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if not known.size:
        return 1.0
    return max(min(float(known.max()), 4.0 * float(np.quantile(known, 0.9)) or float(known.max())), 1e-6)


def log_range(values: ArrayLike) -> tuple[float, float]:
    """Ends of a log axis around the values above zero: a little air, at least a factor of `_LEAST_RATIO` wide,
    and values farther than `_MOST_RATIO` times from the median are left to the edge."""
    known = np.asarray(values, dtype=np.float64)
    known = known[(known > _TINY) & (known < _HUGE)]
    if not known.size:
        return 1.0, 10.0
    middle = float(np.median(known))
    low = max(float(known.min()), middle / _MOST_RATIO) / 1.25
    high = min(float(known.max()), middle * _MOST_RATIO) * 1.25
    if high / low < _LEAST_RATIO:
        centre = math.sqrt(low * high)
        low, high = centre / math.sqrt(_LEAST_RATIO), centre * math.sqrt(_LEAST_RATIO)
    return low, high

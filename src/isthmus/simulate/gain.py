"""How much faster one policy is than another, in both readings of "relative average gain"; and what a policy loses
against perfect foresight.

The paper of dynamic split computing reports one number for many states S_i = (batch, rate) without its formula. Two
readings are plausible and differ, so both are always given: the mean of the relative savings, in which every state
counts the same, and the ratio of the sums, in which slow states count more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict

from isthmus.errors import BadInput
from isthmus.simulate.requests import paired

Floats = NDArray[np.float64]
_MOST_MOMENTS = 100_000


class Gain(BaseModel):
    """What is saved against another policy, as shares of 1: 0.25 is a quarter faster, below 0 is slower."""

    model_config = ConfigDict(frozen=True)

    mean_of_savings: float
    """mean over states of (other − mine) / other"""
    ratio_of_sums: float
    """1 − Σ mine / Σ other"""


def gain(mine: ArrayLike, other: ArrayLike) -> Gain:
    """The gain over the same states; seconds, above zero, in the same order.

    >>> gain([1.0, 8.0], [2.0, 10.0])
    Gain(mean_of_savings=0.35, ratio_of_sums=0.25)

    Raises BadInput for sequences of different length, empty ones, or seconds that are not above zero.
    """
    a, b = np.asarray(mine, np.float64), np.asarray(other, np.float64)
    if a.shape != b.shape or a.ndim != 1 or not a.size:
        raise BadInput(f"a gain needs as many seconds on either side and at least one, not {a.size} and {b.size}")
    if not ((a > 0) & (b > 0) & np.isfinite(a) & np.isfinite(b)).all():
        raise BadInput("a gain needs seconds that are finite and above zero")
    return Gain(mean_of_savings=float(((b - a) / b).mean()), ratio_of_sums=float(1 - a.sum() / b.sum()))


def regret(mine: ArrayLike, best: ArrayLike) -> float:
    """How much more than perfect foresight it takes, of the sums: 0.05 is 5 % more.

    >>> round(regret([1.0, 1.1], [1.0, 1.0]), 3)
    0.05
    """
    return -gain(mine, best).ratio_of_sums


def gain_in_time(
    starts_s: Sequence[float], seconds: Sequence[float], other_starts_s: Sequence[float], other: Sequence[float]
) -> Gain:
    """The gain of one walk through a trace over another.

    Requests that started at the same moments are compared one by one. Where each starts as the last one ends, the
    number of requests differs: the ratio is then that of the means, and the savings are averaged over evenly spaced
    moments of the time both walked, comparing the requests that were under way.
    """
    if paired(starts_s, other_starts_s):
        return gain(seconds, other)
    a, b = _under_way(starts_s, seconds, other_starts_s, other)
    mean_a, mean_b = float(np.mean(seconds)), float(np.mean(other))
    return Gain(mean_of_savings=gain(a, b).mean_of_savings, ratio_of_sums=1 - mean_a / mean_b)


def _under_way(
    starts_s: Sequence[float], seconds: Sequence[float], other_starts_s: Sequence[float], other: Sequence[float]
) -> tuple[Floats, Floats]:
    sides = [
        (np.asarray(s, np.float64), np.asarray(t, np.float64))
        for s, t in ((starts_s, seconds), (other_starts_s, other))
    ]
    if not all(s.size and s.size == t.size for s, t in sides):
        raise BadInput("a gain needs at least one request on either side")
    end_s = min(float(s[-1] + t[-1]) for s, t in sides)
    begin_s = min(end_s, max(float(s[0]) for s, _ in sides))
    count = min(_MOST_MOMENTS, 2 * max(s.size for s, _ in sides))
    moments = begin_s + (np.arange(count) + 0.5) * ((end_s - begin_s) / count)
    found = [t[np.maximum(0, s.searchsorted(moments, side="right") - 1)] for s, t in sides]
    return found[0], found[1]

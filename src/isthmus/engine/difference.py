"""How far apart two answers to the same question are: NaN is NaN, and an infinity is itself."""

from __future__ import annotations

import numpy as np

from isthmus.model.types import Array


def difference(got: Array, wanted: Array) -> float:
    """Greatest absolute difference. Where both are NaN, or the same infinity, there is none; where one alone is, or
    the shapes differ, it is infinite: a NaN would be lost among numbers."""
    if got.shape != wanted.shape:
        return np.inf
    x, y = got.astype(np.float64), wanted.astype(np.float64)
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.where(same, 0.0, np.abs(x - y))
    return float(np.where(np.isnan(apart), np.inf, apart).max(initial=0.0))


def magnitude(answer: Array) -> float:
    """Greatest absolute value that is a number."""
    return float(np.abs(answer[np.isfinite(answer)]).max(initial=0))


def relative(got: Array, wanted: Array) -> float:
    """Greatest absolute difference, over the greatest absolute value of what was wanted."""
    return difference(got, wanted) / max(magnitude(wanted), 1e-12)

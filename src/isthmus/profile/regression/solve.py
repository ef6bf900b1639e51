"""Fitting a law to measurements: least squares of the relative error, outliers discounted, coefficients of one sign."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_ROUNDS = 12
_HUBER = 1.345
"""Residuals beyond this many typical ones count linearly, not squared (95 % efficient on normal noise; Huber 1964)."""
_LEAST_SCALE = 1e-4


def relative_fit(x: Array, y: Array, *, signed: bool) -> Array:
    """Coefficients c, shape (variables,), for which x·c comes near y in relative terms, so that small layers count.

    x: (samples, variables) not negative; y: (samples,) above zero, seconds. `signed` lets coefficients be negative, as
    in printed regressions; else none is: no layer gets quicker by more work.
    """
    scale = np.abs(x).max(axis=0)
    scale[scale == 0] = 1.0
    rows = x / scale / y[:, None]
    weights = np.ones(len(y))
    solved = np.zeros(x.shape[1])
    for _ in range(_ROUNDS):
        root = np.sqrt(weights)
        a, b = rows * root[:, None], root
        solved = np.linalg.lstsq(a, b, rcond=None)[0] if signed else nnls(a, b)
        residual = np.abs(rows @ solved - 1.0)
        typical = max(_LEAST_SCALE, 1.4826 * float(np.median(residual)))
        weights = 1.0 / np.maximum(1.0, residual / (_HUBER * typical))
    return np.asarray(solved / scale)


def nnls(a: Array, b: Array) -> Array:
    """The x ≥ 0 that minimises |a·x − b| (Lawson, Hanson: Solving Least Squares Problems, 1974, chapter 23).

    Exact for any full-rank set of columns; columns that add nothing stay at 0.
    """
    x = np.zeros(a.shape[1])
    passive = np.zeros(a.shape[1], dtype=bool)
    gram, target = a.T @ a, a.T @ b
    tolerance = 1e-10 * max(1e-300, float(np.abs(target).max(initial=0.0)))
    for _ in range(3 * a.shape[1] + 3):
        gradient = np.where(passive, -np.inf, target - gram @ x)
        if not (gradient > tolerance).any():
            break
        passive[int(np.argmax(gradient))] = True
        x = _settled(a, b, x, passive)
    return x


def _settled(a: Array, b: Array, x: Array, passive: NDArray[np.bool_]) -> Array:
    """The least-squares solution over the passive columns, which gives columns up until none is negative."""
    while True:
        trial = np.zeros_like(x)
        trial[passive] = np.linalg.lstsq(a[:, passive], b, rcond=None)[0]
        bad = passive & (trial <= 0)
        if not bad.any():
            return trial
        step = float(np.min(x[bad] / np.maximum(x[bad] - trial[bad], 1e-300)))
        x = x + step * (trial - x)
        passive &= x > 1e-14 * max(1e-300, float(x.max()))
        x = np.where(passive, x, 0.0)

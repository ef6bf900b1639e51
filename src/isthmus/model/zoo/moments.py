"""Mean and variance of activations in a randomly initialised network, followed analytically.

A convolution whose random weights sum to zero (or whose bias takes the mean out, as a folded batch norm does) has
zero-mean outputs whose variance is fan_in · var(w) · var(x), whatever the correlations of x. Only the non-linear steps
need an assumption: their input is taken as normal. Tests compare with what onnxruntime computes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_GRID = np.linspace(-8.0, 8.0, 3201)
_DENSITY = np.exp(-0.5 * _GRID**2)
_DENSITY /= _DENSITY.sum()

SPATIAL_CORRELATION = 4.0
"""An average over n positions has 1/n of the variance times this: receptive fields overlap. Measured over the zoo."""


class Moments(NamedTuple):
    """Mean and variance of a tensor's values over inputs, channels and positions."""

    mean: float
    var: float

    @property
    def power(self) -> float:
        """E[x²]."""
        return self.var + self.mean**2


def relu(x: Values) -> Values:
    return np.maximum(x, 0.0)


def sigmoid(x: Values) -> Values:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def silu(x: Values) -> Values:
    return x * sigmoid(x)


@lru_cache(maxsize=4096)
def through(function: Callable[[Values], Values], x: Moments) -> Moments:
    """Moments of f(x) for normal x.

    >>> through(relu, Moments(0.0, 1.0))  # 1/√(2π) and 1/2 − 1/(2π)
    Moments(mean=0.3989..., var=0.3408...)
    """
    values = function(x.mean + np.sqrt(x.var) * _GRID)
    mean = float(values @ _DENSITY)
    return Moments(mean, float((values - mean) ** 2 @ _DENSITY))


@lru_cache(maxsize=256)
def after_max(x: Moments, count: int) -> Moments:
    """Moments of the maximum of `count` independent normal values, rectified at what `x` was rectified at or not.

    The distribution's tail decides, so the normal with x's moments is good enough (within 10 % of ReLU's).
    """
    cumulative = np.cumsum(_DENSITY) ** count
    density = np.diff(cumulative, prepend=0.0)
    values = x.mean + np.sqrt(x.var) * _GRID
    mean = float(values @ density)
    return Moments(mean, float((values - mean) ** 2 @ density))


def after_average(x: Moments, count: int) -> Moments:
    """Moments of the mean over `count` positions of one channel."""
    return Moments(x.mean, x.var * min(1.0, SPATIAL_CORRELATION / count))


def after_sum(a: Moments, b: Moments) -> Moments:
    """Moments of a + b, uncorrelated."""
    return Moments(a.mean + b.mean, a.var + b.var)


def after_product(a: Moments, b: Moments) -> Moments:
    """Moments of a · b, independent."""
    mean = a.mean * b.mean
    return Moments(mean, a.power * b.power - mean**2)


def mixed(parts: list[tuple[Moments, int]]) -> Moments:
    """Moments of a concatenation: parts with their numbers of channels."""
    total = sum(n for _, n in parts)
    mean = sum(m.mean * n for m, n in parts) / total
    return Moments(mean, sum(m.power * n for m, n in parts) / total - mean**2)

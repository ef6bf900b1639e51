"""How the values of activations are distributed in a randomly initialised network, followed analytically.

A convolution with random weights whose bias takes the mean out (as a folded batch norm does) has normal outputs of mean
zero and variance fan_in · var(w) · var(x), whatever the correlations of x. Everything between convolutions acts on the
distribution itself, kept as 1024 equally likely values. Tests compare with what onnxruntime computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_COUNT = 1024
_PLACES = (np.arange(_COUNT) + 0.5) / _COUNT
_NORMAL = np.array([NormalDist().inv_cdf(p) for p in _PLACES.tolist()])
_NORMAL /= _NORMAL.std()
_SHUFFLED = np.array([int(f"{i:010b}"[::-1], 2) for i in range(_COUNT)])
"""Bit reversal: pairs two sorted samples as if they were independent, exactly and without chance."""

OVERLAP = 4.0
"""Averaging n positions leaves 1/n of the variance times this, for neighbours' receptive fields overlap."""
BETWEEN = 0.03
"""Share of the variance that lies between channels, which averaging positions leaves. Both measured over the zoo."""


@dataclass(frozen=True, eq=False)
class Law:
    """A distribution as 1024 equally likely values in rising order."""

    values: Values

    @cached_property
    def mean(self) -> float:
        return float(self.values.mean())

    @cached_property
    def var(self) -> float:
        return float(self.values.var())


def normal(mean: float, std: float) -> Law:
    """
    >>> round(normal(1.0, 2.0).var, 3)
    4.0
    """
    return Law(mean + std * _NORMAL)


def through(function: Callable[[Values], Values], x: Law) -> Law:
    """The law of f(x).

    >>> round(through(relu, normal(0.0, 1.0)).mean, 3)  # 1/√(2π)
    0.399
    """
    return Law(np.sort(function(x.values)))


def after_max(x: Law, count: int) -> Law:
    """The law of the greatest of `count` independent values."""
    return Law(np.interp(_PLACES ** (1.0 / count), _PLACES, x.values))


def after_average(x: Law, count: int) -> Law:
    """The law of the mean over `count` positions of a channel."""
    return normal(x.mean, (x.var * min(1.0, OVERLAP / count + BETWEEN)) ** 0.5)


def after_sum(a: Law, b: Law) -> Law:
    """The law of a + b, independent."""
    return Law(np.sort(a.values + b.values[_SHUFFLED]))


def after_product(a: Law, b: Law) -> Law:
    """The law of a · b, independent."""
    return Law(np.sort(a.values * b.values[_SHUFFLED]))


def mixed(parts: Sequence[tuple[Law, int]]) -> Law:
    """The law of a concatenation: parts with their numbers of channels."""
    values = np.concatenate([law.values for law, _ in parts])
    weights = np.concatenate([np.full(_COUNT, n / _COUNT) for _, n in parts])
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return Law(np.interp(_PLACES, (reached - weights[order] / 2) / reached[-1], values[order]))


def relu(x: Values) -> Values:
    return np.maximum(x, 0.0)


def relu6(x: Values) -> Values:
    return np.clip(x, 0.0, 6.0)


def sigmoid(x: Values) -> Values:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def silu(x: Values) -> Values:
    return x * sigmoid(x)

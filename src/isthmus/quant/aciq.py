"""Where to clip a bell-shaped distribution before it is quantised uniformly, worked out instead of searched for.

Banner, Nahshan, Soudry, "Post training 4-bit quantization of convolutional networks for rapid-deployment", NeurIPS 2019
(ACIQ), section 3: clipping at ±α costs what lies outside, quantising [-α, α] into n steps costs (2α/n)²/12 a value.

Laplace of scale b:  2b²·exp(-α/b) + α²/(3n²), least where (α/b)·exp(α/b) = 3n².
Gauss of deviation σ: (σ² + α²)·erfc(α/(σ√2)) - σα√(2/π)·exp(-α²/(2σ²)) + α²/(3n²).

A rectified tensor has only the upper half: n steps over [0, α] are as fine as 2n over [-α, α].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

SHAPE_BORDER = (1 / math.sqrt(2) + math.sqrt(2 / math.pi)) / 2
"""Mean deviation over standard deviation: 0.707 for a Laplace distribution, 0.798 for a Gaussian; which of the two a
tensor is taken for is decided half-way."""


@cache
def laplace_clip(steps: int) -> float:
    """The best α/b for so many steps over [-α, α].

    >>> [round(laplace_clip(2**bits), 2) for bits in (2, 3, 4)]  # the paper: 2.83, 3.89, 5.03
    [2.83, 3.9, 5.03]
    """
    wanted = math.log(3.0 * steps * steps)
    return _root(lambda t: t + math.log(t) - wanted, 1e-9, wanted + 1.0)


@cache
def gauss_clip(steps: int) -> float:
    """The best α/σ for so many steps over [-α, α].

    >>> [round(gauss_clip(2**bits), 2) for bits in (2, 3, 4)]
    [1.71, 2.15, 2.56]
    """

    def slope(t: float) -> float:
        tail = t * math.erfc(t / math.sqrt(2)) - math.sqrt(2 / math.pi) * math.exp(-t * t / 2)
        return tail + t / (3.0 * steps * steps)

    return _root(slope, 0.0, 40.0)


def clip_at(mean_deviation: float, deviation: float, steps: int) -> float:
    """α for a distribution around zero of this mean deviation E|x| and standard deviation, `steps` over [-α, α]."""
    if mean_deviation < SHAPE_BORDER * deviation:
        return laplace_clip(steps) * mean_deviation
    return gauss_clip(steps) * deviation


def _root(rises: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that rises through zero does so, by halving."""
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if rises(middle) < 0 else (low, middle)
    return (low + high) / 2

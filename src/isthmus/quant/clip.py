"""Which range of an activation to spend the bits on, four ways.

    minmax      all that was seen
    percentile  without the outermost 0.01 % on either side (as post-training calibrators usually do)
    mse         the range of least mean square error on what was seen, by search
    aciq        the range of least expected error for a bell of the same spread, worked out (`isthmus.quant.aciq`)

The first two do not know the bits; the last two narrow as the bits go down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from isthmus.quant.aciq import clip_at
from isthmus.quant.histogram import Histogram
from isthmus.quant.steps import Steps
from isthmus.quant.types import RangeName

OUTERMOST = 1e-4
"""Share of the values left out on either side by `percentile`."""
FRACTIONS = np.concatenate([np.arange(99, 79, -1) / 100, 0.8 * 0.96 ** np.arange(1, 108)])
"""What `mse` tries of the range seen: down to 0.8 by hundredths, to 0.01 by 4 %. The error is flat around its least
value, but less so where there are many bits and little is clipped."""


def steps_for(seen: Histogram, bits: int, method: RangeName) -> Steps:
    """The quantiser of an activation at a width of 1 to 8 bits."""
    return METHODS[method](seen, bits)


def minmax(seen: Histogram, bits: int) -> Steps:
    """All that was seen."""
    return Steps.between(seen.low, seen.high, bits)


def percentile(seen: Histogram, bits: int) -> Steps:
    """Without the outermost values on either side."""
    values, counts = seen.points()
    order = np.argsort(values, kind="stable")
    share = np.cumsum(counts[order]) / max(1, seen.count)
    low, high = np.searchsorted(share, [OUTERMOST, 1 - OUTERMOST])
    return Steps.between(values[order[low]], values[order[min(high, len(order) - 1)]], bits)


def mse(seen: Histogram, bits: int) -> Steps:
    """The least error found: both ends drawn in together, then each alone."""
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    best = _best(seen, [Steps.between(low, high, bits), *(Steps.between(low * f, high * f, bits) for f in FRACTIONS)])
    if low < 0.0 < high:
        for _ in range(2):
            now, then = best.limits
            best = _best(seen, [best, *(Steps.between(now, f * high, bits) for f in FRACTIONS)])
            now, then = best.limits
            best = _best(seen, [best, *(Steps.between(f * low, then, bits) for f in FRACTIONS)])
    return best


def aciq(seen: Histogram, bits: int) -> Steps:
    """Clipped as a Laplace or Gauss bell of the same spread would be; half a bell where nothing is negative."""
    steps = (1 << bits) - 1
    values, counts = seen.points()
    if seen.low >= 0.0 or seen.high <= 0.0:
        inside = max(1, seen.count - seen.zeros)
        spread = float(np.dot(np.abs(values), counts)) / inside
        deviation = float(np.sqrt(np.dot(values * values, counts) / inside))
        reach = clip_at(spread, deviation, 2 * steps)
        return Steps.between(max(seen.low, -reach), min(seen.high, reach), bits)
    spread = float(np.dot(np.abs(values - seen.mean), counts)) / max(1, seen.count)
    reach = clip_at(spread, seen.std, steps)
    return Steps.between(max(seen.low, seen.mean - reach), min(seen.high, seen.mean + reach), bits)


def _best(seen: Histogram, choices: Iterable[Steps]) -> Steps:
    """The choice of least error, the first of equals."""
    values, counts = seen.points()
    return min(choices, key=lambda steps: steps.spread_error(values, counts))


METHODS: dict[RangeName, Callable[[Histogram, int], Steps]] = {
    "minmax": minmax,
    "percentile": percentile,
    "mse": mse,
    "aciq": aciq,
}

"""Random filters whose outputs have mean zero and a chosen spread, and still tell inputs apart.

Drawn plainly (He), a deep network maps all inputs to nearly parallel activations: whatever is added to each input alike
(the mean after a ReLU, its absence at zero-padded borders) survives every layer while differences average out. So where
the input has a mean, dense filters sum to zero over the channels at every tap, which holds at borders too; a depthwise
filter, which that would leave with nothing, has its input's mean taken out by the bias, as batch norm would.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from isthmus.model.zoo.statistics import Spread

_CHUNK = 1 << 18
"""Weights made at a time: one megabyte stays in the cache."""


def filters(
    rng: np.random.Generator, dims: tuple[int, ...], x: Spread, gain: float, seen: NDArray[np.float32]
) -> tuple[bytes, bytes]:
    """Raw float32 weights of shape `dims` (outputs, inputs, taps …) and biases, for outputs of standard deviation
    `gain` given inputs of spread `x`. `seen` is, for each tap, the share of positions at which it is not on padding."""
    outputs, channels, taps = dims[0], dims[1], math.prod(dims[2:])
    depthwise = channels == 1
    zero_sum = x.mean != 0.0 and not depthwise
    scale = np.float32(gain / (x.std * math.sqrt((channels - zero_sum) * float(seen.sum()))))
    biases = np.zeros(outputs, np.float32)
    written, step = [], max(1, _CHUNK // (channels * taps))
    for start in range(0, outputs, step):
        rows = rng.standard_normal((min(step, outputs - start), channels, taps), dtype=np.float32)
        if zero_sum:
            rows -= rows.mean(axis=1, keepdims=True)
        rows *= scale
        if depthwise:
            # nine draws are too few to leave the length of a filter to chance
            rows *= np.float32(gain / x.std) / np.sqrt((rows**2 * seen).sum(axis=2, keepdims=True))
        if not zero_sum:
            biases[start : start + step] = -np.float32(x.mean) * (rows * seen).sum(axis=(1, 2))
        written.append(rows.tobytes())
    return b"".join(written), biases.tobytes()


def tap_shares(
    sizes: tuple[int, ...], kernel: int, stride: int, pads: tuple[int, int, int, int]
) -> NDArray[np.float32]:
    """For each tap of a k × k filter, row by row, the share of output positions at which it is not on padding."""
    axes = []
    for size, low, high in zip(sizes, pads[:2], pads[2:], strict=True):
        places = np.arange((size + low + high - kernel) // stride + 1) * stride - low
        at = places[:, None] + np.arange(kernel)
        axes.append(((at >= 0) & (at < size)).mean(axis=0))
    shares: NDArray[np.float32] = np.outer(*axes).ravel().astype(np.float32)
    return shares

"""What values a crossing tensor takes, channel by channel: learnt once from calibration data, then constant.

The range decides what a few bits can carry: a minimum-maximum range of the whole tensor collapses at 2 bits, while a
clip a few standard deviations wide, one a channel, holds the accuracy (Banner et al., "Post training 4-bit
quantization of convolutional networks for rapid-deployment", NeurIPS 2019, argue the same clip from the distribution).
The best clip narrows as the bits go down.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from isthmus.errors import BadInput

Floats = NDArray[np.float64]

MAX_CHANNELS = 1 << 20
"""More channels than any network has; a file that announces more is refused."""
_LARGEST = float(np.finfo(np.float32).max)
_SIGMAS = {4: 3.0, 3: 3.0, 2: 2.0, 1: 0.8}
"""Half-width of the clip in standard deviations: MobileNetV2, four cuts, 650 ImageNet images (±3 at 4 and 3 bits within
a point everywhere; ±2 at 2 bits), and for two levels those of least error for a normal distribution, √(2/π) (Max,
"Quantizing for minimum distortion", 1960). Wider codes take the whole range."""


def narrows(bits: int) -> bool:
    """Whether codes of this width take less than the whole range."""
    return bits in _SIGMAS


def sigmas(bits: int) -> float:
    """How many standard deviations on either side of the mean codes of this width take; inf: all there is."""
    return _SIGMAS.get(bits, math.inf)


def narrowed(bits: int, mean: Floats, std: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """The part of [low, high] worth spending `bits` on: mean ± 3σ at 4 and 3 bits, ± 2σ at 2, ± 0.8σ at 1, all of it at
    more."""
    if not narrows(bits):
        return low, high
    reach = _SIGMAS[bits] * std
    return np.maximum(low, mean - reach), np.minimum(high, mean + reach)


class ChannelClip(BaseModel):
    """Statistics of one crossing tensor, one entry a channel (axis 1), or a single entry for the whole tensor.

    `low` and `high` are the least and greatest values seen. All four have the same length; every number is finite and
    fits float32. Raises BadInput where that does not hold.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @field_validator("mean", "std", "low", "high", mode="before")
    @classmethod
    def _numbers(cls, values: Any) -> Any:
        if not isinstance(values, (list, tuple)) or not 1 <= len(values) <= MAX_CHANNELS:
            raise BadInput(f"a channel clip needs lists of 1 to {MAX_CHANNELS} numbers")
        for value in values:
            if type(value) not in (int, float) or not abs(value) <= _LARGEST:
                raise BadInput(f"a channel clip holds {value!r}; every entry must be a finite float32 number")
        return values

    @model_validator(mode="after")
    def _consistent(self) -> ChannelClip:
        lengths = {len(self.mean), len(self.std), len(self.low), len(self.high)}
        if len(lengths) != 1:
            raise BadInput(f"a channel clip needs equal lengths, not {sorted(lengths)}")
        for i, (mean, std, low, high) in enumerate(zip(self.mean, self.std, self.low, self.high, strict=True)):
            if not (low <= mean <= high and std >= 0):
                raise BadInput(
                    f"channel {i} of a clip needs low <= mean <= high and std >= 0, not {low}, {mean}, {high}, {std}"
                )
        return self

    @property
    def channels(self) -> int:
        """Number of entries; 1 is a clip of the whole tensor."""
        return len(self.mean)

    def limits(self, bits: int) -> tuple[Floats, Floats]:
        """(low, high) to quantise between at this width, two (channels,) float64 arrays.

        The range seen at 8 to 5 bits; mean ± 3σ at 4 and 3, ± 2σ at 2, ± 0.8σ at 1, never beyond what was seen (so the
        zero of a rectified tensor stays its lower end). A constant channel has low == high.
        """
        mean, std, low, high = (np.array(v, np.float64) for v in (self.mean, self.std, self.low, self.high))
        return narrowed(bits, mean, std, low, high)


class Calibrator:
    """Collects a `ChannelClip` from batches, in one pass and constant memory.

    Counts, means and squared deviations are merged in float64 (Chan, Golub, LeVeque, "Updating formulae and a pairwise
    algorithm for computing sample variances", 1979), so the answer does not depend on how the data are batched.

    >>> seen = Calibrator()
    >>> seen.update(np.array([[[0.0, 2.0], [5.0, 5.0]]], np.float32))
    >>> seen.get().mean, seen.get().std
    ((1.0, 5.0), (1.0, 0.0))
    """

    def __init__(self, *, per_channel: bool | None = None) -> None:
        """`per_channel=False` collects one entry for the whole tensor. None decides by the first batch: one a channel
        where a sample has several values in a channel, one for the tensor where it is a vector of features (of
        MobileNetV2's 1,280, a range each, known from 100 images, keeps 98.5 % of the answers at 8 bits, one 99.6 %).
        """
        self._per_channel = per_channel
        self._count = 0
        self._mean: Floats = np.zeros(0)
        self._squares: Floats = np.zeros(0)
        self._low: Floats = np.zeros(0)
        self._high: Floats = np.zeros(0)

    def update(self, x: NDArray[np.generic]) -> None:
        """Take in one batch of any float dtype, (N, C, ...) where statistics are per channel.

        An empty batch changes nothing. Raises BadInput for values that are not finite and for another channel count.
        """
        rows = self._rows(x)
        if rows.size == 0:
            return
        low, high = rows.min(axis=1).astype(np.float64), rows.max(axis=1).astype(np.float64)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise BadInput("calibration data hold a value that is not finite")
        mean = rows.mean(axis=1, dtype=np.float64)
        squares = np.square(rows - mean[:, None]).sum(axis=1)
        if self._count == 0:
            self._count, self._mean, self._squares, self._low, self._high = rows.shape[1], mean, squares, low, high
            return
        self._merge(rows.shape[1], mean, squares)
        self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)

    def get(self) -> ChannelClip:
        """What was seen so far. Raises BadInput before the first value."""
        if self._count == 0:
            raise BadInput("no calibration data were seen; update the calibrator with at least one batch")
        # rounding may push the mean of a constant channel a hair outside
        mean = np.clip(self._mean, self._low, self._high)
        std = np.sqrt(self._squares / self._count)
        return ChannelClip(
            mean=tuple(mean.tolist()),
            std=tuple(std.tolist()),
            low=tuple(self._low.tolist()),
            high=tuple(self._high.tolist()),
        )

    def _rows(self, x: NDArray[np.generic]) -> NDArray[Any]:
        """x as (channels, values)."""
        values = np.asarray(x)
        if values.dtype.kind != "f":
            raise BadInput(f"only floating-point tensors are calibrated, not {values.dtype}")
        if self._per_channel is None and values.size:
            self._per_channel = math.prod(values.shape[2:]) > 1 and values.ndim > 2
        if not self._per_channel:
            return values.reshape(1, -1)
        if values.ndim < 2 or values.shape[1] == 0:
            raise BadInput(f"a tensor of shape {values.shape} has no channels on axis 1; calibrate it as a whole")
        if self._count and values.shape[1] != self._mean.size:
            raise BadInput(f"calibration began with {self._mean.size} channels and now sees {values.shape[1]}")
        channels = values.shape[1]
        return np.moveaxis(values, 1, 0).reshape(channels, math.prod(values.shape) // channels)

    def _merge(self, count: int, mean: Floats, squares: Floats) -> None:
        total = self._count + count
        delta = mean - self._mean
        self._mean = self._mean + delta * (count / total)
        self._squares = self._squares + squares + np.square(delta) * (self._count * count / total)
        self._count = total

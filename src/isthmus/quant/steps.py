"""The uniform quantiser of an activation: one scale and one zero point a tensor, zero a level of its own.

x ≈ (q - zero_point)·scale with q in 0 … 2^bits - 1: the scheme of Jacob et al. (CVPR 2018) and of ONNX's
QuantizeLinear on unsigned bytes. Zero must be met exactly, for convolutions pad with it; so the range is widened to
hold zero and shifted by less than half a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import BadInput
from isthmus.quant.ranges import ChannelClip
from isthmus.quant.scratch import SLAB
from isthmus.quant.uniform import Range

_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Steps:
    """Levels 0 … 2^bits - 1 of one activation. `scale` is a float32 number above zero."""

    scale: float
    zero_point: int
    bits: int

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8:
            raise BadInput(f"activations take 1 to 8 bits, not {self.bits}")
        if not (0 < self.scale < np.inf and 0 <= self.zero_point <= self.levels):
            raise BadInput(f"a step of {self.scale} with zero at {self.zero_point} is no quantiser")

    @classmethod
    def between(cls, low: float, high: float, bits: int) -> Steps:
        """Levels that span [low, high] with zero in it. A range of nothing gets a step of one. `limits` of the result
        give the same steps again."""
        low, high = min(low, 0.0), max(high, 0.0)
        levels = (1 << bits) - 1
        scale = float(np.float32((high - low) / levels))
        if scale < _TINY:
            return cls(1.0, 0, bits)
        return cls(scale, min(levels, round(-low / scale)), bits)

    @property
    def levels(self) -> int:
        """The greatest level."""
        return (1 << self.bits) - 1

    @property
    def limits(self) -> tuple[float, float]:
        """The least and greatest value that come out."""
        return -self.zero_point * self.scale, (self.levels - self.zero_point) * self.scale

    @property
    def clip(self) -> ChannelClip:
        """The same range as a codec's calibration: at this width it writes these very levels, and nothing is lost."""
        low, high = self.limits
        return ChannelClip(mean=((low + high) / 2,), std=(high - low,), low=(low,), high=(high,))

    def symbols(self, x: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The levels of x, of its shape; what lies outside saturates."""
        out = np.empty(x.size, np.uint8)
        self._range.quantise(np.ascontiguousarray(x).reshape(-1), out, saturate=True)
        return out.reshape(x.shape)

    def restored(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """What x comes back as."""
        out = np.empty(x.size, np.float32)
        self._range.restore(self.symbols(x).reshape(-1), out)
        return out.reshape(x.shape)

    def square_error(self, x: NDArray[np.float32]) -> float:
        """Sum of the squared differences between x and what it comes back as, a piece at a time."""
        flat, total = np.ascontiguousarray(x).reshape(-1), 0.0
        for first in range(0, flat.size, SLAB):
            piece = flat[first : first + SLAB]
            lost = self.restored(piece)
            np.subtract(lost, piece, out=lost)
            total += float(np.dot(lost, lost))
        return total

    def spread_error(self, values: NDArray[Any], counts: NDArray[Any]) -> float:
        """The same for `counts` times each of `values` (float64)."""
        level = np.clip(np.rint(values / self.scale) + self.zero_point, 0, self.levels)
        lost = (level - self.zero_point) * self.scale - values
        return float(np.dot(counts, lost * lost))

    @property
    def _range(self) -> Range:
        return Range.between(*self.limits, self.levels)

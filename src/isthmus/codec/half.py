"""Half the bytes: IEEE 754 binary16."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.codec.lengths import elements, float32, need_float32, need_length, octets
from isthmus.codec.types import Array

_LARGEST = 65504.0


@dataclass(frozen=True)
class Half:
    """float32 rounded to float16: 11 significant bits. Finite values beyond ±65504 become ±65504; infinities and NaN
    stay what they are."""

    name: str = "float16"

    def dump(self, x: Array) -> memoryview:
        """Two bytes an element, little-endian. Raises BadInput unless x is float32."""
        values = float32(x, self.name)
        if not _fits(values):
            values = np.where(np.isfinite(values), np.clip(values, -_LARGEST, _LARGEST), values)
        return values.astype("<f2").reshape(-1).view(np.uint8).data

    def load(self, payload: memoryview, shape: tuple[int, ...], dtype: str) -> Array:
        """float32 again. Raises BadFrame when the payload has not exactly two bytes an element."""
        need_float32(dtype, self.name)
        need_length(payload, self.payload_bytes(shape, 4), shape, self.name)
        return octets(payload).view("<f2").astype(np.float32).reshape(shape)

    def payload_bytes(self, shape: tuple[int, ...], itemsize: int) -> int:
        """Two bytes an element, exactly."""
        return 2 * elements(shape)

    def bound(self, x: Array) -> float:
        """Over the finite values: 2⁻¹¹ of the largest magnitude (2⁻²⁵ near zero), or its distance to ±65504 beyond."""
        values = float32(x, self.name)
        finite = values[np.isfinite(values)].astype(np.float64)
        largest = float(np.abs(finite).max(initial=0.0))
        return max(min(largest, _LARGEST) * 2.0**-11, 2.0**-25, largest - _LARGEST)


def _fits(x: NDArray[np.float32]) -> bool:
    """False where something lies beyond float16 or is NaN."""
    return x.size == 0 or bool(x.min() >= -_LARGEST and x.max() <= _LARGEST)

"""Tensors as they are: nothing lost, nothing copied."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.codec.lengths import DTYPES, dtype_name, elements, layout, need_length, octets
from isthmus.codec.types import Array
from isthmus.errors import BadFrame, BadInput


@dataclass(frozen=True)
class Raw:
    """The bytes of the tensor, little-endian, row by row; any dtype that can cross, not only float32.

    `dump` is a view of the caller's memory (do not change it before it is sent) and `load` a view of the payload,
    read-only where the payload is.
    """

    name: str = "float32"

    def dump(self, x: Array) -> memoryview:
        """The tensor's own memory; a copy only where it is not contiguous. Raises BadInput for a foreign dtype."""
        wire = DTYPES.get(dtype_name(x.dtype))
        if wire is None:
            raise BadInput(f"dtype '{x.dtype}' cannot cross; known are {', '.join(DTYPES)}")
        return np.ascontiguousarray(x, wire).reshape(-1).view(np.uint8).data

    def load(self, payload: memoryview, shape: tuple[int, ...], dtype: str) -> Array:
        """A view of the payload. Raises BadFrame when it has not exactly the bytes of the shape, or is no truth value
        where `bool` is announced."""
        wire = layout(dtype)
        need_length(payload, elements(shape) * wire.itemsize, shape, dtype)
        data = octets(payload)
        if wire.kind == "b" and data.size and data.max() > 1:
            raise BadFrame(f"a bool tensor holds the byte {data.max()}; only 0 and 1 are truth values")
        return data.view(wire).reshape(shape)

    def payload_bytes(self, shape: tuple[int, ...], itemsize: int) -> int:
        """Elements times itemsize."""
        return elements(shape) * itemsize

    def bound(self, x: Array) -> float:
        """Zero."""
        return 0.0

"""Tensors as they are: nothing lost, nothing copied."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.codec.lengths import dtype_name, elements, layout, need_length, octets
from isthmus.errors import BadFrame, BadInput
from isthmus.graph.dtypes import DTYPES
from isthmus.model.types import Array

RAW = "float32"
"""The name of this codec. What is not float32 always crosses by it, and what does not travel is written with it too."""
_HERE = frozenset(DTYPES.values())
"""Dtypes that lie in memory as they travel."""


def lies_as_sent(x: Array) -> bool:
    """Whether the memory of a tensor is what travels when it is sent as it is."""
    return bool(x.size and x.dtype in _HERE and x.flags.c_contiguous)


@dataclass(frozen=True)
class Raw:
    """The bytes of the tensor, little-endian, row by row; any dtype that can cross, not only float32.

    `dump` is a view of the caller's memory (do not change it before it is sent) and `load` a view of the payload,
    read-only where the payload is.
    """

    name: str = RAW

    def dump(self, x: Array) -> memoryview:
        """The tensor's own memory; a copy only where it is not contiguous. Raises BadInput for a foreign dtype."""
        if lies_as_sent(x):
            return memoryview(x).cast("B")  # type: ignore[arg-type]
        wire = DTYPES.get(dtype_name(x.dtype))
        if wire is None:
            raise BadInput(f"dtype '{x.dtype}' cannot cross; known are {', '.join(DTYPES)}")
        return np.ascontiguousarray(x, wire).reshape(-1).view(np.uint8).data

    def load(self, payload: memoryview, shape: tuple[int, ...], dtype: str) -> Array:
        """A view of the payload. Raises BadFrame when it has not exactly the bytes of the shape, or is no truth value
        where `bool` is announced."""
        wire = DTYPES.get(dtype) or layout(dtype)
        count = elements(shape)
        if payload.nbytes != count * wire.itemsize:
            need_length(payload, count * wire.itemsize, shape, dtype)
        if not count:
            return np.empty(shape, wire)
        if wire.kind == "b" and (greatest := octets(payload).max()) > 1:
            raise BadFrame(f"a bool tensor holds the byte {greatest}; only 0 and 1 are truth values")
        data = np.frombuffer(payload, wire) if payload.c_contiguous else octets(payload).view(wire)
        return data.reshape(shape)

    def payload_bytes(self, shape: tuple[int, ...], itemsize: int) -> int:
        """Elements times itemsize."""
        return elements(shape) * itemsize

    def bound(self, x: Array) -> float:
        """Zero."""
        return 0.0

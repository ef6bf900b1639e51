"""What a shape, a dtype and a payload may claim: checked before anything is allocated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import BadFrame, BadInput
from isthmus.graph.dtypes import DTYPES

MAX_AXES = 32
MAX_ELEMENTS = 1 << 40
"""Zero-length axes aside; beyond it numpy's own index arithmetic is not far from overflowing."""

_FLOAT32 = np.dtype(np.float32)
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def dtype_name(dtype: np.dtype[Any]) -> str:
    """numpy's name of a dtype, without numpy's way there (`dtype.name` runs some 50 µs of Python in cold caches)."""
    return _NAMES.get(dtype) or str(dtype.name)


def native_name(dtype: np.dtype[Any]) -> str:
    """The same for what is going to be computed with as it lies in memory: another byte order is another thing."""
    return dtype_name(dtype) if dtype.isnative else f"byte-swapped {dtype.name}"


def elements(shape: tuple[int, ...]) -> int:
    """Number of elements of a shape from outside. Raises BadFrame when it is not one."""
    count, extent = 1, 1
    if len(shape) > MAX_AXES:
        raise BadFrame(f"a shape with {len(shape)} axes is announced; at most {MAX_AXES} are taken")
    for size in shape:
        if type(size) is int and size > 0:  # the usual, in few steps
            count, extent = count * size, extent * size
            continue
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 0:
            raise BadFrame(f"a shape with an axis of {size!r} is announced; sizes are whole numbers from 0 up")
        count, extent = count * int(size), extent * max(1, int(size))
    if extent > MAX_ELEMENTS:
        raise BadFrame(f"a shape of {extent} elements is announced; at most {MAX_ELEMENTS} are taken")
    return count


def layout(dtype: str) -> np.dtype[Any]:
    """The wire's layout of a dtype by name. Raises BadFrame for one that cannot cross."""
    found = DTYPES.get(dtype)
    if found is None:
        raise BadFrame(f"dtype '{dtype}' cannot cross; known are {', '.join(DTYPES)}")
    return found


def need_length(payload: memoryview, expected: int, shape: tuple[int, ...], name: str) -> None:
    """Raise BadFrame unless the payload has exactly the bytes that the shape needs."""
    if payload.nbytes != expected:
        raise BadFrame(f"a tensor of shape {shape} as {name} takes {expected} bytes, the payload has {payload.nbytes}")


def need_float32(dtype: str, name: str) -> None:
    """Raise BadFrame where a frame claims another dtype than the one lossy codecs write."""
    if dtype != "float32":
        raise BadFrame(f"{name} writes float32 tensors only, not '{dtype}'; others cross raw")


def float32(x: NDArray[Any], name: str) -> NDArray[np.float32]:
    """x, contiguous. Raises BadInput unless it is float32."""
    if x.dtype != _FLOAT32:
        raise BadInput(f"{name} writes float32 tensors only, not {x.dtype}; use codec_for, which sends others raw")
    return x if x.flags.c_contiguous else np.ascontiguousarray(x)


def octets(payload: memoryview) -> NDArray[np.uint8]:
    """The payload as bytes, without a copy. Raises BadFrame unless it is contiguous."""
    if not payload.c_contiguous:
        raise BadFrame("a payload must be contiguous memory")
    return np.frombuffer(payload, np.uint8) if payload.nbytes else np.empty(0, np.uint8)

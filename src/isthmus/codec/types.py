"""What every way of writing a crossing tensor promises."""

from __future__ import annotations

from typing import Protocol

from isthmus.model.types import Array


class Codec(Protocol):
    """How one crossing tensor is written on the wire. `load(dump(x))` keeps shape and dtype, its error is within
    `bound(x)`."""

    @property
    def name(self) -> str:
        """As in plans and on the wire: `float32`, `int8`, `jpeg:75`."""

    def dump(self, x: Array) -> bytes | memoryview:
        """One contiguous payload. Shape and dtype travel beside it, not in it."""

    def load(self, payload: memoryview, shape: tuple[int, ...], dtype: str) -> Array:
        """The tensor again, of exactly `shape` and `dtype`. Raises BadFrame when the payload cannot hold it; sizes are
        checked before anything is allocated."""

    def payload_bytes(self, shape: tuple[int, ...], itemsize: int) -> int:
        """Bytes of `dump` for a tensor of this shape, for planning. Exact for fixed-rate codecs, expected for
        others."""

    def bound(self, x: Array) -> float:
        """Greatest absolute error of `load(dump(x))` against x, stated before writing. inf where none can be stated."""

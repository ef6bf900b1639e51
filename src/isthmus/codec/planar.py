"""Eight bits an element to one: a uniform quantiser, its symbols packed planar.

Two forms of one name. With a calibrated clip, both ends know the range of every channel and nothing is sent beside the
symbols. Without one, the range is measured on the tensor at hand and travels in front: all of it at 8 and 6 bits, the
same few standard deviations as a calibrated clip at fewer (2 bits, MobileNetV2: 91-97 % of the answers stay what they
were, against 43-79 % with the least and greatest value).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.codec import eight
from isthmus.codec.lengths import elements, float32, need_float32, need_length, octets
from isthmus.codec.packing import pack, packed_bytes, unpack
from isthmus.errors import BadFrame, BadInput
from isthmus.model.types import Array
from isthmus.quant import ChannelClip, Grid, Range, levels_of, quantise, restore, sigmas

_PREFIX = struct.Struct("<ff")
_SAMPLE = 1 << 13
"""Elements whose mean and deviation stand for the tensor's: within about 1 %."""
_WRITTEN_OUT = 1 << 17
"""Per-channel grids of at most this many values are written out: 1.5 MiB a codec, about 50 µs a call saved."""


@dataclass(frozen=True)
class PlanarRange:
    """Quantised in a range measured on the tensor itself, whose ends travel as two float32 in front.

    What lies outside (at 4 bits and fewer) saturates. Values must be finite: BadInput otherwise (float16 and float32
    carry infinities). `whole`: all of the range at every width, for symbols that are entropy-coded.
    """

    bits: int
    whole: bool = False

    @property
    def name(self) -> str:
        """`int8` … `int1`."""
        return f"int{self.bits}"

    @property
    def ahead_bytes(self) -> int:
        """Bytes that stand before the symbols."""
        return _PREFIX.size

    def dump(self, x: Array) -> memoryview:
        """Eight bytes of range and the packed symbols. Raises BadInput unless x is float32 and finite."""
        if self.bits == 8 and (straight := eight.dump(x)) is not None:
            return straight
        flat = float32(x, self.name).reshape(-1)
        out = np.empty(_PREFIX.size + packed_bytes(flat.size, self.bits), np.uint8)
        direct = self.bits == 8
        symbols = out[_PREFIX.size :] if direct else np.empty(flat.size, np.uint8)
        self._into(flat, out, symbols)
        if not direct:
            pack(symbols, self.bits, out[_PREFIX.size :])
        return out.data

    def symbols(self, x: Array) -> tuple[bytes, NDArray[np.uint8]]:
        """What stands before the symbols, and the symbols in the order of the tensor, one a byte; as in `dump`."""
        flat = float32(x, self.name).reshape(-1)
        ahead, symbols = np.empty(_PREFIX.size, np.uint8), np.empty(flat.size, np.uint8)
        self._into(flat, ahead, symbols)
        return ahead.tobytes(), symbols

    def load(self, payload: memoryview, shape: tuple[int, ...], dtype: str) -> Array:
        """The tensor again. Raises BadFrame for a payload of the wrong length or with a range that is none."""
        need_float32(dtype, self.name)
        count = elements(shape)
        need_length(payload, _PREFIX.size + packed_bytes(count, self.bits), shape, self.name)
        data = octets(payload)
        if self.bits == 8 and count and (straight := eight.load(payload, count, shape)) is not None:
            return straight
        symbols = data[_PREFIX.size :]
        if self.bits != 8:
            packed, symbols = symbols, np.empty(count, np.uint8)
            unpack(packed, self.bits, symbols)
        return self.values(data, symbols, shape)

    def values(self, ahead: NDArray[np.uint8], symbols: NDArray[np.uint8], shape: tuple[int, ...]) -> Array:
        """The tensor that has these symbols. Raises BadFrame where what stood before them is no range."""
        low, high = _PREFIX.unpack_from(ahead.data)
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise BadFrame(f"the payload of {self.name} announces a range from {low} to {high}")
        out = np.empty(symbols.size, np.float32)
        self._over(low, high).restore(symbols, out)
        return out.reshape(shape)

    def payload_bytes(self, shape: tuple[int, ...], itemsize: int) -> int:
        """Exact: eight bytes and the packed symbols."""
        return _PREFIX.size + packed_bytes(elements(shape), self.bits)

    def bound(self, x: Array) -> float:
        """Half a step, or the distance of the farthest value from the range; and rounding."""
        flat = float32(x, self.name).reshape(-1)
        least, greatest = _ends(flat, self.name)
        ends = self._range(flat, least, greatest)
        return self._over(*ends).grid.error(np.array([least]), np.array([greatest]))

    def _into(self, flat: NDArray[np.float32], ahead: NDArray[np.uint8], symbols: NDArray[np.uint8]) -> None:
        """Write the range and the symbols."""
        least, greatest = _ends(flat, self.name)
        low, high = self._range(flat, least, greatest)
        _PREFIX.pack_into(ahead.data, 0, low, high)
        self._over(low, high).quantise(flat, symbols, saturate=least < low or greatest > high)

    def _range(self, x: NDArray[np.float32], least: float, greatest: float) -> tuple[float, float]:
        """The ends to send, float32 numbers between the least and the greatest value."""
        wide = math.inf if self.whole else sigmas(self.bits)
        if x.size == 0 or wide == math.inf:
            return least, greatest
        mean, std = _moments(x)
        if not std > 0:
            return least, greatest
        # rounding may push the mean a hair outside
        mean, reach = min(max(mean, least), greatest), wide * std
        low, high = _PREFIX.unpack(_PREFIX.pack(max(least, mean - reach), min(greatest, mean + reach)))
        return low, high

    def _over(self, low: float, high: float) -> Range:
        return Range.between(low, high, (1 << self.bits) - 1)


class PlanarClip:
    """Quantised between calibrated limits, one pair a channel (axis 1) or one for the tensor; only symbols are sent.

    What lies outside saturates. Values must be finite: BadInput otherwise. `whole`: all that was seen lies inside at
    every width, for symbols that are entropy-coded.
    """

    def __init__(self, bits: int, clip: ChannelClip, *, whole: bool = False) -> None:
        self.bits = bits
        self.clip = clip
        self._grid = Grid.between(*clip.limits(8 if whole else bits), (1 << bits) - 1)
        self._written_out: tuple[int, Grid] | None = None

    @property
    def name(self) -> str:
        """`int8` … `int1`."""
        return f"int{self.bits}"

    @property
    def ahead_bytes(self) -> int:
        """Bytes that stand before the symbols: none."""
        return 0

    def dump(self, x: Array) -> memoryview:
        """The packed symbols. Raises BadInput unless x is float32, finite and has the clip's channels."""
        _, symbols = self.symbols(x)
        if self.bits == 8:
            return symbols.data
        out = np.empty(packed_bytes(symbols.size, self.bits), np.uint8)
        pack(symbols, self.bits, out)
        return out.data

    def symbols(self, x: Array) -> tuple[bytes, NDArray[np.uint8]]:
        """Nothing, and the symbols in the order of the tensor, one a byte; as in `dump`."""
        if (known := levels_of(x, self.bits, self.clip)) is not None:
            return b"", known.reshape(-1)
        values = float32(x, self.name)
        planes = self._planes(values.shape)
        if planes is None:
            raise BadInput(self._mismatch(values.shape))
        _ends(values, self.name)
        symbols = np.empty(planes, np.uint8)
        quantise(values.reshape(planes), self._grid_for(planes), symbols, saturate=True)
        return b"", symbols.reshape(-1)

    def load(self, payload: memoryview, shape: tuple[int, ...], dtype: str) -> Array:
        """The tensor again. Raises BadFrame for a payload of the wrong length or a shape with other channels."""
        need_float32(dtype, self.name)
        need_length(payload, self.payload_bytes(shape, 4), shape, self.name)
        data = octets(payload)
        if self.bits == 8:
            return self.values(data, data, shape)
        symbols = np.empty(math.prod(shape), np.uint8)
        unpack(data, self.bits, symbols)
        return self.values(data, symbols, shape)

    def values(self, _ahead: NDArray[np.uint8], symbols: NDArray[np.uint8], shape: tuple[int, ...]) -> Array:
        """The tensor that has these symbols. Raises BadFrame for a shape with other channels than the clip."""
        planes = self._planes(shape)
        if planes is None:
            raise BadFrame(self._mismatch(shape))
        out = np.empty(planes, np.float32)
        restore(symbols.reshape(planes), self._grid_for(planes), out)
        return out.reshape(shape)

    def payload_bytes(self, shape: tuple[int, ...], itemsize: int) -> int:
        """Exact: the packed symbols."""
        return packed_bytes(elements(shape), self.bits)

    def bound(self, x: Array) -> float:
        """Half a step of the coarsest channel, or the farthest a value lies outside its limits; and rounding."""
        values = float32(x, self.name)
        planes = self._planes(values.shape)
        if planes is None:
            raise BadInput(self._mismatch(values.shape))
        _ends(values, self.name)
        if values.size == 0:
            return 0.0
        rows = values.reshape(planes)
        return self._grid.error(rows.min(axis=(0, 2)).astype(np.float64), rows.max(axis=(0, 2)).astype(np.float64))

    def _planes(self, shape: tuple[int, ...]) -> tuple[int, int, int] | None:
        """(samples, channels, values a channel), None where the shape has other channels than the clip."""
        if self.clip.channels == 1:
            return 1, 1, math.prod(shape)
        if len(shape) < 2 or shape[1] != self.clip.channels:
            return None
        return shape[0], shape[1], math.prod(shape[2:])

    def _mismatch(self, shape: tuple[int, ...]) -> str:
        return f"{self.name} was calibrated for {self.clip.channels} channels; a tensor of shape {shape} has others"

    def _grid_for(self, planes: tuple[int, int, int]) -> Grid:
        _, channels, plane = planes
        if channels == 1 or channels * plane > _WRITTEN_OUT:
            return self._grid
        # two threads may both write it out once; either result is right
        kept = self._written_out
        if kept is None or kept[0] != plane:
            kept = self._written_out = (plane, self._grid.spread(plane))
        return kept[1]


def _ends(x: NDArray[np.float32], name: str) -> tuple[float, float]:
    """Least and greatest value, (0, 0) of an empty tensor. Raises BadInput where something is not finite."""
    if x.size == 0:
        return 0.0, 0.0
    flat = x.reshape(-1)  # reduce itself: .min() and .max() go through more of Python
    low, high = float(np.minimum.reduce(flat)), float(np.maximum.reduce(flat))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise BadInput(f"{name} takes finite values only, this tensor has {low} to {high}; use float16 or float32")
    return low, high


def _moments(x: NDArray[np.float32]) -> tuple[float, float]:
    """Mean and standard deviation, near enough for a clip, from every k-th element (all would double the time of
    the encoding); k has no divisor in common with the size, so that it meets every row and channel alike."""
    apart = max(1, x.size // _SAMPLE)
    while math.gcd(apart, x.size) != 1:
        apart += 1
    # In float64 no square overflows, and the difference below is good to 1e-7 of the mean. Plain sums: .mean() and
    # .std() spend 40 µs on their way to them.
    some = x[::apart].astype(np.float64)
    mean = float(np.add.reduce(some)) / some.size
    square = float(np.add.reduce(np.multiply(some, some, out=some))) / some.size
    return mean, math.sqrt(max(0.0, square - mean * mean))

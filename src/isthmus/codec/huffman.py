"""Fewer bits again: the symbols of a planar codec, neighbours side by side in a byte, as a Huffman-coded stream.

Few-bit features are not evenly spread over their levels, and neighbours are alike. Two symbols of 4 or 3 bits (four of
2, eight of 1) that stand next to each other in the tensor make one byte, and the bytes are written as a deflate stream
of literals only (RFC 1951): a code table, then every byte by its Huffman code. A byte of neighbours has their joint
statistics, so this is less than coding each symbol by itself could ever be.

Measured on MobileNetV2's features of 24 × 56 × 56 and of 160 × 7 × 7, bits an element: 2 bits 1.47 and 1.58 here, 1.60
and 1.68 an ideal coder of the same symbols one by one with a calibrated table for each channel; 4 bits 3.14 and 3.28
against 3.27 and 3.38. A table made anew for each tensor costs 50-100 bytes; it needs no calibration and no agreement.
Other coders looked at, for 50,176 elements of 4 bits, writing and reading: this one 0.33 ms; an ANS coder with
a calibrated table a channel (constriction 0.5) 1.2 ms and no fewer bytes; zstd's first level 0.07 ms and up to
5 % more bytes, and a dependency.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.codec.lengths import elements, need_float32, octets
from isthmus.codec.packing import Octets
from isthmus.codec.planar import PlanarClip, PlanarRange
from isthmus.errors import BadFrame
from isthmus.model.types import Array

SUFFIX = "+huffman"
_TOGETHER = {8: 1, 7: 1, 6: 1, 5: 1, 4: 2, 3: 2, 2: 4, 1: 8}
"""Bits of a symbol → symbols of one byte."""
WHOLE_FROM = 3
"""Bits from which on the levels span the whole range, not a few standard deviations: with codes by how often levels
occur, those far out cost hardly anything. At three cuts each of MobileNetV2, ResNet-20 and -56
(benchmarks/codec_entropy.py) 3 bits over the range take 1.1-1.8 bits an element and lose 0-1.4 points, clipped 1.7-2.3
bits and 0-0.8 points; 2 bits clipped come to as many bytes as 3 over the range and lose 0-5.2 points. 2 bits over the
range are too coarse (up to 53 points)."""
_RATES = {8: 6.2, 7: 5.3, 6: 4.5, 5: 3.6, 4: 2.5, 3: 1.6, 2: 1.45, 1: 0.83}
"""Bits an element: means over the same nine cuts. What was written there came to 0.60 (the last, narrow stage of
ResNet-56) to 1.14 of what is expected by them."""
_TABLE_BYTES = 60
"""What a code table for a few hundred different bytes takes."""
_STORED_BYTES = 11
"""Deflate never writes much more than it reads: five bytes a block that is stored as it is, and the end."""
_JOIN_2 = np.uint32((1 << 24) + (1 << 18) + (1 << 12) + (1 << 6))
"""Times four bytes of 2 bits: all four side by side in the highest byte, without a carry from below."""


@dataclass(frozen=True)
class Huffman:
    """A planar codec whose symbols are Huffman-coded. Shape, dtype and error are those of `base`."""

    base: PlanarRange | PlanarClip

    @property
    def name(self) -> str:
        """`int8+huffman` … `int1+huffman`."""
        return f"{self.base.name}{SUFFIX}"

    def dump(self, x: Array) -> bytes:
        """What `base` puts before its symbols, and the stream. Raises BadInput as `base` does."""
        ahead, symbols = self.base.symbols(x)
        # literals only: looking for repeated strings finds none worth their price
        stream = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_HUFFMAN_ONLY)
        return ahead + stream.compress(_joined(symbols, self.base.bits).data) + stream.flush()

    def load(self, payload: memoryview, shape: tuple[int, ...], dtype: str) -> Array:
        """The tensor again. Raises BadFrame for a payload that is too short or too long for the shape, before anything
        of the shape's size is allocated, and for one that is no stream of exactly this many symbols."""
        need_float32(dtype, self.name)
        count = elements(shape)
        data = octets(payload)
        ahead = self.base.ahead_bytes
        size = -(-count // _TOGETHER[self.base.bits])
        # a literal takes at least one bit, so what claims to hold more was not written here (or to fill the memory)
        if not size / 8 <= data.size - ahead <= _greatest(size):
            raise BadFrame(f"{data.size} bytes of {self.name} cannot be a tensor of shape {shape}")
        joined = _inflated(data[ahead:], size, self.name)
        return self.base.values(data, _apart(joined, self.base.bits, count), shape)

    def payload_bytes(self, shape: tuple[int, ...], itemsize: int) -> int:
        """Expected: the mean rate of trained networks at this width, and the code table; at most a little more than the
        symbols themselves."""
        count, bits = elements(shape), self.base.bits
        coded = _TABLE_BYTES + math.ceil(count * _RATES[bits] / 8)
        return self.base.ahead_bytes + min(coded, -(-count // _TOGETHER[bits]) + _STORED_BYTES)

    def bound(self, x: Array) -> float:
        """That of `base`: the stream loses nothing."""
        return self.base.bound(x)


def _greatest(size: int) -> int:
    """More than deflate makes of `size` bytes."""
    return size + (size >> 10) + 64


def _inflated(stream: Octets, size: int, name: str) -> Octets:
    """Exactly `size` bytes. Raises BadFrame where the stream has more, fewer, is damaged or goes on behind its end."""
    reader = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        made = reader.decompress(stream.data, size + 1)
    except zlib.error as error:
        raise BadFrame(f"a payload of {name} is damaged: {error}") from None
    if len(made) != size or not reader.eof or reader.unused_data:
        raise BadFrame(f"a payload of {name} does not hold exactly {size} bytes of symbols")
    return np.frombuffer(made, np.uint8)


def _joined(symbols: Octets, bits: int) -> Octets:
    """Flat symbols, neighbours side by side in bytes, the first lowest; the last byte is filled up with zeros."""
    together = _TOGETHER[bits]
    if together == 1:
        return symbols
    if together == 8:
        return np.packbits(symbols, bitorder="little")
    rest = -symbols.size % together
    whole = np.concatenate([symbols, np.zeros(rest, np.uint8)]) if rest else symbols
    if together == 4:
        words = whole.view("<u4") * _JOIN_2 >> np.uint32(24)
    else:
        pairs = whole.view("<u2")
        words = pairs | pairs >> np.uint16(8 - bits)
    return words.astype(np.uint8)


def _apart(joined: Octets, bits: int, count: int) -> Octets:
    """The first `count` symbols of bytes that `_joined` wrote; bits that no symbol has are not looked at."""
    if bits == 8:
        return joined
    if _TOGETHER[bits] == 1:  # a vector instruction; looked up as below it took a fifth of the reading
        return np.bitwise_and(joined, np.uint8((1 << bits) - 1))
    if _TOGETHER[bits] == 8:
        return np.unpackbits(joined, count=count, bitorder="little")
    return _SPLIT[bits][joined].view(np.uint8)[:count]


def _split_table(bits: int) -> NDArray[np.unsignedinteger[Any]]:
    """Byte → its symbols, one a byte."""
    together, mask = _TOGETHER[bits], (1 << bits) - 1
    words = [sum((byte >> bits * i & mask) << 8 * i for i in range(together)) for byte in range(256)]
    table: NDArray[np.unsignedinteger[Any]] = np.array(words, f"<u{together}")
    return table


_SPLIT = {bits: _split_table(bits) for bits, together in _TOGETHER.items() if 1 < together < 8}

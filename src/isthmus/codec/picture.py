"""Picture inputs as pictures: JPEG or WebP at a chosen quality, what a user would send instead of a tensor.

A picture model's input is a float tensor that was made from 0…255 by an affine map (`PictureScale`). Mapped back and
compressed it is 10-50 times smaller than float32, at some loss of accuracy, for which no bound can be stated.
Needs Pillow (extra `compress`), imported when the first picture is written or read.
"""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from isthmus.codec.lengths import elements, float32, need_float32, octets
from isthmus.errors import BadFrame, BadInput, Missing
from isthmus.model.types import Array

_LENGTH = struct.Struct("<I")
_MAX_PIXELS = 1 << 26
"""Pixels of one payload, over the whole batch: a flat picture compresses a thousandfold, so its bytes bound nothing."""
_BYTES_PER_PIXEL = {
    "jpeg": ((1, 0.036), (20, 0.092), (50, 0.160), (75, 0.237), (85, 0.314), (90, 0.388), (95, 0.534), (100, 0.960)),
    "webp": ((1, 0.036), (20, 0.086), (50, 0.144), (75, 0.190), (85, 0.271), (90, 0.338), (95, 0.444), (100, 0.575)),
}
"""Means over 300 ImageNet images cut to 224 x 224; a calibrated `PictureScale.bytes_per_pixel` replaces them."""


@dataclass(frozen=True)
class PictureScale:
    """How the model's input was made from pixels: `x = (pixel / 255 - mean) / std`, one pair a channel (1 or 3).

    `bytes_per_pixel` is what a picture takes at the codec's quality where that was measured (pixel: H·W, all channels).
    The channel order is the model's own; compression assumes red, green, blue.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    bytes_per_pixel: float | None = None

    def __post_init__(self) -> None:
        if len(self.mean) not in (1, 3) or len(self.std) != len(self.mean):
            raise BadInput(
                f"a picture scale needs 1 or 3 means and as many stds, not {len(self.mean)}, {len(self.std)}"
            )
        if not all(math.isfinite(m) for m in self.mean) or not all(0 < s < math.inf for s in self.std):
            raise BadInput(f"a picture scale needs finite means and stds above zero, not {self.mean}, {self.std}")
        if self.bytes_per_pixel is not None and not 0 < self.bytes_per_pixel < math.inf:
            raise BadInput(f"bytes per pixel must be above zero, not {self.bytes_per_pixel}")

    def to_pixels(self, x: NDArray[np.float32]) -> NDArray[np.uint8]:
        """(N, C, H, W) float32 → (N, H, W, C) uint8, rounded and saturated. Raises BadInput for NaN."""
        scale, offset = 255 * np.array(self.std, np.float32), 255 * np.array(self.mean, np.float32)
        with np.errstate(over="ignore"):
            level = x * scale[:, None, None] + (offset[:, None, None] + np.float32(0.5))
        if np.isnan(level).any():
            raise BadInput("a picture cannot hold NaN")
        return np.ascontiguousarray(np.clip(level, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1))

    def from_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, H, W, C) uint8 → (N, C, H, W) float32, contiguous."""
        x = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32)
        std, mean = np.array(self.std, np.float32), np.array(self.mean, np.float32)
        x *= (1 / (255 * std))[:, None, None]
        x -= (mean / std)[:, None, None]
        return x


@dataclass(frozen=True)
class Picture:
    """An (N, 1 or 3, H, W) float32 input as N pictures, each behind its length (uint32, little-endian)."""

    format: str
    quality: int
    scale: PictureScale | None = field(default=None)

    def __post_init__(self) -> None:
        if self.format not in _BYTES_PER_PIXEL:
            raise BadInput(f"'{self.format}' is no picture format; known are {', '.join(_BYTES_PER_PIXEL)}")
        if not 1 <= self.quality <= 100:
            raise BadInput(f"{self.format}:{self.quality} is no quality; 1 to 100 are")

    @property
    def name(self) -> str:
        """`jpeg:75`."""
        return f"{self.format}:{self.quality}"

    def dump(self, x: Array) -> bytes:
        """The pictures. Raises BadInput for other shapes or dtypes, NaN, or without a scale; Missing without Pillow."""
        values = float32(x, self.name)
        problem = self._problem(values.shape)
        if problem:
            raise BadInput(problem)
        pixels = self._scale().to_pixels(values)
        image = _pillow()
        parts: list[bytes] = []
        for one in pixels:
            buffer = io.BytesIO()
            image.fromarray(one[:, :, 0] if one.shape[2] == 1 else one).save(
                buffer, format=self.format.upper(), quality=self.quality
            )
            parts += [_LENGTH.pack(buffer.tell()), buffer.getvalue()]
        return b"".join(parts)

    def load(self, payload: memoryview, shape: tuple[int, ...], dtype: str) -> Array:
        """The tensor again. The lengths, and each picture's own size, are compared with the shape before a pixel is
        decoded. Raises BadFrame where they differ or a picture is damaged; Missing without Pillow."""
        need_float32(dtype, self.name)
        elements(shape)
        problem = self._problem(shape)
        if problem:
            raise BadFrame(problem)
        scale = self._scale()
        pictures = _split(octets(payload).data, shape[0])
        image = _pillow()
        _, channels, height, width = shape
        for one in pictures:
            self._need_size(one, width, height)
        pixels = np.empty((shape[0], height, width, channels), np.uint8)
        for target, one in zip(pixels, pictures, strict=True):
            self._decode(image, one, target)
        return scale.from_pixels(pixels)

    def payload_bytes(self, shape: tuple[int, ...], itemsize: int) -> int:
        """Expected: bytes per pixel (measured, or the table's, linear between qualities) times pixels, four a picture.
        Raises BadInput for a shape that is no picture's."""
        problem = self._problem(shape)
        if problem:
            raise BadInput(problem)
        per_pixel = self.scale.bytes_per_pixel if self.scale else None
        if per_pixel is None:
            qualities, rates = zip(*_BYTES_PER_PIXEL[self.format], strict=True)
            per_pixel = float(np.interp(self.quality, qualities, rates))
        return shape[0] * (_LENGTH.size + math.ceil(per_pixel * shape[2] * shape[3]))

    def bound(self, x: Array) -> float:
        """Infinity: a picture codec promises nothing about a pixel."""
        return math.inf

    def _scale(self) -> PictureScale:
        if self.scale is None:
            raise BadInput(f"{self.name} needs a PictureScale (mean and std of the model's input) to make pixels")
        return self.scale

    def _problem(self, shape: tuple[int, ...]) -> str:
        """Why this shape cannot be pictures; empty where it can."""
        channels = (1, 3) if self.scale is None else (len(self.scale.mean),)
        if len(shape) != 4 or shape[1] not in channels or min(shape[2:]) < 1:
            return f"{self.name} writes (N, {' or '.join(map(str, channels))}, H, W), not a tensor of shape {shape}"
        side = 16383 if self.format == "webp" else 65500
        if max(shape[2:]) > side or shape[0] * shape[2] * shape[3] > _MAX_PIXELS:
            return (
                f"{self.name} takes sides up to {side} and {_MAX_PIXELS} pixels in all, not a tensor of shape {shape}"
            )
        return ""

    def _need_size(self, one: memoryview, width: int, height: int) -> None:
        """Raise BadFrame unless the picture's own header announces this size."""
        size = _webp_size(one) if self.format == "webp" else _jpeg_size(one)
        if size != (width, height):
            raise BadFrame(f"a picture of {size[0]} x {size[1]} came where {width} x {height} was announced")

    def _decode(self, image: ModuleType, one: memoryview, out: NDArray[np.uint8]) -> None:
        """One picture, (H, W, C), into `out`. Raises BadFrame where it is damaged."""
        mode = "L" if out.shape[2] == 1 else "RGB"
        try:
            with image.open(io.BytesIO(one), formats=[self.format.upper()]) as opened:
                if opened.size == out.shape[1::-1]:
                    out[:] = np.asarray(opened.convert(mode)).reshape(out.shape)
                    return
        except Exception as error:  # noqa: BLE001 (Pillow's readers raise a dozen unrelated types on damaged bytes)
            raise BadFrame(f"a picture is damaged: {error}") from None
        raise BadFrame("a picture's header and content differ in size")


def _split(payload: memoryview, count: int) -> list[memoryview]:
    """The pictures of a payload. Raises BadFrame unless the lengths add up to it exactly."""
    pictures: list[memoryview] = []
    at = 0
    for i in range(count):
        size = _LENGTH.unpack_from(payload, at)[0] if at + _LENGTH.size <= len(payload) else None
        at += _LENGTH.size
        if size is None or at + size > len(payload):
            raise BadFrame(f"picture {i} of {count} reaches beyond the payload of {len(payload)} bytes")
        pictures.append(payload[at : at + size])
        at += size
    if at != len(payload):
        raise BadFrame(f"{count} pictures end after {at} of {len(payload)} bytes")
    return pictures


def _webp_size(one: memoryview) -> tuple[int, int]:
    """(width, height) a plain lossy WebP file announces, read here because the decoder allocates when it opens a file.

    RFC 9649: RIFF header, then one VP8 chunk (RFC 6386, section 9.1: frame tag, start code, two 14-bit sizes).
    """
    head = bytes(one[:30])
    if len(head) < 30 or head[:4] != b"RIFF" or head[8:16] != b"WEBPVP8 " or head[23:26] != b"\x9d\x01\x2a":
        raise BadFrame("a picture is not a plain lossy WebP file")
    width, height = struct.unpack_from("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF


def _jpeg_size(one: memoryview) -> tuple[int, int]:
    """(width, height) a JPEG file announces in its frame header (ITU-T T.81, B.2.2), read here like WebP's."""
    at = 2 if bytes(one[:2]) == b"\xff\xd8" else len(one)
    while at + 9 <= len(one) and one[at] == 0xFF:
        marker, size = one[at + 1], struct.unpack_from(">H", one, at + 2)[0]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", one, at + 5)
            return width, height
        at += 2 + size
    raise BadFrame("a picture is not a JPEG file with a frame header")


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError:
        raise Missing("picture codecs need Pillow; install isthmus[compress]") from None
    return Image

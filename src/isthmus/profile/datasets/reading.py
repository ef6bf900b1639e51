"""Opening what other people made: bounded files, bounded pictures, foreign errors as one sentence."""

from __future__ import annotations

import gzip
import importlib
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.errors import BadInput, Missing
from isthmus.profile.datasets.types import MAX_BYTES, Bytes

MAX_PICTURE_BYTES = 64 << 20
MAX_PIXELS = 1 << 26
"""Of one picture, so that a small file cannot become a large one."""


def read_bytes(path: Path, most: int) -> bytes:
    """A file's content, unpacked where its name ends in .gz. Raises BadInput where there is more than `most`."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"cannot read {path}: {error}") from error
    if len(content) > most:
        raise BadInput(f"{path} holds more than {most} bytes")
    return bytes(content)


@contextmanager
def picture_of(content: bytes, name: str) -> Iterator[Any]:
    """A PIL picture, not yet decoded, whose size was looked at. Raises BadInput, and Missing without pillow."""
    image = _pillow()
    try:
        with image.open(io.BytesIO(content), formats=("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM")) as picture:
            _bounded(picture.size, name)
            yield picture
    except BadInput:
        raise
    except Exception as error:  # decoders raise many kinds, SyntaxError and struct.error among them
        raise BadInput(f"{name} is no picture that can be read: {error}") from error


def read_picture(content: bytes, name: str, *, grey: bool = False) -> Bytes:
    """A picture as uint8, channels × height × width: three channels, or one where it is (or is wanted) grey."""
    with picture_of(content, name) as picture:
        plain = picture.convert("L" if grey or picture.mode in ("1", "L", "I;16", "I") else "RGB")
        values = np.asarray(plain, np.uint8)
    return values[None] if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))


def _bounded(size: tuple[int, int], name: str) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise BadInput(f"{name} has {size[0]} × {size[1]} pixels; at most {MAX_PIXELS} are taken")


def resized(values: Bytes, side: int) -> Bytes:
    """A picture (channels × height × width) brought to side × side, bilinear."""
    image = _pillow()
    planes = [image.fromarray(plane).resize((side, side), image.Resampling.BILINEAR) for plane in values]
    return np.stack([np.asarray(plane, np.uint8) for plane in planes])


def fitted(values: Bytes, side: int) -> Bytes:
    """A picture as side × side: its centre where it is at most an eighth larger (what is left around the subject of a
    picture made for this), all of it resized otherwise."""
    _, height, width = values.shape
    if side <= min(height, width) and max(height, width) * 8 <= side * 9:
        top, left = (height - side) // 2, (width - side) // 2
        return values[:, top : top + side, left : left + side]
    return resized(values, side)


def room_for(count: int, each: int, where: object) -> None:
    """Raise BadInput where so many pictures of so many bytes are more than is taken."""
    if count * each > MAX_BYTES:
        raise BadInput(f"{where} holds {count} pictures of {each} bytes, more than {MAX_BYTES} bytes; give fewer")


def _pillow() -> Any:
    try:
        return importlib.import_module("PIL.Image")
    except ModuleNotFoundError as error:
        raise Missing(
            "reading pictures needs pillow, which is not installed: pip install 'isthmus[compress]'"
        ) from error

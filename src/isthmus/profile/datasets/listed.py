"""A zip file of pictures with a list of their classes: how parts of ImageNet's validation set are passed on."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from isthmus.errors import BadInput
from isthmus.profile.datasets.reading import MAX_PICTURE_BYTES, fitted, read_picture, room_for
from isthmus.profile.datasets.types import MAX_PICTURES, Bytes, Part, spread

_LIST = "labels.txt"
_LIST_BYTES = 1 << 24


def listed(path: Path, *, side: int, most: int | None = None) -> Part:
    """Pictures (side × side, colour) and classes of a zip file that holds `labels.txt`, one `FILE CLASS` a line, the
    class a whole number; with `most` only so many, evenly spread over the list.

    Raises BadInput for what is no such file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            rows = _rows(archive, path)
            rows = [rows[place] for place in spread(len(rows), most)]
            room_for(len(rows), 3 * side * side, path)
            pictures: list[Bytes] = []
            for name, _ in rows:
                _bounded(archive, name, path)
                pictures.append(fitted(_coloured(archive.read(name), f"{path}: {name}"), side))
    except (OSError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise BadInput(f"cannot read {path}: {error}") from error
    return Part(np.stack(pictures), np.array([label for _, label in rows], np.int64))


def is_listed(path: Path) -> bool:
    """Is this a zip file with such a list?"""
    try:
        with zipfile.ZipFile(path) as archive:
            return _LIST in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _rows(archive: zipfile.ZipFile, path: Path) -> list[tuple[str, int]]:
    """File and class of every line."""
    _bounded(archive, _LIST, path, _LIST_BYTES)
    found = []
    for number, line in enumerate(archive.read(_LIST).decode("utf-8", "replace").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or not words[1].isascii() or not words[1].isdigit() or len(words[1]) > 9:
            raise BadInput(f"{path}: line {number} of {_LIST} is no FILE CLASS: '{line[:80]}'")
        found.append((words[0], int(words[1])))
    if not 1 <= len(found) <= MAX_PICTURES:
        raise BadInput(f"{path} lists {len(found)} pictures; 1 to {MAX_PICTURES} are taken")
    return found


def _bounded(archive: zipfile.ZipFile, name: str, path: Path, most: int = MAX_PICTURE_BYTES) -> None:
    size = archive.getinfo(name).file_size
    if size > most:
        raise BadInput(f"{path}: {name} is {size} bytes; at most {most} are taken")


def _coloured(content: bytes, name: str) -> Bytes:
    values = read_picture(content, name)
    return values if len(values) == 3 else np.repeat(values, 3, axis=0)

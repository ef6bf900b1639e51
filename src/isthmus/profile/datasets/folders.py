"""A folder (or a zip file) with one subfolder a class, and pictures in it."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from isthmus.errors import BadInput
from isthmus.profile.datasets.reading import MAX_PICTURE_BYTES, read_bytes, read_picture, resized, room_for
from isthmus.profile.datasets.types import MAX_PICTURES, Bytes, Dataset, Part, apart

_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm"})
_TEST_SHARE = 0.2


@dataclass(frozen=True)
class Entry:
    """One picture file: its class and how to read it."""

    label: str
    name: str
    read: Callable[[], bytes]


def class_folders(folder: Path, *, side: int | None, seed: int) -> Dataset | None:
    """`train/CLASS/*` and `test/CLASS/*` (or `val/`), or `CLASS/*` of which a fifth, drawn by the seed, is for the
    test; None where there is no picture. `side` resizes; without it all pictures must be of one size."""
    if (folder / "train").is_dir():
        test = next((folder / t for t in ("test", "val") if (folder / t).is_dir()), None)
        parts = [list(_files(p)) for p in (folder / "train", test) if p is not None]
    else:
        parts = [list(_files(folder))]
    if not parts[0]:
        return None
    classes = tuple(sorted({e.label for part in parts for e in part}))
    if len(classes) < 2:
        raise BadInput(f"{folder} holds pictures of one class only, {classes[0]}; one subfolder a class is wanted")
    grey = _is_grey(parts[0][0])
    read = [_part(entries, classes, side, grey=grey) for entries in parts if entries]
    train, test_part = read if len(read) == 2 else apart(read[0], _TEST_SHARE, seed)
    return Dataset(folder.name, classes, train, test_part)


def zipped(path: Path) -> tuple[tuple[str, ...], Part]:
    """Classes and pictures of a zip file of `CLASS/picture` entries. Raises BadInput for what is no such file."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = list(_zip_entries(archive, path))
            if not entries:
                raise BadInput(f"{path} holds no CLASS/picture")
            classes = tuple(sorted({e.label for e in entries}))
            return classes, _part(entries, classes, None, grey=_is_grey(entries[0]))
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise BadInput(f"cannot read {path}: {error}") from error


def _files(folder: Path) -> Iterator[Entry]:
    for inner in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        for path in sorted(inner.iterdir()):
            if path.suffix.lower() in _ENDINGS and path.is_file():
                yield Entry(inner.name, str(path), partial(read_bytes, path, MAX_PICTURE_BYTES))


def _zip_entries(archive: zipfile.ZipFile, path: Path) -> Iterator[Entry]:
    for info in sorted(archive.infolist(), key=lambda i: i.filename):
        inner = PurePosixPath(info.filename)
        if inner.suffix.lower() not in _ENDINGS or len(inner.parts) < 2:
            continue
        if info.file_size > MAX_PICTURE_BYTES:
            raise BadInput(f"{path}: {info.filename} is {info.file_size} bytes; at most {MAX_PICTURE_BYTES} are taken")
        yield Entry(inner.parts[-2], f"{path}: {info.filename}", partial(archive.read, info))


def _is_grey(entry: Entry) -> bool:
    return len(read_picture(entry.read(), entry.name)) == 1


def _part(entries: list[Entry], classes: tuple[str, ...], side: int | None, *, grey: bool) -> Part:
    if len(entries) > MAX_PICTURES:
        raise BadInput(f"{len(entries)} pictures are more than the {MAX_PICTURES} that are taken")
    pictures: list[Bytes] = []
    for entry in entries:
        values = _three(read_picture(entry.read(), entry.name, grey=grey), grey=grey)
        if side is not None and values.shape[1:] != (side, side):
            values = resized(values, side)
        if pictures and values.shape != pictures[0].shape:
            raise BadInput(
                f"{entry.name} is {values.shape[2]} × {values.shape[1]} pixels, {entries[0].name} "
                f"{pictures[0].shape[2]} × {pictures[0].shape[1]}; give a side to bring all to one size"
            )
        if not pictures:
            room_for(len(entries), values.size, entry.name)
        pictures.append(values)
    numbers = {label: i for i, label in enumerate(classes)}
    return Part(np.stack(pictures), np.array([numbers[e.label] for e in entries], np.int64))


def _three(values: Bytes, *, grey: bool) -> Bytes:
    """A grey picture among coloured ones gets three equal channels."""
    return values if grey or len(values) == 3 else np.repeat(values, 3, axis=0)

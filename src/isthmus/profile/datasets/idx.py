"""MNIST as it is published: idx files, packed or not (LeCun: The MNIST database of handwritten digits)."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from isthmus.errors import BadInput
from isthmus.profile.datasets.reading import read_bytes, room_for
from isthmus.profile.datasets.types import MAX_BYTES, MAX_PICTURES, Bytes, Dataset, Part

_BYTE = 8
"""The idx code of unsigned bytes, the only kind these sets have."""


def mnist_idx(folder: Path) -> Dataset | None:
    """The four files `train-images-idx3-ubyte` … `t10k-labels-idx1-ubyte` of a folder, with or without .gz; None where
    it has no such pictures."""
    if idx_file(folder, "train-images-idx3-ubyte") is None:
        return None
    train, test = (_part(folder, stem) for stem in ("train", "t10k"))
    classes = tuple(str(i) for i in range(1 + max(int(train.labels.max()), int(test.labels.max()))))
    return Dataset(folder.name, classes, train, test)


def idx_file(folder: Path, name: str) -> Path | None:
    """That file, also with a dot before `idx` or packed; None where there is none."""
    for written in (name, name.replace("-idx", ".idx")):
        for path in (folder / written, folder / f"{written}.gz"):
            if path.is_file():
                return path
    return None


def read_idx(path: Path, most: int | None = None) -> Bytes:
    """The array of an idx file of unsigned bytes, only its first `most` entries where that is given."""
    start = read_bytes(path, MAX_BYTES)
    if len(start) < 4 or start[:3] != bytes((0, 0, _BYTE)) or not 1 <= start[3] <= 4:
        raise BadInput(f"{path} is no idx file of unsigned bytes")
    rank = start[3]
    content = memoryview(start)
    if len(content) < 4 + 4 * rank:
        raise BadInput(f"{path} ends within its header")
    shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
    count = shape[0] if most is None else min(most, shape[0])
    each = math.prod(shape[1:])
    if shape[0] > MAX_PICTURES:
        raise BadInput(f"{path} announces {shape[0]} entries; at most {MAX_PICTURES} are taken")
    room_for(count, each, path)
    body = content[4 + 4 * rank :]
    if len(body) < count * each:
        raise BadInput(f"{path} announces {shape[0]} entries of {each} bytes and holds {len(body)} bytes")
    return np.frombuffer(body[: count * each], np.uint8).reshape(count, *shape[1:])


def _part(folder: Path, stem: str) -> Part:
    pictures, labels = (idx_file(folder, f"{stem}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    if pictures is None or labels is None:
        raise BadInput(f"{folder} has no {stem}-{'images-idx3' if pictures is None else 'labels-idx1'}-ubyte")
    found, classes = read_idx(pictures), read_idx(labels)
    if found.ndim != 3 or classes.ndim != 1:
        raise BadInput(f"{pictures} must hold pictures and {labels} one label for each")
    return Part(found[:, None], classes.astype(np.int64))

"""Pictures kept as the rows of large PNG files, one row a picture: MNIST and CIFAR-10 as convnetjs ships them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import BadInput
from isthmus.profile.datasets.idx import idx_file, read_idx
from isthmus.profile.datasets.reading import MAX_PICTURE_BYTES, read_bytes, read_picture, room_for
from isthmus.profile.datasets.types import Bytes, Part

_TEST_BATCH = 20
"""MNIST's batches 0 … 19 are its 60,000 pictures to train, batch 20 is of those to test."""


def mnist_rows(folder: Path) -> tuple[Part, Part] | None:
    """`mnist_batch_N.png` (28 × 28 grey a row): pictures to train and to test; None where there are none.

    Batches must be counted from 0 without a gap, since the labels of the published files are taken in that order.
    """
    batches = _numbered(folder, "mnist_batch_*.png")
    early = [i for i in batches if i < _TEST_BATCH]
    if not early:
        return None
    if early != list(range(len(early))) or _TEST_BATCH not in batches:
        raise BadInput(f"{folder} needs mnist_batch_0.png onwards without a gap and mnist_batch_{_TEST_BATCH}.png")
    train = np.concatenate([_rows(batches[i], 1, 28) for i in early])
    test = _rows(batches[_TEST_BATCH], 1, 28)
    return (
        Part(train, _mnist_labels(folder, "train", len(train))),
        Part(test, _mnist_labels(folder, "t10k", len(test))),
    )


def cifar_rows(folder: Path) -> Part | None:
    """`cifar10_batch_N.png` (32 × 32 colour a row) and `labels.txt` (one class a line); None where there are none."""
    batches = _numbered(folder, "cifar10_batch_*.png")
    if not batches:
        return None
    pictures = np.concatenate([_rows(path, 3, 32) for path in batches.values()])
    text = read_bytes(folder / "labels.txt", 1 << 20).decode("utf-8", "replace").split()
    if len(text) != len(pictures) or not all(word.isdigit() and len(word) == 1 for word in text):
        raise BadInput(f"{folder / 'labels.txt'} must give a class 0 … 9 for each of {len(pictures)} pictures")
    return Part(pictures, np.array([int(word) for word in text], np.int64))


def _numbered(folder: Path, pattern: str) -> dict[int, Path]:
    """Files by the number in their name, in rising order."""
    found = {int(m.group(1)): p for p in folder.glob(pattern) if (m := re.search(r"_(\d{1,4})\.png$", p.name))}
    return dict(sorted(found.items()))


def _rows(path: Path, channels: int, side: int) -> Bytes:
    values = read_picture(read_bytes(path, MAX_PICTURE_BYTES), str(path), grey=channels == 1)
    if values.shape[0] != channels or values.shape[2] != side * side:
        raise BadInput(f"{path} has rows of {values.shape[2]} pixels, not pictures of {side} × {side}")
    room_for(values.shape[1], channels * side * side, path)
    return np.ascontiguousarray(values.transpose(1, 0, 2)).reshape(-1, channels, side, side)


def _mnist_labels(folder: Path, stem: str, count: int) -> NDArray[np.int64]:
    """The first `count` labels, from the idx file or from plain bytes."""
    published = idx_file(folder, f"{stem}-labels-idx1-ubyte")
    plain = sorted(folder.glob(f"{stem}*labels*.u8"))
    if published is not None:
        labels = read_idx(published, count)
    elif plain:
        labels = np.frombuffer(read_bytes(plain[0], 1 << 20), np.uint8)[:count]
    else:
        raise BadInput(f"{folder} has no labels: neither {stem}-labels-idx1-ubyte(.gz) nor {stem}…labels.u8")
    if len(labels) < count:
        raise BadInput(f"{folder}: {len(labels)} {stem} labels for {count} pictures")
    return labels.astype(np.int64)

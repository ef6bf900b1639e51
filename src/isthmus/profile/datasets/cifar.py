"""CIFAR-10 from files: the binary version, or pictures that others made of it. Pickled batches are never opened.

Krizhevsky: Learning Multiple Layers of Features from Tiny Images (2009).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from isthmus.errors import BadInput
from isthmus.profile.datasets.reading import read_bytes
from isthmus.profile.datasets.types import MAX_PICTURES, Dataset, Part

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_RECORD = 1 + 3 * 32 * 32


def cifar_binary(folder: Path) -> Dataset | None:
    """`data_batch_1.bin` … and `test_batch.bin`; None where there are none. Raises BadInput where there are only the
    pickled batches of the Python version."""
    for place in (folder, folder / "cifar-10-batches-bin"):
        batches = sorted(place.glob("data_batch_*.bin"))
        if batches:
            train = [_part(path) for path in batches]
            joined = Part(np.concatenate([p.pictures for p in train]), np.concatenate([p.labels for p in train]))
            return Dataset("cifar10", CIFAR10, joined, _part(place / "test_batch.bin"))
    for place in (folder, folder / "cifar-10-batches-py"):
        if (place / "data_batch_1").is_file():
            raise BadInput(
                f"{place} holds pickled batches, and unpickling a file can run anything; "
                "take the binary version of CIFAR-10 (data_batch_1.bin …) instead"
            )
    return None


def _part(path: Path) -> Part:
    content = read_bytes(path, MAX_PICTURES * _RECORD)
    if not content or len(content) % _RECORD:
        raise BadInput(f"{path} is {len(content)} bytes, no whole number of records of {_RECORD} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    return Part(records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64))

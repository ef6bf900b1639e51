"""Labelled pictures in memory, and how many of them are taken at most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import BadInput

MAX_PICTURES = 200_000
MAX_BYTES = 1 << 30
"""All pictures of one part together, one byte a value."""
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Part:
    """Pictures (uint8, N × channels × height × width) and their classes (int64, N)."""

    pictures: Bytes
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.pictures.ndim != 4 or len(self.pictures) != len(self.labels) or not len(self.labels):
            raise BadInput(f"{len(self.labels)} labels do not fit pictures of shape {self.pictures.shape}")

    def __len__(self) -> int:
        return len(self.labels)

    def pick(self, places: NDArray[np.int64]) -> Part:
        """The pictures of these indices."""
        return Part(self.pictures[places], self.labels[places])


@dataclass(frozen=True)
class Dataset:
    """Pictures to learn from and others to be judged on; a value of `levels` stands for 1."""

    name: str
    classes: tuple[str, ...]
    train: Part
    test: Part
    levels: float = 255.0

    def __post_init__(self) -> None:
        shapes = {part.pictures.shape[1:] for part in (self.train, self.test)}
        if len(shapes) != 1:
            raise BadInput(f"{self.name}: pictures to train and to test differ in shape: {sorted(shapes)}")
        for part in (self.train, self.test):
            if not 0 <= int(part.labels.min()) <= int(part.labels.max()) < len(self.classes):
                raise BadInput(f"{self.name}: labels lie outside its {len(self.classes)} classes")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.train.pictures.shape[1:]
        return channels, height, width

    def floats(self, part: Part) -> NDArray[np.float32]:
        """The pictures as float32 between 0 and 1."""
        return part.pictures.astype(np.float32) / np.float32(self.levels)


def spread(count: int, most: int | None) -> NDArray[np.int64]:
    """Places of at most `most` of `count` things, evenly spread from the first to the last; all without a number."""
    few = count if most is None else min(count, most)
    return np.linspace(0, count - 1, few).round().astype(np.int64)


def apart(part: Part, share: float, seed: int) -> tuple[Part, Part]:
    """Two parts, the second with about this share of every class, at least one picture; drawn by the seed.

    Raises BadInput where there are fewer than two pictures.
    """
    if len(part) < 2:
        raise BadInput("one picture cannot be divided into two parts")
    rng = np.random.default_rng(seed)
    second = np.zeros(len(part), np.bool_)
    for label in np.unique(part.labels):
        places = rng.permutation(np.flatnonzero(part.labels == label))
        second[places[: round(share * len(places))]] = True
    if not second.any() or second.all():
        second[:] = False
        second[rng.integers(len(part))] = True
    return part.pick(np.flatnonzero(~second)), part.pick(np.flatnonzero(second))

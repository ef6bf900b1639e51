"""What the network said, as readings, and how good they are: average precision of the boxes, share of characters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from plate_pictures import ALPHABET, LENGTH, Box, Plate

OVERLAP = 0.5
"""Shared area over joint area from which a box counts as found."""
SURE = 0.4
"""Score from which a plate is shown to anybody; average precision looks at all of them."""


@dataclass(frozen=True)
class Reading:
    """A plate that the network found, and how sure it was."""

    plate: Plate
    score: float


@dataclass(frozen=True)
class Score:
    """How good the readings of some pictures are, each from 0 to 1. average_precision: of the boxes (mAP@0.5; there is
    one class). characters: share of all characters of all true plates that were read rightly; those of plates that
    nobody found are wrong. plates: share of plates without a wrong character."""

    average_precision: float
    characters: float
    plates: float

    def lost(self, reference: Score) -> float:
        """What is given up against a reference: the greater of the losses of boxes and of characters."""
        boxes = reference.average_precision - self.average_precision
        return max(boxes, reference.characters - self.characters)


def readings(outputs: Mapping[str, NDArray[np.generic]]) -> Iterator[list[Reading]]:
    """Of each picture, from the outputs of plates.onnx; places of no score are no readings."""
    scores = np.asarray(outputs["scores"], np.float64)
    places = np.asarray(outputs["places"], np.float64)
    letters = np.asarray(outputs["letters"], np.int64)
    for k, sure in enumerate(scores):
        yield [
            Reading(_plate(letters[k, j], places[k, j]), float(score)) for j, score in enumerate(sure) if score > 1e-3
        ]


def _plate(letters: NDArray[np.int64], place: NDArray[np.float64]) -> Plate:
    x, y, along_x, along_y, down_x, down_y = (float(v) for v in place)
    return Plate("".join(ALPHABET[n] for n in letters), (x, y), (along_x, along_y), (down_x, down_y))


def overlap(a: Box, b: Box) -> float:
    """Shared area over joint area of two upright boxes.

    >>> overlap((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / (areas - width * height)


def score(found: Sequence[Sequence[Reading]], true: Sequence[Sequence[Plate]]) -> Score:
    """Readings of some pictures against what is there."""
    pairs = [paired(f, t) for f, t in zip(found, true, strict=True)]
    count = sum(map(len, true))
    right = [
        sum(a == b for a, b in zip(reading.plate.text, plate.text, strict=True))
        for each in pairs
        for reading, plate in each
        if plate is not None and reading.score >= SURE
    ]
    judged = [(reading.score, plate is not None) for each in pairs for reading, plate in each]
    return Score(
        average_precision=average_precision(judged, count),
        characters=sum(right) / (LENGTH * count),
        plates=sum(r == LENGTH for r in right) / count,
    )


def paired(found: Sequence[Reading], true: Sequence[Plate]) -> list[tuple[Reading, Plate | None]]:
    """Each reading of a picture, the surest first, with the plate it found: the one it overlaps most, from `OVERLAP`
    on, among those that no surer one has found."""
    free = list(true)
    pairs: list[tuple[Reading, Plate | None]] = []
    for reading in sorted(found, key=lambda r: -r.score):
        best = max(free, key=lambda p: overlap(p.box, reading.plate.box), default=None)
        if best is not None and overlap(best.box, reading.plate.box) >= OVERLAP:
            free.remove(best)
            pairs.append((reading, best))
        else:
            pairs.append((reading, None))
    return pairs


def average_precision(judged: Sequence[tuple[float, bool]], count: int) -> float:
    """Area below precision over recall, precision made to fall only (as VOC from 2010 on and COCO have it, at every
    recall). `judged`: score and whether it found a plate; `count`: plates there are.

    >>> average_precision([(0.9, True), (0.8, False), (0.7, True)], 2)
    0.8333333333333333
    """
    hits = np.array([hit for _, hit in sorted(judged, key=lambda j: -j[0])], bool)
    if not hits.any():
        return 0.0
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float(falling[hits].sum() / count)

"""What an answer is, and whether it is the one that was wanted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.codec import Array
from isthmus.errors import BadInput, BadModel
from isthmus.model.types import Model

NEAR = 0.05
"""Numbers that are no scores of classes are kept where they move by at most this share of their spread (standard
deviation): where 99 of 100 normal errors are that small, fewer than one answer in a hundred crosses a threshold."""


def classes_judged(model: Model, labels: Array) -> int:
    """How many classes a model's last output scores, where labels can judge it.

    Raises BadModel where that output is no table of (N, classes), and BadInput for labels of classes that it does not
    have.
    """
    last = model.outputs[-1]
    shape = last.at(1)
    if len(shape) < 2 or math.prod(shape) != shape[-1] or shape[-1] < 2:
        raise BadModel(
            f"{model.name} cannot be judged by labels: its last output {last.name} has shape {shape}, not (N, "
            "classes); what codecs and few bits lose can be judged by samples without labels, as an .npz file"
        )
    if not 0 <= labels.min() <= labels.max() < shape[-1]:
        raise BadInput(
            f"labels from {labels.min()} to {labels.max()} do not fit {model.name}, whose {shape[-1]} classes count "
            "from 0"
        )
    return shape[-1]


def answers_of(output: Array, count: int) -> Array:
    """One answer a sample: the argmax over the last axis (a hash of all of them, for segmentations and the like). Where
    that axis scores no classes, the numbers themselves, a row a sample (a hash of whole numbers)."""
    scores = output.ndim > 1 and output.shape[-1] > 1
    if not scores and output.dtype.kind == "f":
        return np.asarray(output, np.float64).reshape(count, -1)
    best: Array = (np.argmax(output, axis=-1) if scores else output).reshape(count, -1)
    if best.shape[1] == 1:
        return best[:, 0]
    return np.array([hash(row.tobytes()) for row in best])


def kept(answers: NDArray[Any], wanted: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.bool_]:
    """Which answers are the wanted ones: equal to them, or, of numbers, `NEAR` them (root mean square over a sample's)
    beside the spread of what the whole network answers, or beside its size where that is one answer only. What is no
    number, or infinite, must be the same."""
    if wanted.dtype.kind != "f":
        equal: NDArray[np.bool_] = answers == wanted
        return equal
    numbers = whole[np.isfinite(whole)]
    spread = np.std(numbers) if numbers.size else 0.0
    same = (answers == wanted) | (np.isnan(answers) & np.isnan(wanted))
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.sqrt(np.mean(np.square(np.where(same, 0.0, answers - wanted)), axis=1))
    near: NDArray[np.bool_] = apart <= NEAR * (spread or np.abs(numbers).max(initial=0.0))
    return near

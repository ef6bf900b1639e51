"""How often a model is right on labelled data. Runs the engine; imported by its own name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from isthmus.engine import Engine
from isthmus.errors import BadInput
from isthmus.profile.judging import classes_judged
from isthmus.profile.samples import Samples

_WITHIN = 5


class Accuracy(BaseModel):
    """`score` is the share of `samples` whose highest output is the right class, `within_5` that of those whose five
    highest hold it (None for fewer than ten classes), `give_or_take` the standard error of `score`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["isthmus-accuracy"] = "isthmus-accuracy"
    version: Literal[1] = 1
    model: str
    fingerprint: str
    output: str
    data: str
    samples: PositiveInt
    classes: PositiveInt
    right: NonNegativeInt
    score: float
    give_or_take: float
    within_5: float | None = None


def whole_accuracy(
    engine: Engine,
    samples: Samples,
    *,
    data: str,
    batch: int = 32,
    progress: Callable[[int, int, str], None] | None = None,
) -> Accuracy:
    """Run every sample, `batch` at a time (one at a time where the model fixes that), and compare its last output with
    the label.

    Raises BadInput for samples without labels, otherwise as `classes_judged`.
    """
    if samples.labels is None:
        raise BadInput(f"the accuracy of {engine.model.name} can be measured only on labelled samples")
    labels = np.asarray(samples.labels, np.int64)
    classes = classes_judged(engine.model, labels)
    last = engine.model.outputs[-1].name
    step = batch if engine.model.dynamic_batch else 1
    first = within = 0
    for start in range(0, len(samples), step):
        made = engine.whole({k: v[start : start + step] for k, v in samples.inputs.items()})[last]
        part = labels[start : start + step]
        ranks = _ranks(made.reshape(len(part), classes), part)
        first, within = first + int((ranks < 1).sum()), within + int((ranks < _WITHIN).sum())
        if progress is not None:
            progress(start + len(part), len(samples), "samples")
    score = first / len(samples)
    return Accuracy(
        model=engine.model.name,
        fingerprint=engine.model.fingerprint,
        output=last,
        data=data,
        samples=len(samples),
        classes=classes,
        right=first,
        score=score,
        give_or_take=math.sqrt(score * (1 - score) / len(samples)),
        within_5=within / len(samples) if classes >= 2 * _WITHIN else None,
    )


def _ranks(outputs: NDArray[np.generic], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many classes come before the right one, (N): those with a greater output, and equal ones of lower number. An
    output that is no number comes after all that are; where it is the right one's, it counts as no answer."""
    values = np.asarray(outputs, np.float64)
    nowhere = np.isnan(np.take_along_axis(values, labels[:, None], axis=1))[:, 0]
    values = np.where(np.isnan(values), -np.inf, values)
    own = np.take_along_axis(values, labels[:, None], axis=1)
    before = (values > own) | ((values == own) & (np.arange(values.shape[1]) < labels[:, None]))
    ranks: NDArray[np.int64] = np.where(nowhere, values.shape[1], before.sum(axis=1))
    return ranks

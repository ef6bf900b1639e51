"""Early exits as a readable file: how good each one is, how sure an input must be to leave there, and how many do.

The rule of leaving stands here and nowhere else, so that whoever chooses thresholds, plans or runs means the same. An
exit is an output of the model that gives logits. An input leaves at the first exit where it is sure enough: where the
entropy of softmax(logits / temperature), divided by the logarithm of the number of classes, is below the threshold
(Teerapittayanon et al., BranchyNet, ICPR 2016, §III-C), or where the largest of those probabilities is above it
(Laskaridis et al., SPINN, MobiCom 2020, §4.3). The last exit always answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, PositiveInt, model_validator

from isthmus.errors import BadInput

Floats = NDArray[np.float64]
Rule = Literal["entropy", "confidence"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExitRow(_Strict):
    """One exit. `threshold` None: every input that comes here leaves (the last exit)."""

    output: str
    """name of the model's output"""
    accuracy: float = Field(ge=0, le=1)
    """share of right answers if every input left here"""
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    rule: Rule = "entropy"
    threshold: FiniteFloat | None = None
    share: float = Field(default=0.0, ge=0, le=1)
    """share of inputs that leave here when every exit follows its threshold"""
    leaving_accuracy: float | None = Field(default=None, ge=0, le=1)
    """share of right answers among those; None where nobody left"""
    macs: NonNegativeInt = 0
    """multiply-accumulates of one input for this exit alone: the layers it needs, no other exit's branch"""
    cascade_macs: NonNegativeInt = 0
    """multiply-accumulates of one input that leaves here, the branches of the exits before it included"""


class ExitTable(_Strict):
    """The exits of one model in running order, the main output last, and what they gave on labelled inputs."""

    kind: Literal["isthmus-exits"] = "isthmus-exits"
    version: Literal[1] = 1
    model: str
    fingerprint: str = ""
    rule: Rule = "entropy"
    rows: tuple[ExitRow, ...] = Field(min_length=1)
    classes: PositiveInt
    data: str
    """name of the labelled inputs"""
    samples: PositiveInt
    """how many of them the accuracies and shares were measured on"""
    calibrated_on: NonNegativeInt = 0
    """how many others chose temperatures and thresholds"""
    accuracy: float = Field(ge=0, le=1)
    """share of right answers when every input leaves at the first exit that is sure enough"""
    allowed_loss: float = Field(default=0.0, ge=0, le=1)
    """how far that was allowed to lie below the last exit's accuracy where the thresholds were chosen"""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = [row.output for row in self.rows]
        if len(set(names)) != len(names):
            raise ValueError("two exits have the same output")
        if any(row.rule != self.rule for row in self.rows):
            raise ValueError(f"every exit follows the rule of the table, {self.rule}")
        if self.rows[-1].threshold is not None or any(row.threshold is None for row in self.rows[:-1]):
            raise ValueError("every exit but the last has a threshold")
        return self

    def row(self, output: str) -> ExitRow:
        """The exit of that output. Raises BadInput where there is none."""
        for row in self.rows:
            if row.output == output:
                return row
        raise BadInput(
            f"{self.model} has no exit '{output[:80]}'; its exits are {', '.join(r.output for r in self.rows)}"
        )

    @property
    def mean_macs(self) -> float:
        """Multiply-accumulates of an average input that leaves where it is sure enough."""
        return sum(row.share * row.cascade_macs for row in self.rows)

    @property
    def idle(self) -> tuple[str, ...]:
        """Exits that are no more accurate than an exit before them: whoever goes on to them gains nothing."""
        best, found = -1.0, []
        for row in self.rows:
            if row.accuracy <= best:
                found.append(row.output)
            best = max(best, row.accuracy)
        return tuple(found)


def probabilities(logits: NDArray[Any], temperature: float = 1.0) -> Floats:
    """softmax(logits / temperature) over the last axis, float64."""
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    sure: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return sure


def confidence(logits: NDArray[Any], temperature: float = 1.0) -> Floats:
    """The largest probability, 1 / classes … 1; shape (N,) for logits (N, classes)."""
    largest: Floats = probabilities(logits, temperature).max(axis=-1)
    return largest


def entropy(logits: NDArray[Any], temperature: float = 1.0) -> Floats:
    """Entropy over its largest possible value, 0 (sure) … 1 (no idea); shape (N,) for logits (N, classes)."""
    p = probabilities(logits, temperature)
    terms = p * np.log(np.maximum(p, np.finfo(np.float64).tiny))
    most = np.log(max(2, p.shape[-1]))
    found: Floats = np.clip(-terms.sum(axis=-1) / most, 0.0, 1.0)
    return found


def doubt(logits: NDArray[Any], rule: Rule, temperature: float = 1.0) -> Floats:
    """How unsure an exit is, by either rule: the entropy, or the confidence with its sign turned. Less is surer."""
    return entropy(logits, temperature) if rule == "entropy" else -confidence(logits, temperature)


def leaves(logits: NDArray[Any], row: ExitRow) -> NDArray[np.bool_]:
    """Which inputs leave at this exit, given its logits (N, classes): mask of shape (N,).

    Logits that are not finite are never sure.
    """
    if row.threshold is None:
        return np.ones(len(logits), np.bool_)
    limit = row.threshold if row.rule == "entropy" else -row.threshold
    with np.errstate(invalid="ignore"):
        return doubt(logits, row.rule, row.temperature) < limit


def cascade(logits: Mapping[str, NDArray[Any]], rows: Sequence[ExitRow]) -> NDArray[np.int64]:
    """For every input the index of the exit at which it leaves: the first that is sure enough."""
    place = np.full(len(logits[rows[-1].output]), len(rows) - 1, np.int64)
    for index in reversed(range(len(rows) - 1)):
        place[leaves(logits[rows[index].output], rows[index])] = index
    return place

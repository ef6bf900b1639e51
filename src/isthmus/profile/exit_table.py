"""From what the exits of a network say about labelled inputs to the table of exits: accuracies, thresholds, shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import BadInput, BadModel
from isthmus.graph.exits import at_exit, exits_of
from isthmus.graph.types import Graph
from isthmus.profile.exit_choice import Cascade, choose_limits, doubts_of, fit_temperature, threshold_of
from isthmus.profile.exits import ExitRow, ExitTable, Rule, cascade


@dataclass(frozen=True)
class Answers:
    """What every exit said, by output, in running order (each (N, classes)), and the right classes (N)."""

    logits: Mapping[str, NDArray[Any]]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        shapes = {np.shape(z) for z in self.logits.values()}
        if len(shapes) != 1 or len(shape := next(iter(shapes))) != 2 or shape[0] != len(self.labels) or not shape[0]:
            raise BadInput(f"{len(self.labels)} labels do not fit exits of shape {sorted(shapes)}")
        if not 0 <= int(self.labels.min()) <= int(self.labels.max()) < shape[1]:
            raise BadInput(
                f"labels from {self.labels.min()} to {self.labels.max()} do not fit a network of {shape[1]} classes"
            )

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which answers are right, (exits, N)."""
        return np.stack([np.argmax(z, axis=1) == self.labels for z in self.logits.values()])


def early_exits(graph: Graph) -> tuple[str, ...]:
    """The exits of a network that has some, in running order. Raises BadModel with the way out where it has none."""
    found = exits_of(graph)
    if len(found) < 2:
        shapes = ", ".join(f"{o} {graph.tensors[o].shape}" for o in graph.outputs[:6])
        raise BadModel(
            f"{graph.name} has no early exit among its outputs ({shapes}): an exit is an output of logits of the same "
            "classes as the last one; export the network with one output an exit, or train some: isthmus train-exits"
        )
    return found


def exit_macs(graph: Graph, exits: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """For each exit its multiply-accumulates per input: alone, and with the branches of the exits before it."""
    macs = {node.name: node.macs for node in graph.nodes}
    passed: set[str] = set()
    found = []
    for output in exits:
        part = at_exit(graph, output)
        passed.update(node.name for node in part.nodes)
        found.append((part.macs // graph.batch, sum(macs[name] for name in passed) // graph.batch))
    return tuple(found)


def exit_table(
    graph: Graph,
    calibration: Answers,
    test: Answers,
    *,
    data: str,
    fingerprint: str = "",
    rule: Rule = "entropy",
    allowed_loss: float = 0.005,
) -> ExitTable:
    """Temperatures and thresholds from `calibration`; accuracies and shares of those thresholds from `test`.

    The thresholds let inputs leave at the least mean work with an accuracy on `calibration` at most `allowed_loss`
    below the last exit's. Raises BadInput where the answers are not those of one network.
    """
    names = tuple(test.logits)
    if tuple(calibration.logits) != names:
        raise BadInput("thresholds are chosen on the answers of other exits than they are judged on")
    if not 0 <= allowed_loss <= 1:
        raise BadInput(f"an allowed loss of accuracy lies between 0 and 1, not at {allowed_loss}")
    macs = exit_macs(graph, names)
    temperatures = [fit_temperature(z, calibration.labels) for z in calibration.logits.values()]
    doubts = doubts_of(list(calibration.logits.values()), temperatures, rule)
    looked_at = Cascade(doubts, calibration.right, tuple(float(on_the_way) for _, on_the_way in macs))
    limits = choose_limits(looked_at, float(calibration.right[-1].mean()) - allowed_loss)
    thresholds = [*(threshold_of(limit, rule) for limit in limits), None]
    rows = [
        ExitRow(
            output=name, accuracy=float(accuracy), temperature=t, rule=rule, threshold=threshold,
            macs=alone, cascade_macs=on_the_way,
        )
        for name, accuracy, t, threshold, (alone, on_the_way) in zip(
            names, test.right.mean(axis=1), temperatures, thresholds, macs, strict=True
        )
    ]  # fmt: skip
    return ExitTable(
        model=graph.name,
        fingerprint=fingerprint,
        rule=rule,
        rows=_with_shares(rows, test),
        classes=next(iter(test.logits.values())).shape[1],
        data=data,
        samples=len(test.labels),
        calibrated_on=len(calibration.labels),
        accuracy=_right_on_the_way(rows, test).mean(),
        allowed_loss=allowed_loss,
    )


def _right_on_the_way(rows: Sequence[ExitRow], answers: Answers) -> NDArray[np.bool_]:
    """Which samples get the right answer at the exit where they leave."""
    at = cascade(answers.logits, rows)
    right: NDArray[np.bool_] = answers.right[at, np.arange(len(at))]
    return right


def _with_shares(rows: Sequence[ExitRow], answers: Answers) -> tuple[ExitRow, ...]:
    at, right = cascade(answers.logits, rows), _right_on_the_way(rows, answers)
    found = []
    for index, row in enumerate(rows):
        here = at == index
        accuracy = float(right[here].mean()) if here.any() else None
        found.append(row.model_copy(update={"share": float(here.mean()), "leaving_accuracy": accuracy}))
    return tuple(found)

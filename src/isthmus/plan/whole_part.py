"""The whole network at few bits that a device keeps beside a head: for when the server is away."""

from __future__ import annotations

from isthmus.plan.joint import splits_for
from isthmus.plan.losses import Estimates
from isthmus.plan.solution import Solution
from isthmus.plan.splits import Splits, worth_listing
from isthmus.plan.types import Problem

ENOUGH = 0.01
"""Accuracy that the stand-in may lose where another choice would lose more: one point."""


def whole_part(problem: Problem, enough: float | None = None) -> Solution | None:
    """All on the device with at most 8 bits a number: the fastest choice within the memory limit that loses no more
    than `enough` (one point), else the one that loses least; None where none fits. Raises BadInput as `joint` does."""
    splits = splits_for(problem, "autosplit")
    last = len(splits.storage.heads) - 1
    splits = Splits(problem, splits.storage, [last])
    listed = worth_listing(splits, "autosplit")
    losses = Estimates.of(problem, splits.at_eight(), listed)
    narrow = [s for s in map(losses.judged, listed) if s.fits and s.bits and s.weight_bits <= splits.bits[-1]]
    allowed = ENOUGH if enough is None else enough
    true = [s for s in narrow if s.loss is not None and s.loss <= allowed]
    if true:
        return min(true, key=lambda s: (s.total_s, s.loss or 0.0))
    return min(narrow, key=lambda s: (float("inf") if s.loss is None else s.loss, s.total_s), default=None)

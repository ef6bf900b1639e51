"""Choosing how sure is sure enough: a temperature for each exit, and thresholds that cost at most a stated accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import BadInput
from isthmus.profile.exits import Floats, Rule, doubt, probabilities

NEVER = {"entropy": 0.0, "confidence": 1.0}
"""Thresholds that nothing passes: entropy is never below 0, confidence never above 1."""
_COLDEST, _HOTTEST = 0.05, 20.0
_LEAVES = 6561
"""Grid points looked at before the search is refined; about a second for a thousand samples and ten exits."""
_LEVELS = 24
_SLACK = 1e-9


def fit_temperature(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """The temperature T for which softmax(logits / T) gives the labels the highest likelihood, 0.05 … 20.

    Guo et al., On Calibration of Modern Neural Networks (ICML 2017), §4.2. One label is taken to be uniform, so that
    an exit without a single error does not pass for infinitely sure (as Platt smooths his targets). The negative
    log-likelihood is convex in 1 / T, so its slope is brought to zero by halving. Rows that are not finite say nothing;
    without any that is, the answer is 1.
    """
    z = np.asarray(logits, np.float64)
    finite = np.isfinite(z).all(axis=1)
    if not finite.any():
        return 1.0
    z, labels = z[finite], labels[finite]
    unknown = 1 / (len(z) + 1)
    right = (1 - unknown) * z[np.arange(len(z)), labels] + unknown * z.mean(axis=1)
    low, high = 1 / _HOTTEST, 1 / _COLDEST
    for _ in range(60):
        middle = (low + high) / 2
        slope = float(((probabilities(z, 1 / middle) * z).sum(axis=1) - right).mean())
        low, high = (low, middle) if slope > 0 else (middle, high)
    return 2 / (low + high)


@dataclass(frozen=True)
class Cascade:
    """What a threshold search looks at: how unsure each exit but the last is of each sample (exits − 1, N; NaN: it
    never leaves there), which answers are right (exits, N), and what leaving at each exit costs (any unit, rising)."""

    doubts: Floats
    right: NDArray[np.bool_]
    costs: tuple[float, ...]

    def __post_init__(self) -> None:
        exits, samples = self.right.shape
        if self.doubts.shape != (exits - 1, samples) or len(self.costs) != exits or not samples:
            raise BadInput(f"{exits} exits and {samples} samples do not fit doubts of shape {self.doubts.shape}")

    def places(self, limits: Sequence[float]) -> NDArray[np.int64]:
        """The exit at which each sample leaves when those with a doubt below `limits[i]` leave at exit i."""
        found = np.full(self.right.shape[1], len(self.costs) - 1, np.int64)
        for i in reversed(range(len(limits))):
            found[self.doubts[i] < limits[i]] = i
        return found

    def score(self, limits: Sequence[float]) -> tuple[float, float]:
        """Mean cost and accuracy under these limits."""
        at = self.places(limits)
        return float(np.asarray(self.costs)[at].mean()), float(self.right[at, np.arange(len(at))].mean())


def choose_limits(cascade: Cascade, least_accuracy: float) -> tuple[float, ...]:
    """Limits of doubt, one for each exit but the last, of the least mean cost with at least this accuracy.

    With two exits the answer is the optimum over all limits. With more, all combinations of quantiles are tried for
    all exits but the one before the last, whose limit is then the optimum given the others; from the best of these, one
    limit at a time is replaced by the optimum given the others until none improves. So the answer is never worse than
    the best point of that grid. Leaving at the last exit only is always among the choices.
    """
    sides = len(cascade.doubts)
    start = (-np.inf,) * sides
    if not sides:
        return start
    levels = next(k for k in range(_LEVELS, 1, -1) if k ** (sides - 1) <= _LEAVES or k == 2)
    grid = [_levels(cascade.doubts[i], levels) for i in range(sides - 1)]
    best, best_score = start, _rank(cascade, start, least_accuracy)
    for outer in product(*grid):
        limits = _improved(cascade, (*outer, -np.inf), sides - 1, least_accuracy)
        score = _rank(cascade, limits, least_accuracy)
        if score < best_score:
            best, best_score = limits, score
    return _descended(cascade, best, least_accuracy)


def threshold_of(limit: float, rule: Rule) -> float:
    """A limit of doubt as the rule's threshold."""
    if limit == -np.inf:
        return NEVER[rule]
    return limit if rule == "entropy" else -limit


def doubts_of(logits: Sequence[NDArray[Any]], temperatures: Sequence[float], rule: Rule) -> Floats:
    """Doubt of every exit but the last, (exits − 1, N)."""
    rows = [doubt(z, rule, t) for z, t in zip(logits[:-1], temperatures[:-1], strict=True)]
    return np.stack(rows) if rows else np.zeros((0, len(logits[0])))


def _levels(doubts: Floats, count: int) -> list[float]:
    """Limits between the samples: nobody, a quantile at a time, everybody."""
    known = np.unique(doubts[np.isfinite(doubts)])
    places = np.unique(np.linspace(0, len(known), count).round().astype(int))
    return [_between(known, int(place)) for place in places]


def _between(known: Floats, place: int) -> float:
    """A limit that the first `place` of the sorted values lie below, half way to the next: equal inputs computed by
    another kernel then fall on the same side."""
    if place == 0:
        return -np.inf
    if place == len(known):
        return float(known[-1]) + 1e-6  # just above the most doubtful there was
    middle = float((known[place - 1] + known[place]) / 2)
    return middle if middle > known[place - 1] else float(known[place])


def _rank(cascade: Cascade, limits: Sequence[float], least_accuracy: float) -> tuple[bool, float, float]:
    """Smaller is better: allowed before not, then cheap, then accurate."""
    cost, accuracy = cascade.score(limits)
    return accuracy < least_accuracy - _SLACK, cost, -accuracy


def _improved(cascade: Cascade, limits: tuple[float, ...], index: int, least_accuracy: float) -> tuple[float, ...]:
    """The limits with that of one exit replaced by the optimum given the others."""
    without = (*limits[:index], -np.inf, *limits[index + 1 :])
    otherwise = cascade.places(without)
    here = np.flatnonzero((otherwise > index) & np.isfinite(cascade.doubts[index]))
    columns, costs = np.arange(len(otherwise)), np.asarray(cascade.costs)
    right = cascade.right[otherwise, columns]
    order = here[np.argsort(cascade.doubts[index, here], kind="stable")]
    gain = cascade.right[index, order].astype(np.int64) - right[order]
    saved = costs[index] - costs[otherwise[order]]
    correct = right.sum() + np.concatenate([[0], np.cumsum(gain)])
    cost = np.concatenate([[0.0], np.cumsum(saved)])
    sorted_doubts = cascade.doubts[index, order]
    whole = np.concatenate([[True], sorted_doubts[1:] > sorted_doubts[:-1], [True]])[: len(order) + 1]
    allowed = whole & (correct >= (least_accuracy - _SLACK) * len(columns))
    if not allowed.any():
        return without
    ranks = np.lexsort((-correct[allowed], cost[allowed]))
    count = int(np.flatnonzero(allowed)[ranks[0]])
    known = np.unique(sorted_doubts)
    place = int(np.searchsorted(known, sorted_doubts[count - 1], side="right")) if count else 0
    return (*limits[:index], _between(known, place), *limits[index + 1 :])


def _descended(cascade: Cascade, limits: tuple[float, ...], least_accuracy: float) -> tuple[float, ...]:
    """One limit at a time to its optimum, until a whole round changes nothing for the better."""
    score = _rank(cascade, limits, least_accuracy)
    while True:
        before = limits
        for index in range(len(limits)):
            changed = _improved(cascade, limits, index, least_accuracy)
            rank = _rank(cascade, changed, least_accuracy)
            if rank < score:
                limits, score = changed, rank
        if limits == before:
            return limits

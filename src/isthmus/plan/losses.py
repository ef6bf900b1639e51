"""What a solution loses: as it was measured, or estimated from its distortion and from what others lost."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from isthmus.plan.solution import Solution
from isthmus.plan.types import Problem

LOSS_AT_EIGHT = 0.005
"""Accuracy lost where all is 8 bits wide: ResNet-50 on ImageNet, .760 → .755, and .695 at 6 bits, where the distortion
is 16 times as large and the loss 13 times (chart published with the code of Auto-Split)."""
PICTURES_LOSE = 8.0
"""A picture upload is taken to lose so many times as much as a head of the same distortion: what it takes away is no
noise but fine detail and colour. JPEG and WebP at 50 and 75 lost 2.4 to 21 times as much on MobileNetV1 and V2 and on
CIFAR-10's ResNet-8, -20 and -56, most often 3 to 9 times."""


@dataclass(frozen=True)
class Estimates:
    """Losses of solutions, measured ones with their standard errors on top (`Limits.loss_errors`). `reference`: what
    all at 8 bits distorts.

    A quantised head is estimated in proportion to its distortion, by what networks like the paper's lose; but no better
    than any measured one that distorts less, and no worse than any that distorts more. So a faster solution that was
    measured to lose too much takes those that distort still more with it, and small networks, which lose less, are
    judged by themselves as soon as something was measured.
    """

    problem: Problem
    reference: float
    distortions: tuple[float, ...]
    """of the measured heads, rising,"""
    at_least: tuple[float, ...]
    """the greatest loss up to each of them,"""
    at_most: tuple[float, ...]
    """and the least from each of them on"""

    @classmethod
    def of(cls, problem: Problem, reference: float, solutions: Iterable[Solution]) -> Estimates:
        """From the solutions whose loss the problem knows."""
        judged = ((s, _measured(problem, s)) for s in solutions if s.bits)
        known = [(s.distortion, row["sure_loss"]) for s, row in judged if row is not None]
        points = sorted((d, loss) for d, loss in known if d is not None)
        losses = [loss for _, loss in points]
        return cls(
            problem,
            reference,
            tuple(d for d, _ in points),
            tuple(accumulate(losses, max)),
            tuple(accumulate(losses[::-1], min))[::-1],
        )

    def judged(self, solution: Solution) -> Solution:
        """With the accuracy it loses (an estimate above 1: nothing is left); without, where neither its loss nor its
        distortion is known."""
        known = _measured(self.problem, solution)
        if known is not None:
            agreed = solution.name in self.problem.agreed
            return solution.model_copy(update={**known, "measured": not agreed, "agreed": agreed})
        distortion = solution.distortion
        if distortion is None or (not self.reference and distortion):
            return solution
        loss = LOSS_AT_EIGHT * distortion / (self.reference or 1.0)
        if solution.bits:
            loss = self._between(distortion, loss)
        elif ":" in solution.codec:
            loss *= PICTURES_LOSE
        return solution.model_copy(update={"loss": loss})

    def _between(self, distortion: float, loss: float) -> float:
        above = bisect_left(self.distortions, distortion)
        if above < len(self.distortions):
            loss = min(loss, self.at_most[above])
        below = bisect_right(self.distortions, distortion)
        return max(loss, self.at_least[below - 1]) if below else loss


def with_front(every: Iterable[Solution]) -> list[Solution]:
    """The fastest first; marked, what loses less than all that is faster, or no more and distorts less."""
    marked: list[Solution] = []
    best = (float("inf"), float("inf"))
    for solution in sorted(every, key=lambda s: (s.total_s, _lost(s))):
        front = solution.fits and _lost(solution) < best
        best = _lost(solution) if front else best
        marked.append(solution if solution.front == front else solution.model_copy(update={"front": front}))
    return marked


def to_measure(solutions: Iterable[Solution], most: float, within_s: float | None = None) -> Iterator[Solution]:
    """Of solutions in order of time, what has to be measured next to be sure of the fastest that loses at most `most`
    (a share): the front up to the first that was measured to, and pictures, whose estimates say little. Those later
    than `within_s` are left out."""
    for solution in solutions:
        if within_s is not None and solution.total_s > within_s:
            return
        known = solution.measured or solution.agreed
        if known and solution.judged_loss is not None and solution.judged_loss <= most:
            return
        if (solution.front or ":" in solution.codec) and measurable(solution):
            yield solution


def measurable(solution: Solution) -> bool:
    """Is its loss not known, and not zero by itself (the input as it is, everything in floating point)?"""
    return not (solution.measured or solution.agreed or (solution.distortion == 0.0 and solution.loss == 0.0))


def _measured(problem: Problem, solution: Solution) -> dict[str, float] | None:
    """What is known of a loss by the solution's own name; of an upload also by its codec's, of a baseline also by the
    planner's."""
    for name in (solution.name, solution.codec if ":" in solution.codec else solution.planner):
        if name in problem.losses:
            loss, error = problem.losses[name], problem.give_or_take.get(name)
            told = {} if error is None else {"give_or_take": error}
            return {"loss": loss, "sure_loss": loss + problem.limits.loss_errors * (error or 0.0), **told}
    return None


def _lost(solution: Solution) -> tuple[float, float]:
    """Loss as it is judged, then distortion."""
    loss, distortion = solution.judged_loss, solution.distortion
    return (float("inf") if loss is None else loss, float("inf") if distortion is None else distortion)

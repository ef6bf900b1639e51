"""What every choice would have taken had it never been changed, beside what was taken: how much may be risked yet."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from isthmus.adapt.lateness import Seconds

SHARE = 0.01
"""Of all the time spent: so much longer than the best choice that never changes may be taken."""
FIRST = 0.75
"""Requests of the best such choice: so much may be lost from the start, before a hundredth of what was spent is more.
Less than the 1.2 requests that 90 s with one every 0.73 s leave, for what others would have taken is estimated."""


class Hindsight:
    """A guard over a chooser that goes by forecasts. Where a link falls without notice again and again, expected gains
    of a tenth are lost five times over by one answer that is late; forecasts cannot tell such a link from one that has
    fallen once. What was lost so far can, and what may be lost with the next request can be told beforehand.

    For every choice that never changes, `lost_s` is how much longer all requests took than with it. A request is
    charged before it is made: a choice is taken only if in none of the cases that may come (as expected, the link at
    either end of what is believed, or it falls) its loss to any other would be above what is allowed. Where none keeps
    within that, for two that never change were each the better one for a while, the one least above it is taken.
    (Conservative bandits: Wu, Shariff, Lattimore, Szepesvári, ICML 2016: explore only where even at its pessimistic
    price the sum stays within a share of the baseline's. There only the arm played is seen, and there is one baseline;
    here every choice's time is known afterwards, and each is a baseline. So is the chooser without its guard: a device
    that was once the best never changing choice must not be held to where changing is far better than any.)

    What holds on every sequence, while no request goes worse than its cases: after each, no choice is lost to by more
    than was allowed, or than the least that could be made sure of. No rule can promise the first alone: a link that
    falls whenever it is used, and only then, makes each choice lose to another (docs/decisions/0009).

    >>> guard = Hindsight(3)
    >>> fine, fallen = np.array([0.4, 0.08, 0.1]), np.array([0.9, 0.15, 0.1])
    >>> guard.settle(fine, took_s=0.1, free_s=0.1)
    >>> guard.rows(np.stack([fine, fallen]), np.arange(3), free=1).tolist()
    [1, 2]
    >>> guard.settle(fallen, took_s=0.15, free_s=0.15)
    >>> guard.rows(np.stack([fine, fallen]), np.arange(3), free=1).tolist()
    [2]
    """

    def __init__(self, choices: int) -> None:
        self.lost_s = np.zeros(choices)
        """by how much all that was taken is above what each choice would have taken; below 0 where it is less"""
        self.forgone_s = 0.0
        """and above what the forecasts alone would have"""
        self._spent_s = 0.0
        self._count = 0

    @property
    def best_s(self) -> float:
        """A request of the best choice that never changes; inf before the first."""
        return (self._spent_s - float(self.lost_s.max())) / self._count if self._count else math.inf

    @property
    def allowed_s(self) -> float:
        """How much may be lost by now; inf before the first request."""
        return max(FIRST * self.best_s, SHARE * self._spent_s)

    def settle(self, fixed_s: Seconds, took_s: float, free_s: float) -> None:
        """One request, afterwards: the seconds that every choice would have taken had it never been changed, what was
        taken, and what would have been had nothing been held back."""
        self.lost_s += took_s - fixed_s
        self.forgone_s += took_s - free_s
        self._spent_s += took_s
        self._count += 1

    def risk_s(self, cases_s: Seconds, free: int) -> Seconds:
        """What will have been lost with each choice at worst, to whichever other that is. `cases_s`: seconds of the
        next request, shape (cases, choices); `free`: the choice of the forecasts alone."""
        lost_s = np.maximum((self.lost_s - cases_s).max(axis=1), self.forgone_s - cases_s[:, free])
        risk_s: Seconds = (cases_s + lost_s[:, None]).max(axis=0)
        return risk_s

    def rows(self, cases_s: Seconds, among: NDArray[np.intp], free: int) -> NDArray[np.intp]:
        """Those of some choices that may be taken."""
        risk_s = self.risk_s(cases_s, free)[among]
        return among[risk_s <= max(self.allowed_s, float(risk_s.min()))]

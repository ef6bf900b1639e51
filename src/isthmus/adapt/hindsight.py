"""What every choice would have taken had it never been changed, beside what was taken: when to gamble no further."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MEMORY = 150.0
"""Requests after which what is old counts a third."""
ALLOWED = 0.3
"""Requests' worth of time that may be lost by sending more than the best choice that never changes, or less. A late
answer costs half a request: 90 s with a request every 0.73 s are to end within 1 %, that is, within 1.2 requests."""
EARNED = 1.0
"""Requests' worth that not sending more must have cost before it ends where `ALLOWED` was lost, in proportion where
more was: another late answer is not risked for less than what two have cost."""
LESS = 0.5
"""And not sending less, whatever was lost: who sends less risks less, and must not be late when a link falls."""


class Hindsight:
    """A guard over a chooser that goes by forecasts. Where a link falls without notice again and again, expected gains
    of a tenth are lost five times over by one answer that is late; forecasts cannot tell such a link from one that has
    fallen once, but the outcome can.

    The best fixed choice of the requests so far is the leader. Once more than `ALLOWED` was lost to it by putting more
    on the link than it does, nothing is chosen that does so, until what that caution forgoes, request by request and in
    what is forecast for the next, makes up for what was lost. Much the same for putting less on the link. (The idea of
    conservative bandits: Wu, Shariff, Lattimore, Szepesvári, ICML 2016, explore only as far as the baseline's time
    allows; here every choice's time is known afterwards, from the rate that was seen.)

    >>> guard = Hindsight(np.array([300e3, 30e3, 0.0]))
    >>> for _ in range(3):
    ...     guard.settle(np.array([0.4, 0.14, 0.1]), took_s=0.14, row=1, free=1)
    >>> every = np.arange(3)
    >>> [guard.rows(np.array(worth_s), every).tolist() for worth_s in ([0.09, 0.085, 0.1], [0.09, 0.01, 0.4])]
    [[2], [0, 1, 2]]
    """

    def __init__(self, crossing_bytes: NDArray[np.float64]) -> None:
        self._bytes = crossing_bytes
        self._fixed_s = np.zeros(len(crossing_bytes))
        self._count = 0.0
        self.leader: int | None = None
        """the best choice that never changes, of the requests so far; None before the first"""
        self.sides = _Side(1), _Side(-1)
        """those that put more on the link than the leader does, and those that put less"""

    def settle(self, fixed_s: NDArray[np.float64], took_s: float, row: int, free: int) -> None:
        """One request, afterwards: the seconds that every choice would have taken; what was taken, by which choice, and
        which it would have been had nothing been held back."""
        if self.leader is not None:
            unit_s = float(self._fixed_s[self.leader]) / self._count
            leaders = float(fixed_s[self.leader])
            for side in self.sides:
                lost_s = took_s - leaders if side.has(self._off(row)) else 0.0
                forgone_s = leaders - float(fixed_s[free]) if side.has(self._off(free)) else 0.0
                side.settle(lost_s / unit_s, forgone_s / unit_s)
        fade = 1 - 1 / MEMORY
        self._fixed_s = fade * self._fixed_s + fixed_s
        self._count = fade * self._count + 1
        self.leader = int(np.argmin(self._fixed_s))

    def rows(self, worth_s: NDArray[np.float64], among: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those to choose among, of some that come into question, at what each is forecast to be worth."""
        if self.leader is None:
            return among
        unit_s = float(self._fixed_s[self.leader]) / self._count
        for side in self.sides:
            if side.careful:
                off = np.sign(self._bytes[among] - self._bytes[self.leader]) == side.sign
                if off.any() and not off.all():
                    gain_s = float(worth_s[among[~off]].min() - worth_s[among[off]].min())
                    among = among if side.worth_it(gain_s / unit_s) else among[~off]
        return among

    def _off(self, row: int) -> float:
        assert self.leader is not None
        return float(self._bytes[row] - self._bytes[self.leader])


class _Side:
    """What is lost on one side of the leader, in requests."""

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.lost = self._forgone = 0.0
        self.careful = False

    def has(self, off_bytes: float) -> bool:
        """Is a choice that puts so much more on the link than the leader on this side?"""
        return off_bytes * self.sign > 0

    def settle(self, lost: float, forgone: float) -> None:
        """One request: what it cost more than the leader's, what that would have cost more than the free choice."""
        self.lost = (1 - 1 / MEMORY) * self.lost + lost
        if self.careful:
            self._forgone = max(0.0, self._forgone + forgone)
            self.careful = self.lost >= ALLOWED / 2 and not self.worth_it(0.0)
        elif self.lost > ALLOWED:
            self.careful, self._forgone = True, 0.0

    def worth_it(self, gain: float) -> bool:
        """Does what caution has cost, with what is forecast now, make up for what was lost?"""
        asked = EARNED * max(1.0, self.lost / ALLOWED) if self.sign > 0 else LESS
        return self._forgone + gain >= asked

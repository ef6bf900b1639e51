"""What every choice would have taken had it never been changed, beside what was taken: when to gamble no further."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MEMORY = 150.0
"""Requests after which what is old counts a third."""
FADE = 1 - 1 / MEMORY
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
    >>> [guard.rows(np.array(worth_s), every).tolist() for worth_s in ([0.09, 0.085, 0.1], [0.09, 0.01, 0.7])]
    [[2], [0, 1, 2]]
    """

    def __init__(self, crossing_bytes: NDArray[np.float64]) -> None:
        self._bytes = crossing_bytes
        self._fixed_s = np.zeros(len(crossing_bytes))
        self._count = 0.0
        self.leader: int | None = None
        """the best choice that never changes, of the requests so far; None before the first"""
        self.sides = _Side(1, crossing_bytes), _Side(-1, crossing_bytes)
        """those that put more on the link than the leader does, and those that put less"""

    def settle(self, fixed_s: NDArray[np.float64], took_s: float, row: int, free: int) -> None:
        """One request, afterwards: the seconds that every choice would have taken; what was taken, by which choice, and
        which it would have been had nothing been held back."""
        self._fixed_s = FADE * self._fixed_s + fixed_s
        self._count = FADE * self._count + 1
        self.leader = int(np.argmin(self._fixed_s))
        for side in self.sides:
            side.settle(took_s - fixed_s, row)
            side.weigh(self.leader, float(fixed_s[self.leader] - fixed_s[free]), free, self._unit_s)

    def rows(self, worth_s: NDArray[np.float64], among: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those to choose among, of some that come into question, at what each is forecast to be worth."""
        if self.leader is None:
            return among
        for side in self.sides:
            if side.careful:
                off = side.of(self.leader)[among]
                if off.any() and not off.all():
                    gain_s = float(worth_s[among[~off]].min() - worth_s[among[off]].min())
                    among = among if side.worth_it(gain_s / self._unit_s) else among[~off]
        return among

    @property
    def _unit_s(self) -> float:
        """What a request takes with the leader, on average."""
        assert self.leader is not None
        return float(self._fixed_s[self.leader]) / self._count


class _Side:
    """What is lost, in requests, by choices that put more on the link than the leader (sign 1), or less (-1)."""

    def __init__(self, sign: int, crossing_bytes: NDArray[np.float64]) -> None:
        self.sign = sign
        self._bytes = sign * crossing_bytes
        self._above_s = np.zeros(len(crossing_bytes))
        """seconds taken above every choice, by those on this side of it: whoever leads, it is known what was lost"""
        self.lost = self._forgone = 0.0
        self.careful = False

    def of(self, row: int) -> NDArray[np.bool_]:
        """The choices on this side of one."""
        found: NDArray[np.bool_] = self._bytes > self._bytes[row]
        return found

    def settle(self, above_s: NDArray[np.float64], row: int) -> None:
        """One request by this row: seconds above what every choice would have taken."""
        self._above_s = FADE * self._above_s + np.where(self._bytes[row] > self._bytes, above_s, 0.0)

    def weigh(self, leader: int, gain_s: float, free: int, unit_s: float) -> None:
        """Is it time for caution, or for no more of it? gain_s: the free choice's, over the leader."""
        self.lost = float(self._above_s[leader]) / unit_s
        if self.careful:
            if self._bytes[free] > self._bytes[leader]:
                self._forgone = max(0.0, self._forgone + gain_s / unit_s)
            self.careful = self.lost >= ALLOWED / 2 and not self.worth_it(0.0)
        elif self.lost > ALLOWED:
            self.careful, self._forgone = True, 0.0

    def worth_it(self, gain: float) -> bool:
        """Does what caution has cost, with what is forecast now, make up for what was lost?"""
        asked = EARNED * max(1.0, self.lost / ALLOWED) if self.sign > 0 else LESS
        return self._forgone + gain >= asked

"""How often the server's answer is late, and what that costs on top of the expected time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]

FIRST = 1 / 60
"""Believed at first: as often as the link is believed to change between two samples (`Prior.hazard`)."""
WORTH = 30.0
"""Requests that this belief counts for. Simulated with a request every 0.73 s over 150 parts of five sets of traces, 15
or 30 are the same within 0.05 %; without any, twice as many parts are more than 1 % above the best static plan."""
MEMORY = 100.0
LATE_S = 0.02
LATE = 0.1
WASTE = 0.25
"""An answer is late this much after it was expected, or this share of what was expected, or of what the device would
have to do, whichever is more: a busy machine is late by more than a small network takes, and what the device computes
beside a good answer is wasted."""


def late_after_s(expected_s: Seconds, rest_s: Seconds) -> Seconds:
    """So long after it began a request's answer is late, and the device begins with what it would have to do itself
    (`rest_s`). Waiting and computing go on side by side: nothing is lost by beginning but the device's work.

    >>> late_after_s(np.array([0.05, 0.5, 0.05]), np.array([0.06, 0.1, 2.0])).round(3).tolist()
    [0.07, 0.55, 0.55]
    """
    return expected_s + np.maximum(LATE_S, np.maximum(LATE * expected_s, WASTE * rest_s))


class Lateness:
    """The share of the requests sent of which the device had to do the rest, for the answer came too late or never.

    A choice that sends something is worth its expected time and this share of what being late costs: two choices may be
    as fast as a rule, and the one that needs nobody is then better.

    >>> late = Lateness()
    >>> for _ in range(30):
    ...     late.sent(late=False)
    >>> round(late.share, 4)
    0.0077
    >>> late.sent(late=True)
    >>> round(late.share, 3)
    0.028
    """

    def __init__(self) -> None:
        self._sent, self._late = WORTH, FIRST * WORTH

    def sent(self, *, late: bool) -> None:
        """One more request went to the server; old ones fade."""
        fade = 1 - 1 / MEMORY
        self._sent, self._late = fade * self._sent + 1, fade * self._late + late

    @property
    def share(self) -> float:
        """0…1"""
        return self._late / self._sent

"""What the uplink carries, believed from dispersion samples: the mean of the present segment of log bandwidth."""

from __future__ import annotations

import math

from isthmus.adapt.change_points import ChangePoints, Prior
from isthmus.errors import BadInput

LOWEST_BPS = 1e3
HIGHEST_BPS = 1e11
"""Samples beyond these are arithmetic, not links: they are not taken in."""
DRIFT = 0.08
"""Growth of the uncertainty with age: standard deviation of log bandwidth after 1 s without a sample, rising with the
square root of time. The median over real cellular and Wi-Fi traces at 1 Hz lies between 0.05 and 0.12."""
MAX_SD = 1.5


class Bandwidth:
    """The belief about the uplink. It starts at `start_bps`, which counts for little, and follows what it is told.

    A sample unlike the others raises `doubt` and nothing else; a second one like it moves the belief at once.

    >>> link = Bandwidth(10e6)
    >>> for t in range(6):
    ...     _ = link.observe(20e6, t)
    >>> _ = link.observe(0.2e6, 6)
    >>> round(link.bps / 1e6), link.doubt > 0.2
    (20, True)
    >>> [link.observe(bps, t) for t, bps in enumerate([20e6, 2e6, 2.1e6], 7)]
    [False, False, True]
    >>> round(link.bps / 1e6), link.low_bps(now_s=60) < 0.7 * link.bps
    (2, True)
    """

    def __init__(self, start_bps: float, prior: Prior | None = None) -> None:
        if not LOWEST_BPS <= start_bps <= HIGHEST_BPS:
            raise BadInput(f"a link cannot start at {start_bps:g} bit/s; take {LOWEST_BPS:g} to {HIGHEST_BPS:g}")
        self._start = start_bps
        self._changes = ChangePoints(prior)
        self._inverse = 1 / start_bps
        self.samples = 0
        self.last_s: float | None = None
        """when the last sample came"""

    def observe(self, up_bps: float, now_s: float) -> bool:
        """One sample. True when it made the belief jump to another segment. What cannot be a rate is ignored."""
        if not LOWEST_BPS <= up_bps <= HIGHEST_BPS:
            return False
        self.samples += 1
        self.last_s = now_s
        changed = self._changes.update(math.log(up_bps))
        self._inverse = self._changes.expected_inverse
        return changed

    def confirm(self, now_s: float) -> None:
        """What is believed still holds, although nobody can say more exactly how fast the link is."""
        if self.samples:
            self.last_s = now_s

    @property
    def bps(self) -> float:
        """The believed rate, bit/s."""
        return math.exp(self._changes.mean) if self.samples else self._start

    def worth_bps(self, now_s: float) -> float:
        """The steady rate that costs as much as the next transfer is expected to: 1 / the expected seconds a bit. Below
        `bps` where the rate wavers, for a slow transfer loses more than a fast one wins.

        >>> wavering = Bandwidth(10e6)
        >>> for t in range(40):
        ...     _ = wavering.observe(20e6 if t % 2 else 2e6, t)
        >>> wavering.worth_bps(40) < 0.8 * wavering.bps
        True
        """
        if not self.samples:
            return self._start
        drifted = 0.5 * DRIFT**2 * min(self.age_s(now_s), (MAX_SD / DRIFT) ** 2)
        return max(LOWEST_BPS, math.exp(-drifted) / self._inverse)

    @property
    def doubt(self) -> float:
        """0…1: how likely it is that the rate has just changed although the belief has not."""
        return self._changes.doubt

    @property
    def seen(self) -> float:
        """How many samples speak for the present rate: few after a change, up to the memory of the prior."""
        return self._changes.samples if self.samples else 0.0

    def age_s(self, now_s: float) -> float:
        """Seconds since the last sample; inf before the first."""
        return math.inf if self.last_s is None else max(0.0, now_s - self.last_s)

    def sd(self, now_s: float) -> float:
        """Standard deviation of log bandwidth: of a single transfer within the segment, and of what may have happened
        since the last sample. 0.1 is 10 %."""
        if self.last_s is None:
            return MAX_SD
        spread = math.hypot(self._changes.sd, self._changes.sd_of_mean)
        return min(MAX_SD, math.hypot(spread, DRIFT * math.sqrt(self.age_s(now_s))))

    def low_bps(self, now_s: float, deviations: float = 1.28) -> float:
        """A rate that the link exceeds nine times in ten (by default), as far as can be told."""
        return max(LOWEST_BPS, self.bps * math.exp(-deviations * self.sd(now_s)))

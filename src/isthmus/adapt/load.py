"""How much slower a machine is now than when it was profiled: the load factor, and other numbers of which a median of
the last few is the honest summary."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

from isthmus.errors import BadInput

LOWEST = 0.2
"""A machine five times as fast as its profile is a profile of another machine: nothing below is believed."""
HIGHEST = 1e3
ABSURD = 3600.0
"""A round trip or a wait of more than an hour (or such a factor) is a broken clock, not a measurement."""
KEPT = 5
STEADY_S = 2e-4
"""Added to both times before dividing: a part of 50 µs that took 100 µs does not mean a machine at half speed."""
HALF_LIFE_S = 10.0
"""Nobody sees the server while nothing is sent to it, and load passes: after this long, half of it is believed gone."""


class Recent:
    """The median of the last few samples (two of five may be wild, three move it). Unseen, it fades towards `rest`.

    >>> rtt = Recent(0.02)
    >>> for t, sample in enumerate([0.03, 0.03, 1.5, 0.03]):
    ...     rtt.observe(sample, t)
    >>> rtt.at(3), rtt.least
    (0.03, 0.02)
    """

    def __init__(self, start: float, *, rest: float | None = None, half_life_s: float = HALF_LIFE_S) -> None:
        if not half_life_s > 0:
            raise BadInput(f"a half-life must be above zero, not {half_life_s}")
        self._kept: deque[float] = deque(maxlen=KEPT)
        self._value = start
        self._rest = rest
        self._half_life_s = half_life_s
        self._last_s = -math.inf
        self.least = start
        """the least sample ever"""

    def observe(self, sample: float, now_s: float) -> None:
        """One sample; what is not within 0…`ABSURD` is ignored."""
        if 0 <= sample <= ABSURD:
            self._kept.append(sample)
            self._value = median(self._kept)
            self._last_s = now_s
            self.least = min(self.least, sample)

    def at(self, now_s: float) -> float:
        """The value as believed at `now_s`: only what lies above rest fades."""
        age_s = now_s - self._last_s
        if self._rest is None or self._value <= self._rest or age_s <= 0:
            return self._value
        return self._rest + (self._value - self._rest) * math.exp2(-age_s / self._half_life_s)


class LoadFactor:
    """Measured over profiled seconds, as the median of the last five, within 0.2…1000, going back to 1 unseen.

    >>> server = LoadFactor()
    >>> for t in range(3):
    ...     server.observe(measured_s=0.300, profiled_s=0.100, now_s=t)
    >>> [round(server.at(t), 1) for t in (2, 12, 1000)]
    [3.0, 2.0, 1.0]
    """

    def __init__(self) -> None:
        self._recent = Recent(1.0, rest=1.0)

    def observe(self, measured_s: float, profiled_s: float, now_s: float) -> None:
        """One measured time beside what the profile says; ignored where either is 0, which means unknown."""
        if 0 < profiled_s < math.inf and 0 < measured_s < math.inf:
            factor = (measured_s + STEADY_S) / (profiled_s + STEADY_S)
            self._recent.observe(min(HIGHEST, max(LOWEST, factor)), now_s)

    def at(self, now_s: float) -> float:
        """The factor as believed at `now_s`."""
        return self._recent.at(now_s)

"""What the downlink carries: measured where answers are long enough to show it, else in proportion to the uplink."""

from __future__ import annotations

from isthmus.adapt.bandwidth import HIGHEST_BPS, LOWEST_BPS, Bandwidth
from isthmus.adapt.change_points import Prior


class Downlink:
    """The belief about the downlink. Before the first sample it is `share` times the uplink `up`; between samples it
    moves as the uplink does, for requests and probes go up, and both ways mostly share one radio.

    Samples come only with answers of several pieces: what crosses when the server runs first, or a large output.

    >>> up = Bandwidth(10e6)
    >>> down = Downlink(up, share=2.0)
    >>> down.worth_bps(0.0)
    20000000.0
    >>> for t in range(5):
    ...     _ = up.observe(10e6, t)
    ...     down.observe(50e6, t)
    >>> round(down.worth_bps(4.0) / 1e6)
    49
    >>> [up.observe(2.5e6, t) for t in (5, 6)], round(down.worth_bps(6.0) / 1e6)
    ([False, True], 12)
    """

    def __init__(self, up: Bandwidth, share: float, prior: Prior | None = None) -> None:
        self._up, self._share, self._prior = up, share, prior
        self._belief: Bandwidth | None = None
        self._up_bps = up.bps
        """what was believed of the uplink at the last sample"""

    def observe(self, down_bps: float, now_s: float) -> None:
        """One sample, after the uplink's own of the same exchange. What cannot be a rate is ignored."""
        if not LOWEST_BPS <= down_bps <= HIGHEST_BPS:
            return
        self._belief = self._belief or Bandwidth(down_bps, self._prior)
        self._belief.observe(down_bps, now_s)
        self._up_bps = self._up.bps

    def worth_bps(self, now_s: float) -> float:
        """As `Bandwidth.worth_bps`."""
        if self._belief is None:
            return self._up.worth_bps(now_s) * self._share
        return self._belief.worth_bps(now_s) * self._moved

    def low_bps(self, now_s: float) -> float:
        """As `Bandwidth.low_bps`."""
        if self._belief is None:
            return self._up.low_bps(now_s) * self._share
        return self._belief.low_bps(now_s) * self._moved

    @property
    def _moved(self) -> float:
        return self._up.bps / self._up_bps

"""What is believed of the server: how loaded it is, how long requests wait there, and whether that is old news."""

from __future__ import annotations

import math

from isthmus.adapt.load import LOWEST, LoadFactor, Recent

AGAIN_S = 1.0
"""A server believed to be busy is asked again after this long without a word of it; then after twice as long, and so on
up to `RARELY_S`, until it is taken again."""
RARELY_S = 32.0
BUSY, WAITS_S = 1.05, 1e-3
"""From this load factor on, or with such a wait, a server is busy; less changes no choice by a chooser's margin."""


class Server:
    """Load factor and queue, each going back to what the profile says where nothing is heard. That takes tens of
    seconds, and whoever computes everything himself meanwhile hears nothing: one slow answer at the beginning of a
    session kept it on the device until the belief had faded. So what is old is asked after, beside the device.

    >>> server = Server()
    >>> server.worked(measured_s=0.080, profiled_s=0.010, now_s=0.0)
    >>> server.is_old(0.5), server.is_old(1.0)
    (False, True)
    >>> server.asked(1.0)
    >>> server.is_old(2.5), server.is_old(3.0)
    (False, True)
    """

    def __init__(self) -> None:
        self._load = LoadFactor()
        self._queue = Recent(0.0, rest=0.0)
        self._heard_s = -math.inf
        self._gap_s = AGAIN_S

    def worked(self, measured_s: float, profiled_s: float, now_s: float) -> None:
        """An answer told how long it was computed, beside what the profile says."""
        self._load.observe(measured_s, profiled_s, now_s)
        self._heard_s = now_s

    def waited(self, queue_s: float, now_s: float) -> None:
        """And how long its request had waited until then."""
        self._queue.observe(queue_s, now_s)
        self._heard_s = now_s

    def load(self, now_s: float) -> float:
        """The factor on the profile's times; above 1 is slower."""
        return self._load.at(now_s)

    def wait_s(self, now_s: float) -> float:
        """Seconds that a request waits before it is computed."""
        return self._queue.at(now_s)

    def at_best(self, now_s: float) -> float:
        """The load factor of a server that is idle: as profiled, or as quick as it was seen to be."""
        return min(1.0, max(LOWEST, self.load(now_s)))

    def is_old(self, now_s: float) -> bool:
        """Whether it is believed to be busier than it may be, and neither heard nor asked for a while."""
        if now_s < self._heard_s + self._gap_s:
            return False
        return self.load(now_s) > BUSY or self.wait_s(now_s) > WAITS_S

    def asked(self, now_s: float) -> None:
        """A request was sent for no other reason than that it was old."""
        self._heard_s, self._gap_s = now_s, min(RARELY_S, 2 * self._gap_s)

    def taken(self) -> None:
        """It is good enough to be taken, busy or not."""
        self._gap_s = AGAIN_S

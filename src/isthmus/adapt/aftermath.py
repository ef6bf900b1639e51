"""What a request took, beside what every other choice would have taken: known once the link has shown itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from isthmus.adapt.lateness import Seconds
from isthmus.adapt.load import ABSURD
from isthmus.adapt.sizes import Size
from isthmus.record.types import Step

WAITS_S = 2.0
"""Without a deadline, whoever never changes is taken to wait so long for an answer, as the client does by itself."""
STALL = 3.0
"""A probe that took this many times as long as its own rate says found a link that stood still."""
MOST = 16
"""Requests that wait for the link to show itself; the oldest is settled at the rate believed."""
Price = Callable[[Size, float | None], Seconds]
"""What every choice takes at this uplink rate (None: the rate believed) and with everything else as believed now."""


@dataclass(frozen=True)
class _Open:
    """One request of which the last word is not spoken. row: what was chosen; free: what would have been, had nothing
    been held back; latency: what every choice was expected to take; took_s: what it took where the device answered in
    the server's place, None where it was as expected at the rate it met."""

    size: Size
    row: int
    free: int
    latency: Seconds
    began_s: float
    up_bps: float | None
    took_s: float | None = None


class Aftermath:
    """Settles one request after the other with `Hindsight`, at the rate that the request itself showed; where it showed
    none, at that of the next sample.

    A late answer is a matter of its own. Here the device began too, and the request ended soon after; whoever never
    changes does not race: he waits until the server shows itself again, or to the deadline and for the device after it.
    Counted as no dearer than the race, links that fall looked good for always sending: over 60 recorded parts a late
    request would have taken that 0.77 s on average and counted as 0.15; so counted, 0.49.
    """

    def __init__(self, price: Price, deadline_s: float | None) -> None:
        self._price = price
        self._wait_s = WAITS_S if deadline_s is None else deadline_s
        self._unseen: list[_Open] = []
        self._late: _Open | None = None

    def told(self, step: Step, told_bps: float | None) -> None:
        """What a step, whosever it was, says of the requests before it. told_bps: the rate that it showed."""
        now_s = step.t_s + step.seconds.total
        if step.ran != "device" and not step.trouble and step.seconds.total > 0:
            self._settle_late(now_s)
        while self._unseen and (told_bps is not None or len(self._unseen) > MOST):
            made = self._unseen.pop(0)
            waited_s = now_s - made.began_s if told_bps is not None and _stalled(step, told_bps) else 0.0
            fixed_s = np.maximum(self._price(made.size, told_bps), waited_s * made.size.table.sends_up)
            self._settle(made, self._until_deadline(made, fixed_s))

    def ended(self, step: Step, size: Size, rows: tuple[int, int], latency: Seconds, told_bps: float | None) -> None:
        """A request has ended, after `told`. rows: what was decided for it, and what would have been, had nothing been
        held back; latency: what every choice was expected to take then."""
        took_s = min(ABSURD, max(0.0, step.seconds.total))
        here = step.trouble or step.in_its_place
        made = _Open(size, *rows, latency, step.t_s, told_bps, took_s if here else None)
        if step.trouble:
            self._settle_late(step.t_s)
            self._late = made
            if not step.up_bytes:  # nothing could be sent, by nobody
                self._settle_late(step.t_s)
        elif not here and (step.up_bytes or told_bps is not None):  # in time: no other would have been late, either
            self._settle(made, np.minimum(self._price(size, told_bps), size.raced_s(latency)))
        else:
            self._unseen.append(made)

    def _settle_late(self, back_s: float) -> None:
        """The one that was late, now that the server has shown itself again, or the next one begins."""
        made, self._late = self._late, None
        if made is None:
            return
        waited_s = max(made.took_s or 0.0, back_s - made.began_s)
        fixed_s = np.maximum(self._price(made.size, made.up_bps), waited_s * made.size.table.sends_up)
        self._settle(made, self._until_deadline(made, fixed_s))

    def _until_deadline(self, made: _Open, fixed_s: Seconds) -> Seconds:
        latest_s = self._wait_s + made.size.rest_s(made.latency)
        return np.where(made.size.table.sends_up > 0, np.minimum(fixed_s, latest_s), fixed_s)

    @staticmethod
    def _settle(made: _Open, fixed_s: Seconds) -> None:
        took_s = float(fixed_s[made.row]) if made.took_s is None else made.took_s
        raced_s = min(float(fixed_s[made.free]), float(made.size.raced_s(made.latency)[made.free]))
        made.size.hindsight.settle(fixed_s, took_s, took_s if made.free == made.row else raced_s)


def _stalled(step: Step, bps: float) -> bool:
    """Whether the link stood still when this probe was sent; most likely since before what was not seen until then."""
    expected_s = 8 * step.up_bytes / bps + (step.evidence.rtt_s or 0.0)
    return step.kind == "probe" and step.up_bytes > 0 and step.seconds.total > STALL * expected_s

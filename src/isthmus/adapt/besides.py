"""What is sent although the device computes everything itself: whoever is first counts.

Dean and Barroso ("The Tail at Scale", CACM 2013) hedge a request at a second server; here the second one is the device,
and nobody waits for an answer that does not come. Where `Hindsight` holds a choice back because its answer may be late,
it need not be forgone: late costs only the writing then. And the link shows itself without a probe.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.adapt.habits import Habits
from isthmus.adapt.lateness import Seconds
from isthmus.adapt.sizes import Size

HELD_UP = 0.25
"""Writing and sending something may make what the device does by itself so much longer: a picture as JPEG takes a tenth
of EfficientNet-B0's time."""
SOON = 0.5
"""What is sent besides leaves before this share of the device's own time is over. A cut right before the end gains
nothing, tells of the link late, and its answer is easily late for no fault of the link."""


def sent_besides(size: Size, latency: Seconds, at: int, free: int, habits: Habits) -> int | None:
    """The row to be sent besides where `at`, what is taken, is the device alone; None: nothing. That is what the
    forecasts alone would have sent (`free`), where it was held back; else what is as quick within the margin, if
    sending it holds the device up by no more than that. What the device does by itself stays in time, where it is. It
    costs the device's work of writing, and the bytes."""
    sent = _leaving_soon(size, at)
    if not sent.size or (free != at and free not in sent):
        return None
    best = free if free != at else int(sent[np.argmin(latency[sent])])
    most_s = _most_allowed_s(latency, at, HELD_UP if free != at else habits.margin, habits)
    quick = free != at or latency[best] <= most_s
    return best if quick and _most_s(size, latency, best) <= most_s else None


def sent_for_news(size: Size, idle: Seconds, at: int, habits: Habits) -> int | None:
    """The row to be sent besides only to hear whether the server is still as busy as it is believed to be: the best of
    those that tell, were it idle again, which is what `idle` prices. None where even that would change nothing, or
    sending holds the device up."""
    sent = _leaving_soon(size, at)
    sent = sent[size.server_speaks[sent]]
    if not sent.size:
        return None
    best = int(sent[np.argmin(idle[sent])])
    better = idle[best] < (1 - habits.margin) * idle[at]
    return best if better and _most_s(size, idle, best) <= _most_allowed_s(idle, at, HELD_UP, habits) else None


def _leaving_soon(size: Size, at: int) -> NDArray[np.intp]:
    """The rows that may be sent beside the device alone; none where `at` is anything else."""
    if at != size.whole or size.table.first == "server":
        return np.empty(0, np.intp)
    return np.flatnonzero((size.table.sends_up > 0) & (size.table.device_s <= SOON * size.table.device_s[at]))


def _most_allowed_s(latency: Seconds, at: int, held_up: float, habits: Habits) -> float:
    """How long what the device does by itself may take then: so much longer, and in time where it would have been."""
    most_s, deadline_s = (1 + held_up) * float(latency[at]), habits.deadline_s
    return most_s if deadline_s is None or latency[at] > deadline_s else min(most_s, deadline_s)


def _most_s(size: Size, latency: Seconds, row: int) -> float:
    """What such a request takes at most: the device's part of the choice, and the rest of the network."""
    assert size.whole is not None
    slower = float(latency[size.whole]) / max(float(size.table.device_s[size.whole]), 1e-12)
    return slower * float(size.table.device_s[row]) + float(size.rest_s(latency)[row])

"""What is sent although the device computes everything itself: whoever is first counts.

Dean and Barroso ("The Tail at Scale", CACM 2013) hedge a request at a second server; here the second one is the device,
and nobody waits for an answer that does not come. Where `Hindsight` holds a choice back because its answer may be late,
it need not be forgone: late costs only the writing then. And the link shows itself without a probe.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.adapt.habits import Habits
from isthmus.adapt.sizes import Size

HELD_UP = 0.25
"""Writing and sending something may make what the device does by itself so much longer: a picture as JPEG takes a tenth
of EfficientNet-B0's time."""
SOON = 0.5
"""What is sent besides leaves before this share of the device's own time is over. A cut right before the end gains
nothing, tells of the link late, and its answer is easily late for no fault of the link."""


def sent_besides(size: Size, latency: NDArray[np.float64], at: int, free: int, habits: Habits) -> int | None:
    """The row to be sent besides where `at`, what is taken, is the device alone; None: nothing. That is what the
    forecasts alone would have sent (`free`), where it was held back; else what is as quick within the margin, if
    sending it holds the device up by no more than that. What the device does by itself stays in time, where it is. It
    costs the device's work of writing, and the bytes."""
    if at != size.whole or size.table.first == "server":
        return None
    sent = np.flatnonzero((size.table.sends_up > 0) & (size.table.device_s <= SOON * size.table.device_s[at]))
    if not sent.size or (free != at and free not in sent):
        return None
    best = free if free != at else int(sent[np.argmin(latency[sent])])
    most_s = (1 + (HELD_UP if free != at else habits.margin)) * latency[at]
    if habits.deadline_s is not None and latency[at] <= habits.deadline_s:
        most_s = min(most_s, habits.deadline_s)
    quick = free != at or latency[best] <= most_s
    return best if quick and _most_s(size, latency, best) <= most_s else None


def _most_s(size: Size, latency: NDArray[np.float64], row: int) -> float:
    """What such a request takes at most: the device's part of the choice, and the rest of the network."""
    assert size.whole is not None
    slower = float(latency[size.whole]) / max(float(size.table.device_s[size.whole]), 1e-12)
    return slower * float(size.table.device_s[row]) + float(size.rest_s(latency)[row])

"""How uneven a run was: what a promise for the next one has to count with."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from isthmus.errors import BadInput
from isthmus.record.types import Step

FEWEST = 20
"""Requests by which it can be told what one in ten does."""
_ALIKE = 4
"""Requests of one kind by which it is known what such a request usually takes."""


@dataclass(frozen=True)
class Lateness:
    """By which share one in ten takes at least longer than usual (0.2: a fifth): exchanges (`isthmus.link.Link.late`),
    the device's work and the server's (`isthmus.profile.times.Times.late`); None where the run had too few to tell."""

    link: float | None
    device: float | None
    server: float | None


def late_of(steps: Iterable[Step]) -> Lateness:
    """How uneven the requests of a run were, each beside the median of its kind: same cut, codec, exit, batch and side
    that ran first. What is no machine's work counts as the exchange, waiting at the server with it; an exchange whose
    answer never came is later than all others. Probes tell nothing here.

    Raises BadInput for a run with fewer than `FEWEST` comparable requests of every sort, and for one in which more than
    one exchange in ten was given up: nothing can be promised on such a link.
    """
    kinds: defaultdict[tuple[object, ...], list[Step]] = defaultdict(list)
    for step in steps:
        if step.kind != "probe":
            cut = step.asked or step.cut
            kinds[cut, step.codec, step.exit, step.batch, step.first].append(step)
    found = {
        "link": _one_in_ten(kinds.values(), crossing_s),
        "device": _one_in_ten(kinds.values(), _device_s),
        "server": _one_in_ten(kinds.values(), _server_s),
    }
    if found["link"] == math.inf:
        raise BadInput("more than one exchange in ten was given up in this run: no share of requests can be promised")
    if all(late is None for late in found.values()):
        raise BadInput(
            f"a run shows how late one in ten is by {FEWEST} requests that can be compared (at least {_ALIKE} of a "
            f"kind); this one holds {sum(len(kind) for kind in kinds.values())} of {len(kinds)} kinds"
        )
    return Lateness(**found)


def crossing_s(step: Step) -> float:
    """Seconds of a request that are no machine's work; infinite where an answer never came, 0 where none was asked."""
    s = step.seconds
    if s.lost or step.kind == "lost":
        return math.inf
    return s.total - s.head - s.encode - s.decode - s.tail - s.local if step.ran != "device" else 0.0


def _device_s(step: Step) -> float:
    s, told = step.seconds, step.evidence.device_s
    if step.trouble:
        return 0.0
    if told is not None:
        return told
    return s.local if step.ran == "device" else (s.head + s.encode if step.first == "device" else 0.0)


def _server_s(step: Step) -> float:
    s, told = step.seconds, step.evidence.server_s
    if step.trouble or step.ran == "device":
        return 0.0
    if told is not None:
        return told
    return s.decode + s.tail if step.first == "device" else 0.0


def _one_in_ten(kinds: Iterable[Sequence[Step]], seconds: Callable[[Step], float]) -> float | None:
    """The share by which one in ten takes longer than the median of its kind; None where there are too few."""
    ratios: list[float] = []
    for kind in kinds:
        spent = [s for s in map(seconds, kind) if s > 0]
        if len(spent) >= _ALIKE:
            usual = median([s for s in spent if s < math.inf] or [1.0])
            ratios += [s / usual for s in spent]
    if len(ratios) < FEWEST:
        return None
    return max(0.0, float(np.quantile(ratios, 0.9, method="higher")) - 1)

"""What the link does during the demo: rates at which this model, on this machine, is best cut at different places."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from isthmus.errors import BadInput
from isthmus.link import Link, Trace
from isthmus.plan import CostTable

_LOW_BPS, _HIGH_BPS = 100e3, 400e6
_CLEAR = 1.05
"""A rate is taken from where the best place wins by this factor, so that a noisy machine does not blur the picture."""


@dataclass(frozen=True)
class Scene:
    """The link's rate over time, and when the server is killed and started again (seconds of the run)."""

    trace: Trace
    seconds: float
    killed_s: float
    restarted_s: float
    places: tuple[str, ...]


def scene_for(table: CostTable, link: Link, *, seconds: float) -> Scene:
    """A scene of this length in which the best place changes at every step. Raises BadInput when no link would make
    this model run in at least three different places (a fast device, or a network without a narrow place)."""
    found = _places(table, link)
    if len(found) < 3:
        names = ", ".join(p for p, _ in found)
        raise BadInput(f"at any rate this model only runs at {names}; the demo needs a slower device (--slowdown)")
    fast_to_slow = [rate for _, rate in reversed(_widest(found, 4))]
    rates = [*fast_to_slow, *fast_to_slow[1:-1][::-1], fast_to_slow[0]]
    step = seconds / len(rates)
    trace = Trace.of([i * step for i in range(len(rates))], rates)
    killed = seconds - 1.6 * step
    return Scene(trace, seconds, killed, killed + 0.35 * step, tuple(p for p, _ in found))


def _places(table: CostTable, link: Link) -> list[tuple[str, float]]:
    """(cut, a rate at which it clearly wins), from the slowest rate to the fastest."""
    wins = []
    for rate in np.geomspace(_LOW_BPS, _HIGH_BPS, 241):
        latency = table.latency_s(rate, rate * link.down_bps / link.up_bps, link.rtt_s)
        best = int(np.argmin(latency))
        others = [float(s) for s, cut in zip(latency, table.cuts, strict=True) if cut != table.cuts[best]]
        clear = bool(others) and min(others) >= _CLEAR * float(latency[best])
        wins.append((table.cuts[best], float(rate), clear))
    found: list[tuple[str, float]] = []
    for cut, group in groupby(wins, key=lambda w: w[0]):
        rates = [rate for _, rate, clear in group if clear]
        if rates:
            found.append((cut, rates[len(rates) // 2] if len(found) else rates[-len(rates) // 4]))
    return found


def _widest(found: list[tuple[str, float]], most: int) -> list[tuple[str, float]]:
    """At most `most` of them, the ends and those spread evenly between."""
    if len(found) <= most:
        return found
    chosen = sorted({round(i) for i in np.linspace(0, len(found) - 1, most)})
    return [found[i] for i in chosen]

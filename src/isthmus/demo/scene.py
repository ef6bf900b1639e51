"""What the link does during the demo: rates at which this model, on this machine, is best cut at different places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import BadInput
from isthmus.graph import INPUT, OUTPUT
from isthmus.link import Link, Trace
from isthmus.plan import CostTable

Seconds = NDArray[np.float64]
_RATES_BPS = np.geomspace(100e3, 1e9, 161)
_CLEAR = 1.12
"""A place is shown where it wins by this factor, so that a noisy machine does not blur the picture."""

_BEYOND = 1.6
"""The ends are shown this factor beyond the rate where they begin to win."""


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
        names = " and ".join(p for p, _ in found) or "no place clearly"
        raise BadInput(f"at any rate this model is best at {names}; the demo needs a slower device (--slowdown)")
    fast_to_slow = [rate for _, rate in reversed(found)]
    rates = [*fast_to_slow, *fast_to_slow[1:-1][::-1], fast_to_slow[0]]
    step = seconds / len(rates)
    trace = Trace.of([i * step for i in range(len(rates))], rates)
    killed = seconds - 1.6 * step
    return Scene(trace, seconds, killed, killed + 0.35 * step, tuple(p for p, _ in found))


def _places(table: CostTable, link: Link) -> list[tuple[str, float]]:
    """(cut, a rate at which it clearly wins) from the slowest rate to the fastest: everything on the device, one or two
    cuts between, everything on the server; those of them that there are."""
    cuts = sorted(set(table.cuts))
    rows = np.array([_by_cut(table, link, float(rate), cuts) for rate in _RATES_BPS])
    device, server = rows[:, cuts.index(OUTPUT)], rows[:, cuts.index(INPUT)]
    inner = np.where([c in (INPUT, OUTPUT) for c in cuts], np.inf, rows)
    best = inner.min(axis=1)
    found = []
    slow = np.flatnonzero(np.minimum(best, server) > _CLEAR * device)
    if slow.size:
        found.append((OUTPUT, float(_RATES_BPS[slow[-1]]) / _BEYOND))
    found += _between(inner, np.minimum(device, server), cuts)
    fast = np.flatnonzero(np.minimum(best, device) > _CLEAR * server)
    if fast.size:
        found.append((INPUT, float(_RATES_BPS[fast[0]]) * _BEYOND))
    return found


def _between(inner: Seconds, ends: Seconds, cuts: list[str]) -> list[tuple[str, float]]:
    """The cut that gains most over either end, and another that clearly beats it at some other rate."""
    gain = ends / inner.min(axis=1)
    at = int(np.argmax(gain))
    if gain[at] < _CLEAR:
        return []
    first = int(np.argmin(inner[at]))
    chosen = [(cuts[first], float(_RATES_BPS[at]))]
    over_first = np.where(gain >= _CLEAR, inner[:, first] / inner.min(axis=1), 0.0)
    other = int(np.argmax(over_first))
    if over_first[other] >= _CLEAR:
        chosen.append((cuts[int(np.argmin(inner[other]))], float(_RATES_BPS[other])))
    return sorted(chosen, key=lambda c: c[1])


def _by_cut(table: CostTable, link: Link, rate: float, cuts: list[str]) -> list[float]:
    """Seconds of each cut with its best codec."""
    latency = table.latency_s(rate, rate * link.down_bps / link.up_bps, link.rtt_s)
    least = dict.fromkeys(cuts, np.inf)
    for seconds, cut in zip(latency, table.cuts, strict=True):
        least[cut] = min(least[cut], float(seconds))
    return [least[c] for c in cuts]

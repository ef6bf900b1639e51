"""Is a trace fit to simulate on? What was not recorded is told, or refused where it is too much."""

from __future__ import annotations

import numpy as np

from isthmus.errors import BadInput
from isthmus.link import Trace
from isthmus.units import show_seconds

GAP_S = 10.0
"""A step longer than this, and than ten median steps, is a gap: nobody knows what the link did."""
GAP_STEPS = 10.0
MOST_UNKNOWN = 0.5
"""A trace of which more than this is gaps says more about its reader than about a link."""


def usable(trace: Trace, *, recorded: bool = True) -> list[str]:
    """Notes about the trace, each a sentence: gaps, in which the last value holds (as everywhere in isthmus), and
    outages. One that was written by hand (not `recorded`) has no gaps, however long its steps. Raises BadInput when it
    is mostly gaps.

    >>> usable(Trace.of([0, 1, 2, 3, 4, 5, 21], [8e6, 0, 8e6, 8e6, 8e6, 8e6, 8e6], duration_s=40))
    ['1 gap of 16 s in all, from 5 s on: the last value holds', 'no link for 2.5 % of the time']
    """
    steps = np.diff(trace.times_s)
    typical_s = float(np.median(steps)) if steps.size else 0.0
    gaps = np.flatnonzero(recorded & (steps > max(GAP_S, GAP_STEPS * typical_s)))
    unknown_s = float(steps[gaps].sum())
    if unknown_s > MOST_UNKNOWN * trace.duration_s:
        raise BadInput(
            f"the trace has no samples for {show_seconds(unknown_s)} of its {show_seconds(trace.duration_s)}: take a "
            "part of it that was recorded (--part), or another"
        )
    notes = []
    if gaps.size:
        plural = "s" if gaps.size > 1 else ""
        first = show_seconds(float(trace.times_s[gaps[0]]))
        notes.append(
            f"{gaps.size} gap{plural} of {show_seconds(unknown_s)} in all, from {first} on: the last value holds"
        )
    outage = trace.summary()["outage_share"]
    if outage > 0:
        notes.append(f"no link for {100 * outage:.3g} % of the time")
    return notes

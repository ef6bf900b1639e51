"""The steps of a run as columns of numbers, and the groups of neighbours that a chart of some hundred columns draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.record import CAUSES, Step, check_step, fell_back, in_order, true_rate_bps

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DRAWN_CAUSES = (*CAUSES, "rest")
"""`rest`: what the caller waited and no cause accounts for."""
RAN = ("device", "split", "server")
MOST_GROUPS = 800
"""A bar a request up to here: about one unit of the picture's width each."""


@dataclass(frozen=True)
class Columns:
    """Requests in order of their start; nan where something is not known. `causes_s` has shape (requests, causes)."""

    requests: tuple[Step, ...]
    probes: tuple[Step, ...]
    t_s: Floats
    total_s: Floats
    causes_s: Floats
    predicted_s: Floats
    estimate_bps: Floats
    true_bps: Floats
    ran: Ints
    fell: NDArray[np.bool_]
    evidence_t_s: Floats
    evidence_bps: Floats

    @property
    def span_s(self) -> tuple[float, float]:
        """First and last moment to draw; the journal's clock starts at 0, so a run that starts soon after is drawn
        from there."""
        steps = (*self.requests, *self.probes)
        if not steps:
            return 0.0, 1.0
        first, last = min(s.t_s for s in steps), max(s.t_s + max(s.seconds.total, 0.0) for s in steps)
        first = 0.0 if 0 <= first <= 0.25 * last else first
        return first, last if last > first else first + 1.0


def columns_of(steps: Sequence[Step], link_trace: Sequence[tuple[float, float]] = ()) -> Columns:
    """Columns of the steps; negative seconds (clocks of two machines differ) count as none. Raises BadInput on times
    that are not finite."""
    for step in steps:
        check_step(step)
    ordered = in_order(steps)
    requests = tuple(s for s in ordered if s.kind == "request")
    total_s = np.maximum(_floats([s.seconds.total for s in requests]), 0.0)
    named = np.array([[getattr(s.seconds, c) for c in CAUSES] for s in requests], dtype=np.float64)
    named = np.maximum(named.reshape(len(requests), len(CAUSES)), 0.0)
    rest = np.maximum(total_s - named.sum(axis=1), 0.0)
    seen = [s for s in ordered if s.evidence.up_bps is not None]
    return Columns(
        requests=requests,
        probes=tuple(s for s in ordered if s.kind == "probe"),
        t_s=_floats([s.t_s for s in requests]),
        total_s=total_s,
        causes_s=np.column_stack([named, rest]),
        predicted_s=_floats([s.predicted_s for s in requests]),
        estimate_bps=_floats([s.estimate_bps for s in requests]),
        true_bps=_floats([true_rate_bps(s, link_trace) for s in requests]),
        ran=np.array([RAN.index(s.ran) for s in requests], dtype=np.int64),
        fell=np.array([fell_back(s) for s in requests], dtype=np.bool_),
        evidence_t_s=_floats([s.t_s for s in seen]),
        evidence_bps=_floats([s.evidence.up_bps for s in seen]),
    )


@dataclass(frozen=True)
class Groups:
    """Neighbouring requests drawn as one bar: the requests first[i] … first[i] + count[i] - 1, from start to end."""

    first: Ints
    count: Ints
    start_s: Floats
    end_s: Floats
    causes_s: Floats
    mean_s: Floats
    best_s: Floats
    worst_s: Floats
    fell: Ints

    def __len__(self) -> int:
        return len(self.first)

    @property
    def single(self) -> bool:
        """Is every bar one request?"""
        return bool((self.count == 1).all())


def groups_of(columns: Columns, most: int = MOST_GROUPS) -> Groups:
    """At most `most` bars: one a request where that fits, else means over equal stretches of time, extremes kept."""
    n, (low, high) = len(columns.requests), columns.span_s
    if n <= most:
        first = np.arange(n, dtype=np.int64)
    else:
        slots = min(most // 2, max(most // 4, n // 4))
        slot = np.minimum(((columns.t_s - low) / (high - low) * slots).astype(np.int64), slots - 1)
        first = np.flatnonzero(np.diff(slot, prepend=-1)).astype(np.int64)
    count = np.diff(first, append=n)
    start = columns.t_s[first]
    return Groups(
        first=first,
        count=count,
        start_s=start,
        end_s=_ends(start, (columns.t_s + columns.total_s)[first + count - 1], high),
        causes_s=_each(np.add, columns.causes_s, first) / count[:, None],
        mean_s=_each(np.add, columns.total_s, first) / count,
        best_s=_each(np.minimum, columns.total_s, first),
        worst_s=_each(np.maximum, columns.total_s, first),
        fell=_each(np.add, columns.fell, first).astype(np.int64),
    )


def runs_of(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(first, last) of every unbroken run of true.

    >>> runs_of(np.array([True, True, False, True]))
    [(0, 1), (3, 3)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(a), int(b) - 1) for a, b in edges.reshape(-1, 2)]


def _ends(start: Floats, answered: Floats, high: float) -> Floats:
    """A bar lasts until the next one starts, but a pause in the run stays a gap: no longer than its last request took
    or twice the usual spacing."""
    usual = float(np.median(np.diff(start))) if start.size > 1 else 0.0
    ends: Floats = np.minimum(np.append(start[1:], high)[: start.size], np.maximum(start + 2 * usual, answered))
    return ends


def _each(ufunc: np.ufunc, values: NDArray[np.generic], first: Ints) -> Floats:
    if not first.size:
        return np.zeros((0, *values.shape[1:]))
    reduced: Floats = ufunc.reduceat(values.astype(np.float64), first, axis=0)
    return reduced


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)

"""What choices that never move would have cost on the same link: computed from the same profile and the true rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from isthmus.graph import INPUT, OUTPUT
from isthmus.link import Link
from isthmus.plan import CostTable
from isthmus.record import Step

_TOO_LITTLE_S = 1e-3
"""Parts shorter than this say nothing about a machine's speed."""


class Compared(BaseModel):
    """Mean seconds a request, over the requests that went as chosen.

    `measured_s` is what the run took; the others are computed for the same moments, from profile and true rates:
    the best single choice, everything on either side, and perfect foresight. A machine that runs all the time and one
    that waits between requests are not equally fast; `device_load` and `server_load` (medians of measured over
    profiled times in this run) scale the profile to the machines as they were.
    """

    model_config = ConfigDict(frozen=True)

    requests: int
    measured_s: float
    device_only_s: float
    server_only_s: float
    best_single_s: float
    best_single: str
    clairvoyant_s: float
    device_load: float
    server_load: float


def compare(steps: Sequence[Step], table: CostTable, link: Link, rate: Callable[[float], float]) -> Compared | None:
    """Compare over the requests that went as chosen (no fallback). None when there are none."""
    went = [s for s in steps if s.kind == "request" and not s.trouble]
    if not went:
        return None
    device, server = _loads(went, table)
    rows = [
        table.latency_s(bps, bps * link.down_bps / link.up_bps, link.rtt_s, server, device)
        for bps in (rate(s.t_s) for s in went)
    ]
    seconds = np.array(rows)
    means = seconds.mean(axis=0)
    best = int(np.argmin(means))
    return Compared(
        requests=len(went),
        measured_s=float(np.mean([s.seconds.total for s in went])),
        device_only_s=_least(means, table, OUTPUT),
        server_only_s=_least(means, table, INPUT),
        best_single_s=float(means[best]),
        best_single=f"{table.cuts[best]} {table.codecs[best]}",
        clairvoyant_s=float(seconds.min(axis=1).mean()),
        device_load=device,
        server_load=server,
    )


def _least(means: np.ndarray, table: CostTable, cut: str) -> float:
    return float(min(m for m, c in zip(means, table.cuts, strict=True) if c == cut))


def _loads(steps: Sequence[Step], table: CostTable) -> tuple[float, float]:
    """How much slower device and server were than their profiles."""
    at = {name: i for i, name in enumerate(zip(table.cuts, table.codecs, strict=True))}
    device: list[float] = []
    server: list[float] = []
    for step in steps:
        row = at.get((step.cut, step.codec))
        if row is None:
            continue
        for spent, profiled, found in (
            (step.seconds.head + step.seconds.encode + step.seconds.local, table.device_s[row], device),
            (step.seconds.decode + step.seconds.tail, table.server_s[row], server),
        ):
            if profiled > _TOO_LITTLE_S:
                found.append(spent / float(profiled))
    return (float(np.median(device)) if device else 1.0), (float(np.median(server)) if server else 1.0)

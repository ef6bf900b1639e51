"""What choices that never move would have cost on the same link: computed from the same profile and the true rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from isthmus.graph import INPUT, OUTPUT
from isthmus.link import Link
from isthmus.plan import CostTable
from isthmus.record import Step


class Compared(BaseModel):
    """Mean seconds a request, over the requests that went as chosen.

    `measured_s` is what the run took; the others are computed for the same moments: the best single choice, everything
    on either side, and perfect foresight.
    """

    model_config = ConfigDict(frozen=True)

    requests: int
    measured_s: float
    device_only_s: float
    server_only_s: float
    best_single_s: float
    best_single: str
    clairvoyant_s: float


def compare(steps: Sequence[Step], table: CostTable, link: Link, rate: Callable[[float], float]) -> Compared | None:
    """Compare over the requests that went as chosen (no fallback). None when there are none."""
    went = [s for s in steps if s.kind == "request" and not s.trouble]
    if not went:
        return None
    rows = [table.latency_s(bps, bps * link.down_bps / link.up_bps, link.rtt_s) for bps in (rate(s.t_s) for s in went)]
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
    )


def _least(means: np.ndarray, table: CostTable, cut: str) -> float:
    return float(min(m for m, c in zip(means, table.cuts, strict=True) if c == cut))

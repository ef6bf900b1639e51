"""A chooser's table, what a request may have taught, and a chooser that has seen a rate."""

from __future__ import annotations

import numpy as np

from isthmus.adapt import Habits, TableChooser
from isthmus.graph.types import INPUT, OUTPUT
from isthmus.link.types import Link
from isthmus.plan.cost import CostTable
from isthmus.record.types import Evidence, Ran, Seconds, Step

MS = 1e-3


def table_of(*rows: tuple[str, float, float, float], link: Link | None = None) -> CostTable:
    """Rows of (cut, device ms, server ms, kB up); what sends anything gets 1 kB back."""
    up = np.array([row[3] * 1e3 for row in rows])
    return CostTable(
        cuts=tuple(row[0] for row in rows),
        codecs=("float32",) * len(rows),
        device_s=np.array([row[1] * MS for row in rows]),
        server_s=np.array([row[2] * MS for row in rows]),
        up_bytes=up,
        down_bytes=np.where(up > 0, 1e3, 0.0),
        link=link or Link(20e6, 20e6, rtt_s=5 * MS),
    )


TABLE = table_of((INPUT, 0, 10, 600), ("early", 15, 9, 200), ("late", 60, 5, 30), (OUTPUT, 120, 0, 0))


def step(
    t_s: float,
    cut: str = "early",
    *,
    up_bps: float | None = None,
    trouble: str = "",
    probe: bool = False,
    total: float = 0.05,
    server_s: float | None = None,
    queue_s: float | None = None,
    head: float = 0.0,
) -> Step:
    ran: Ran = "device" if cut == OUTPUT or trouble else "split"
    return Step(
        kind="probe" if probe else "request",
        id=0,
        t_s=t_s,
        ran=ran,
        cut=cut,
        codec="float32",
        seconds=Seconds(total=total, head=head, local=head if ran == "device" else 0.0),
        evidence=Evidence(up_bps=up_bps, server_s=server_s, queue_s=queue_s),
        trouble=trouble,
    )


def settled(bps: float, table: CostTable = TABLE, habits: Habits | None = None) -> TableChooser:
    """A chooser that has seen this rate five times; the next moment is 5 s."""
    chooser = TableChooser(table, habits)
    for t in range(5):
        chooser.choose(t)
        chooser.observe(step(t, up_bps=bps))
    return chooser

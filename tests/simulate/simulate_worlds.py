"""Small made-up tables for the simulator's tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isthmus.graph.types import INPUT, OUTPUT
from isthmus.link import Link
from isthmus.plan.cost import CostTable

MS = 1e-3
Row = tuple[str, float, float, float]
"""cut, device ms, server ms, kB up"""
ROWS: tuple[Row, ...] = ((INPUT, 0, 10, 600), ("early", 15, 9, 200), ("late", 60, 5, 30), (OUTPUT, 120, 0, 0))
"""Each wins at some rate: the device below 4 Mbit/s, late to 30, early to 213, the server beyond."""


def table_of(rows: Sequence[Row] = ROWS, *, link: Link | None = None, scale: float = 1.0) -> CostTable:
    """A table of these rows; what sends anything gets 1 kB back. `scale` multiplies work and bytes."""
    up = np.array([row[3] * 1e3 for row in rows]) * scale
    return CostTable(
        cuts=tuple(row[0] for row in rows),
        codecs=("float32",) * len(rows),
        device_s=np.array([row[1] * MS for row in rows]) * scale,
        server_s=np.array([row[2] * MS for row in rows]) * scale,
        up_bytes=up,
        down_bytes=np.where(up > 0, 1e3, 0.0),
        link=link or Link(20e6, 20e6, rtt_s=5 * MS, fixed_s=0.5 * MS),
    )


TABLE = table_of()

"""The best choice for every uplink rate at once: the decision of dynamic split computing as a table.

Bakhtiarnia et al., "Dynamic Split Computing for Efficient Deep Edge Intelligence", ICASSP 2023: at every step take the
choice of least T(cut, batch, rate) = head + bytes / rate + tail. In x = 1 / rate each choice is a straight line, its
price at an endless rate plus its bytes times x, so the best choices over all rates are the lower envelope of the lines:
sort by slope, keep those below all of smaller slope, and drop each that its neighbours undercut (Andrew's monotone
chain, 1979). The comparisons are exact: floats taken as the rational numbers they are.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from isthmus.errors import BadInput
from isthmus.link.types import Link
from isthmus.plan.cost import CostTable, hop_s
from isthmus.plan.switch_types import SwitchRow, SwitchTable


def switch_table(
    table: CostTable,
    batch: int = 1,
    *,
    rtt_s: float | None = None,
    down_share: float | None = None,
    load: float = 1.0,
    device_load: float = 1.0,
) -> SwitchTable:
    """The best of the table's choices for every uplink rate. `batch` only names the batch size `table` was made for.

    The round trip and the downlink as a multiple of the uplink (`down_share`) are those of `table.link` unless given;
    `load` multiplies the server's work, `device_load` the device's. Equal to taking the least of `table.latency_s` at
    any rate. Raises BadInput for a load or share that is not finite and above zero, or a batch below 1.
    """
    share = _share(table.link) if down_share is None else down_share
    for name, value in (("load", load), ("device_load", device_load), ("down_share", share)):
        if not 0 < value < math.inf:
            raise BadInput(f"a switch table needs {name} finite and above zero, not {value}")
    if batch < 1:
        raise BadInput(f"a switch table needs a batch of 1 or more, not {batch}")
    rtt = table.link.rtt_s if rtt_s is None else rtt_s
    lines = _lower_envelope(_lines(table, rtt, share, load, device_load))
    return SwitchTable(
        batch=batch,
        load=load,
        device_load=device_load,
        down_share=share,
        rtt_s=rtt,
        rows=_rows(table, lines),
    )


@dataclass(frozen=True)
class _Line:
    """Choice `at` of a table costs `base_s + slope · x` seconds, x = 1 / uplink rate in s/bit."""

    at: int
    base_s: float
    slope: float

    def meets(self, other: _Line) -> Fraction:
        """The x at which both cost the same; `other` has the smaller slope."""
        return (Fraction(other.base_s) - Fraction(self.base_s)) / (Fraction(self.slope) - Fraction(other.slope))


def _share(link: Link) -> float:
    return 1.0 if link.up_bps == link.down_bps else link.down_bps / link.up_bps


def _lines(table: CostTable, rtt_s: float, share: float, load: float, device_load: float) -> list[_Line]:
    """Every choice as a line, by the cost function: its price at an endless rate, and what one bit/s adds."""
    base_s = table.latency_s(math.inf, math.inf, rtt_s, load, device_load)
    up, down, _ = hop_s(Link(1.0, share), table.up_bytes, table.down_bytes, table.sends_up, table.sends_down)
    order = np.lexsort((np.arange(len(base_s)), base_s, up + down))
    return [_Line(int(i), float(base_s[i]), float(up[i] + down[i])) for i in order]


def _lower_envelope(lines: list[_Line]) -> list[_Line]:
    """Those that are cheapest somewhere in x > 0, from the largest x (the slowest rate) to the smallest.

    `lines` come by slope, then price, then place. A line that is nowhere cheaper than the ones before it is not kept.
    """
    kept: list[_Line] = []
    for line in lines:
        if kept and line.base_s >= kept[-1].base_s:
            continue  # asks more of the link and is not cheaper without one
        while len(kept) > 1 and line.meets(kept[-1]) >= kept[-1].meets(kept[-2]):
            kept.pop()
        kept.append(line)
    return kept


def _rows(table: CostTable, lines: list[_Line]) -> tuple[SwitchRow, ...]:
    ends = [_rate(faster.meets(slower)) for slower, faster in pairwise(lines)]
    rows = []
    for line, from_bps, to_bps in zip(lines, [0.0, *ends], [*ends, None], strict=True):
        lasts = from_bps > 0 or not line.slope
        rows.append(
            SwitchRow(
                from_bps=from_bps,
                to_bps=to_bps,
                cut=table.cuts[line.at],
                codec=table.codecs[line.at],
                base_s=line.base_s,
                wire_bytes=line.slope / 8,
                from_s=line.base_s + (line.slope / from_bps if from_bps else 0.0) if lasts else None,
                to_s=line.base_s + (line.slope / to_bps if to_bps else 0.0),
            )
        )
    return tuple(rows)


def _rate(x: Fraction) -> float:
    """1 / x as a float, the greatest one where it is beyond them."""
    return float(min(1 / x, Fraction(sys.float_info.max)))

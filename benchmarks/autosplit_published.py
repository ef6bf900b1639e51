"""ResNet-50 in the chart that is published with Auto-Split's code, point by point, against the simulation here.

Names are weight bits, split, activation bits; latencies are over CLOUD16's, read off the figure (± 0.01). What the
split numbers mean is not said. 2 is the pooling (200,704 numbers cross: 4 bits at 3·2²⁰ bit/s and the device's first
layer give 0.68). The three points of split 12 differ by 0.08 and 0.25 of CLOUD16's time, which is 100,352 numbers at 8,
7 and 4 bits; no place of ResNet-50 before its last stages sends so few once the skip connection is counted. They are
therefore compared with the fastest head here that sends no more numbers at that width (6 bits for 7), weights at 8.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from isthmus.plan import Problem
from isthmus.plan.baselines import baselines
from isthmus.plan.joint import joint

CHART = {
    "8.0_12_4": 0.495, "8.0_2_4": 0.68, "8.0_12_6": 0.745, "8.0_12_8": 0.825, "u2": 0.91, "u4": 0.93, "u6": 0.945,
    "u8": 0.96, "cloud16": 1.0,
}  # fmt: skip
_POOLED = "maxpool_2"
_SENT = {"8.0_12_4": 4, "8.0_12_6": 6, "8.0_12_8": 8}
"""Bits of what crosses at split 12."""
_NUMBERS = 100_352


def against_the_chart(problem: Problem) -> list[dict[str, Any]]:
    """One row a point: published, ours, and how ours came about. All the memory there is, as U8 needs it."""
    free = replace(problem, limits=replace(problem.limits, home_memory_bytes=None))
    found = joint(free)
    rows = {row.name: row for row in baselines(free, found)}
    cloud_s = rows["cloud16"].total_s
    points = []
    for config, published in CHART.items():
        if config in rows:
            row, how = rows[config], "the same"
        elif config == "8.0_2_4":
            row = min((s for s in found.solutions if s.cut == _POOLED and s.codec == "int4"), key=lambda s: s.total_s)
            how = f"cut after {_POOLED} as int4"
        else:
            bits = _SENT[config]
            most = _NUMBERS * bits // 8 + 8
            sends = [s for s in found.solutions if s.codec == f"int{bits}" and 0 < s.sent_bytes <= most]
            row = min((s for s in sends if s.weight_bits == 8), key=lambda s: s.total_s)
            how = f"cut after {row.cut} as {row.codec}, {row.sent_bytes} bytes"
        points.append({"config": config, "published": published, "here": row.total_s / cloud_s, "how": how})
    return points

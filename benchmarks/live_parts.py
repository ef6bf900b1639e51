"""Which part of a set of traces is played live: the one with most to switch for."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from live_judging import LEAD_S

from isthmus.link import Link, read_trace
from isthmus.link.trace import Trace
from isthmus.plan import CostTable
from isthmus.simulate import World, seconds_of_all

DOWN = 4.0
"""Downlink over uplink."""
LATE_NEWS_S = 0.5
FEWEST_CHANGES = 3
MEDIANS = (0.5, 1.0, 2.0, 4.0)
"""Of a trace, over the tie: what it is scaled to."""


def tie_bps(table: CostTable, link: Link) -> float:
    """The rate at which the device alone is as fast as the best that sends something."""
    local = table.up_bytes + table.down_bytes == 0

    def offload_wins(bps: float) -> bool:
        seconds = table.latency_s(bps, DOWN * bps, link.rtt_s)
        return bool(seconds[~local].min() < seconds[local].min())

    low, high = 1e4, 1e9
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if offload_wins(middle) else (middle, high)
    return high


def part_of(folder: Path, world: World, seconds: float, tie: float, goodput: float) -> tuple[Trace, dict[str, Any]]:
    """The part of a set of traces with most to switch for, as wire rates with the lead before it, and where it is."""
    best: tuple[float, Trace, dict[str, Any]] | None = None
    for file, median in itertools.product(sorted(folder.iterdir()), MEDIANS):
        trace = read_trace(file)
        scale = median * tie / goodput / float(np.median(trace.rates_bps))
        scaled = trace.scaled(scale).clipped(0.1 * tie / goodput)
        for start_s in np.arange(0, scaled.duration_s - seconds, seconds):
            piece = scaled.part(start_s, start_s + seconds)
            gain, changes = _to_switch_for(replace(world, up=piece.scaled(goodput)), seconds)
            if changes >= FEWEST_CHANGES and (best is None or gain > best[0]):
                told = {"file": file.name, "start_s": float(start_s), "scale": scale, "late_news_gain": gain}
                best = gain, piece, {**told, "changes": changes, "mean_mbit": piece.mean_bps / 1e6}
    if best is None:
        raise SystemExit(f"{folder} holds no trace in which the best cut changes within {seconds:g} s")
    _, piece, told = best
    times = np.concatenate([[0.0], piece.times_s[1:] + LEAD_S])
    return Trace(times, piece.rates_bps, seconds + LEAD_S), told


def _to_switch_for(world: World, seconds: float) -> tuple[float, int]:
    """(what somebody gains who knows the link of half a second ago, how often the best cut changes)."""
    late, cuts = round(LATE_NEWS_S * 10), world.sizes.least.table.cuts
    every = seconds_of_all(world, np.arange(0, seconds, 0.1))
    rows = every.argmin(1)
    known = np.concatenate([rows[:1].repeat(late), rows[:-late]])
    gain = 1 - float(every[np.arange(len(rows)), known].mean() / every.mean(0).min())
    return gain, sum(cuts[a] != cuts[b] for a, b in pairwise(rows))

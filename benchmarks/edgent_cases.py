"""The cases of edgent_dynamic.py and edgent_live.py: networks with exits on two machines, traces taken apart into what
is known beforehand and what is played, the requirements, and when dynamic counts as better than static."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.graph import graph_of
from isthmus.link import Link, Trace, read_trace
from isthmus.model import load_model
from isthmus.plan import CostTable, Limits, Problem, candidates_for, problem_for
from isthmus.plan.strategies import Strategies, link_at, strategies
from isthmus.plan.types import Exit
from isthmus.profile.regression import profile_for
from isthmus.simulate import Served, World

NETS = {"b_alexnet": (0.747, 0.756, 0.764, 0.773, 0.782), "digits": (0.9245, 0.9732, 0.9844)}
"""Shares of right answers by exit: of B-AlexNet the paper prints the first and the last (Fig. 9), those between lie on
a line; of digits as measured on scikit-learn's test part."""
PAIR = ("edgent2018_device", "edgent2018_server")
SETS = ("oboe", "ghent_4g")
GHENT_MOST_BPS = 10e6
PART_S = 160.0
RTT_S = 0.01
ALLOWED = (1.1, 1.5)
"""Requirements at the scale `tie`, as multiples of what the tie takes."""
TIGHT = 1.5
LEAST_BPS = 50e3


@dataclass(frozen=True)
class Set:
    """One set of traces, taken apart: what is known beforehand, and what is played (one part a file)."""

    name: str
    history: tuple[Trace, ...]
    playing: tuple[Trace, ...]

    @classmethod
    def read(cls, folder: Path, most: int) -> Set:
        files = [file for file in sorted(folder.iterdir()) if file.name[0] != "."]
        history, others = files[0::2], files[1::2]
        spread = others[:: max(1, len(others) // most)][:most]
        past = tuple(read_trace(f) for f in history[:: max(1, len(history) // most)])
        return cls(folder.name, past, tuple(beginning(read_trace(f)) for f in spread))

    def scaled(self, factor: float) -> Set:
        one = [tuple(t.scaled(factor) for t in part) for part in (self.history, self.playing)]
        return Set(self.name, *one)

    @property
    def median_bps(self) -> float:
        return float(np.median(np.concatenate([t.rates_bps for t in self.history])))

    @property
    def most_bps(self) -> float:
        return max(float(t.rates_bps.max()) for t in self.history)


def beginning(trace: Trace) -> Trace:
    return trace.part(0, min(PART_S, trace.duration_s))


@dataclass(frozen=True)
class Net:
    """A network with exits on two machines, ready to be played."""

    name: str
    problem: Problem
    ahead: tuple[Strategies, ...]
    whole: CostTable

    @classmethod
    def published(cls, name: str) -> Net:
        model = load_model(f"zoo:{name}", weights=False)
        device, server = (profile_for(machine, model, [1], taken="") for machine in PAIR)
        problem = problem_for(graph_of(model), device, server, Link(1e6, 1e6, RTT_S))
        return cls.of(name, problem, NETS[name])

    @classmethod
    def of(cls, name: str, problem: Problem, shares: Sequence[float]) -> Net:
        outputs = problem.graph.outputs
        exits = tuple(Exit(o, share) for o, share in zip(outputs, shares, strict=True))
        problem = replace(problem, exits=exits)
        return cls(name, problem, strategies(problem), CostTable.of(problem, candidates_for(problem)))

    def asked(self, within_s: float, states_bps: tuple[float, ...]) -> Problem:
        return replace(self.problem, limits=Limits(latency_s=within_s), states_bps=states_bps)

    def world(self, up: Trace) -> World:
        return World({1: self.whole}, up, exits={each.exit.output: {1: each.table} for each in self.ahead})

    def first_exit_s(self, bps: float, rows: Any = slice(None)) -> float:
        """What the fastest of these partitions of the first exit takes at this rate."""
        there = link_at(self.problem.links[0], bps)
        return float(self.ahead[0].table.latency_s(there.up_bps, there.down_bps, there.rtt_s)[rows].min())

    def tie(self) -> tuple[float, float]:
        """The rate at which the device alone and what sends something are equally fast to the first exit, and the
        seconds that takes."""
        local = self.ahead[0].table.up_bytes == 0
        seconds = self.first_exit_s
        low, high = 1e3, 1e9
        while high / low > 1.001:
            middle = math.sqrt(low * high)
            low, high = (low, middle) if seconds(middle, ~local) < seconds(middle, local) else (middle, high)
        return high, seconds(high, local)


def settings(net: Net, data: Set) -> Iterator[tuple[str, float, Set]]:
    """(name, requirement in seconds, the traces at that scale)."""
    paper = data if data.name == "oboe" else data.scaled(GHENT_MOST_BPS / data.most_bps)
    yield "paper", 1.0, paper
    yield "tight", TIGHT * net.first_exit_s(paper.median_bps), paper
    tie_bps, tie_s = net.tie()
    for allowed in ALLOWED if tie_bps >= LEAST_BPS else ():
        yield f"tie × {allowed:g}", allowed * tie_s, data.scaled(tie_bps / data.median_bps)


def judged(rows: dict[str, Served]) -> dict[str, Any]:
    """Is dynamic above static?"""
    static, dynamic = rows["edgent"], rows["edgent_map"]
    return {
        "reward_gain": dynamic.reward / static.reward - 1 if static.reward else math.inf,
        "met_gain": dynamic.met - static.met,
        "reward_above": dynamic.reward > static.reward,
        "met_above": dynamic.met > static.met,
        "both_always_in_time": static.met == dynamic.met == 1.0,
    }

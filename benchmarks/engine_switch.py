"""Does moving the cut cost anything? The first request after a switch against the median of its cut.

All fusion-safe cuts of a network are ready; requests (head and tail) run in groups on one cut, then another. A request
is held against the others of its group, all on its cut and within half a second of it: a machine that others use has
slow moments, and a median of the whole run would compare one with another. The target is 1.05.

`switch` is the first of every group, `control` the one in the middle, which follows no switch; `pairs` the same by
switch: every ordered pair of cuts is taken several times, and its median is what this switch costs, whatever the
machine did in between (`control_pairs`: what the same rule says of requests that follow none). `loop` is what the
machine does to anything: as many groups of an empty loop as long as a request, the one in the middle against the
others. What does not hang on the machine's moments is counted as well: pages of memory that a request was the first to
touch (minor faults).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import time
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

from isthmus.engine import Engine
from isthmus.model import load_model

TARGET = 1.05
GROUP = 5


class Group(NamedTuple):
    """Requests one after the other on one cut, and the cut before it."""

    before: str
    cut: str
    times_s: list[float]
    faults: list[int]

    def ratio(self, at: int) -> float:
        """One request over the median of the others."""
        return ratio(self.times_s, at)


def ratio(times_s: list[float], at: int) -> float:
    """One of these over the median of the others."""
    return times_s[at] / statistics.median(times_s[:at] + times_s[at + 1 :])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--model", default="zoo:resnet50")
    parser.add_argument("--times", type=int, default=9, help="how often every switch is made")
    parser.add_argument("--cuts", type=int, default=6)
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    engine = Engine.open(load_model(options.model))
    safe = [c.id for c in engine.cuts if c.id in engine.safe]
    cuts = [safe[round(i * (len(safe) - 1) / (options.cuts - 1))] for i in range(options.cuts)]
    groups = run(engine, walk(cuts, options.times))
    result: dict[str, Any] = {"model": options.model, "switches": len(groups), "target": TARGET}
    for name, at in (("switch", 0), ("control", GROUP // 2)):
        result[name] = spread(group.ratio(at) for group in groups)
        result[f"{name}_faults"] = spread(float(group.faults[at]) for group in groups)
        by_pair: dict[tuple[str, str], list[float]] = {}
        for group in groups:
            by_pair.setdefault((group.before, group.cut), []).append(group.ratio(at))
        result["pairs" if name == "switch" else "control_pairs"] = spread(map(statistics.median, by_pair.values()))
    long_s = statistics.median(t for group in groups for t in group.times_s)
    result["loop"] = spread(ratio(times_s, GROUP // 2) for times_s in loops(long_s, len(groups)))
    if options.json:
        print(json.dumps(result))
        return
    for name in ("switch", "control", "loop", "pairs", "control_pairs", "switch_faults", "control_faults"):
        print(f"{name:15} " + ", ".join(f"{key} {value:.3f}" for key, value in result[name].items()))
    print(f"target {TARGET} for switches")


def walk(cuts: list[str], times: int) -> list[str]:
    """A way along which every ordered pair of cuts is taken about equally often, `times` in the mean."""
    choose, taken, way = random.Random(0), Counter[tuple[str, str]](), [cuts[0]]
    for _ in range(times * len(cuts) * (len(cuts) - 1)):
        here = way[-1]
        others = [cut for cut in cuts if cut != here]
        way.append(min(others, key=lambda cut: (taken[here, cut], choose.random())))
        taken[here, way[-1]] += 1
    return way


def run(engine: Engine, way: list[str]) -> list[Group]:
    """A group of requests for every step of the way."""
    inputs = engine.model.random_inputs(1)
    for cut in set(way):
        engine.tail(cut, engine.head(cut, inputs))
    groups = []
    for before, cut in pairwise(way):
        times, faults = [], []
        for _ in range(GROUP):
            touched = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            start = time.perf_counter()
            engine.tail(cut, engine.head(cut, inputs))
            times.append(time.perf_counter() - start)
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - touched)
        groups.append(Group(before, cut, times, faults))
    return groups


def loops(long_s: float, groups: int) -> list[list[float]]:
    """Seconds of an empty loop that takes about `long_s`, in groups as requests are."""
    turns = round(long_s / min(looped_s(1_000_000) for _ in range(3)) * 1_000_000)
    return [[looped_s(turns) for _ in range(GROUP)] for _ in range(groups)]


def looped_s(turns: int) -> float:
    start = time.perf_counter()
    for _ in range(turns):
        pass
    return time.perf_counter() - start


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, 90 % and greatest."""
    ordered = sorted(values)
    return {
        "median": statistics.median(ordered),
        "p90": ordered[int(0.9 * (len(ordered) - 1))],
        "max": ordered[-1],
    }


if __name__ == "__main__":
    main()

"""Does moving the cut cost anything? The first request after a switch against the median of its cut.

All fusion-safe cuts of a network are ready; requests (head and tail) run in groups on one cut, then another. The target
is 1.05. As the machine has slow moments of its own, the same is computed for requests in the middle of a group, which
follow no switch: `control`. A switch costs what `switch` shows beyond `control`. What does not hang on the machine's
moments is counted as well: pages of memory that a request was the first to touch (minor faults).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import time
from typing import Any

from isthmus.engine import Engine
from isthmus.model import load_model

TARGET = 1.05
GROUP = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--model", default="zoo:resnet50")
    parser.add_argument("--switches", type=int, default=120)
    parser.add_argument("--cuts", type=int, default=6)
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    engine = Engine.open(load_model(options.model))
    safe = [c.id for c in engine.cuts if c.id in engine.safe]
    cuts = [safe[round(i * (len(safe) - 1) / (options.cuts - 1))] for i in range(options.cuts)]
    groups = run(engine, cuts, options.switches)
    medians = {c: statistics.median(t for cut, times, _ in groups for t in times if cut == c) for c in cuts}
    result: dict[str, Any] = {"model": options.model, "switches": len(groups), "target": TARGET}
    for name, at in (("switch", 0), ("control", GROUP // 2)):
        result[name] = spread(sorted(times[at] / medians[cut] for cut, times, _ in groups))
        result[f"{name}_faults"] = spread(sorted(float(faults[at]) for _, _, faults in groups))
    if options.json:
        print(json.dumps(result))
        return
    for name in ("switch", "control"):
        row, faults = result[name], result[f"{name}_faults"]
        print(f"{name:8} over the median of its cut: " + ", ".join(f"{k} {v:.3f}" for k, v in row.items()), end="; ")
        print("minor faults: " + ", ".join(f"{k} {v:.0f}" for k, v in faults.items()))
    print(f"target {TARGET} for the switch")


def run(engine: Engine, cuts: list[str], switches: int) -> list[tuple[str, list[float], list[int]]]:
    """(cut, seconds and minor faults of each request of the group), each group on another cut than the one before."""
    inputs = engine.model.random_inputs(1)
    for cut in cuts:
        engine.tail(cut, engine.head(cut, inputs))
    choose = random.Random(0)
    groups = []
    cut = cuts[0]
    for _ in range(switches):
        cut = choose.choice([c for c in cuts if c != cut])
        times, faults = [], []
        for _ in range(GROUP):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            start = time.perf_counter()
            engine.tail(cut, engine.head(cut, inputs))
            times.append(time.perf_counter() - start)
            faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        groups.append((cut, times, faults))
    return groups


def spread(ratios: list[float]) -> dict[str, float]:
    """Median, 90 % and greatest."""
    return {
        "median": statistics.median(ratios),
        "p90": ratios[int(0.9 * (len(ratios) - 1))],
        "max": ratios[-1],
    }


if __name__ == "__main__":
    main()

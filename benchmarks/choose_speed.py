"""How long does it take to decide where the next request runs, and to learn from the last one?

Every ready cut of EfficientNet-B0 with four codecs, believed rate and loads changing all the time. A decision is mostly
made ahead, while nobody waits (when the chooser is asked whether a probe is wanted), and looked up when the request
comes: target 50 µs, on the spot well under a millisecond. Both also with cold caches, as after a pause: 32 MB are read
before each. The peer in the same run is pricing every candidate anew with the cost function. Of Edgent's
configuration map (40 states): finding the strategy of a rate, target 20 µs, and the whole decision, which watches the
link with the same candidates.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from isthmus.adapt import Habits, MapChooser, TableChooser
from isthmus.graph import graph_of, narrow_cuts
from isthmus.link import Link
from isthmus.model import load_model
from isthmus.plan import CostTable, Limits, candidates_for, configuration_map, price, problem_for
from isthmus.plan.types import Exit
from isthmus.profile import BatchProfile, Machine, Profile, Timing
from isthmus.record import Evidence, Seconds, Step

TARGET_MS = 1.0
LOOK_UP_TARGET_US = 20.0
STATES = 40
CODECS = ("float32", "float16", "int8", "int4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=2000)
    options = parser.parse_args()
    graph = graph_of(load_model("zoo:efficientnet_b0", weights=False))
    profile = made_up(graph.macs, [n.name for n in graph.nodes], [n.macs for n in graph.nodes])
    cuts = [c.id for c in narrow_cuts(graph)][:60]
    problem = problem_for(graph, profile, profile, Link(20e6, 20e6, 0.01), default_codecs=CODECS, ready=cuts)
    candidates = candidates_for(problem)
    table = CostTable.of(problem, candidates)
    result: dict[str, object] = {"candidates": len(candidates), "target_ms": TARGET_MS}
    pages = np.ones(4_000_000)
    for name, deadline_s in (("choose", None), ("choose with a deadline", 0.2)):
        for cold in (False, True):
            chooser = TableChooser(table, Habits(deadline_s=deadline_s))
            for ahead in (False, True):

                def before(n: int, c: TableChooser = chooser, cold: bool = cold, ahead: bool = ahead) -> None:
                    c.observe(step(n))
                    if ahead:
                        while c.probe_bytes(n * 0.1 + 0.06):
                            c.observe(step(n))
                    if cold:
                        pages.sum()

                words = f"{name}{', made ahead' if ahead else ''}{', cold' if cold else ''}"
                rounds = options.rounds // 10 if cold else options.rounds
                asked = chooser.choose
                result[words] = spread_us(lambda n, a=asked: a(n * 0.1 + 0.08), rounds, before)  # type: ignore[misc]
    chooser = TableChooser(table)
    result["observe"] = spread_us(lambda n: chooser.observe(step(n)), options.rounds)
    states = tuple(50e3 * 1.2**k for k in range(STATES))
    exits = (Exit(graph.outputs[0], 0.77),)
    config = configuration_map(replace(problem, exits=exits, states_bps=states, limits=Limits(latency_s=0.2)))
    rates = [random.Random(n).uniform(5e4, 5e7) for n in range(options.rounds)]
    result["map look-up"] = {**spread_us(lambda n: config.at(rates[n]), options.rounds), "target_us": LOOK_UP_TARGET_US}
    by_map = MapChooser(config, TableChooser(table))
    result["choose by the map"] = spread_us(lambda n: by_map.choose(n * 0.1), options.rounds)
    result["price all anew"] = spread_us(lambda _: [price(problem, c, k) for c, k in candidates], 5)
    if options.json:
        print(json.dumps(result))
        return
    for name, row in result.items():
        print(f"{name:24} {row}")


def spread_us(
    call: Callable[[int], object], rounds: int, before: Callable[[int], None] = lambda _: None
) -> dict[str, float]:
    """Microseconds: least and median. `before` each call something may happen that is not timed."""
    taken = []
    for number in range(rounds):
        before(number)
        begun = time.perf_counter()
        call(number)
        taken.append(time.perf_counter() - begun)
    return {"min_us": round(1e6 * min(taken), 1), "median_us": round(1e6 * statistics.median(taken), 1)}


def step(number: int) -> Step:
    """A request over a link that wanders."""
    rate = 20e6 * random.Random(number).uniform(0.8, 1.2) * (1 + (number // 50) % 3)
    told = Evidence(up_bps=rate, rtt_s=0.01, server_s=0.004, queue_s=0.0)
    seconds = Seconds(total=0.05, head=0.02, up=0.02, tail=0.004)
    return Step(id=number, t_s=number * 0.1, ran="server", cut="@input", codec="int8", seconds=seconds, evidence=told)


def made_up(macs: int, names: list[str], shares: list[int]) -> Profile:
    """A profile in proportion to the work: what is timed here does not depend on its numbers."""
    whole = Timing(low_s=0.02, median_s=0.02, high_s=0.02, runs=1)
    nodes = {name: 0.02 * share / macs for name, share in zip(names, shares, strict=True)}
    machine = Machine(name="m", cpu="c", system="s", runtime="r", threads=1)
    batches = {1: BatchProfile(whole=whole, nodes=nodes)}
    return Profile(model="m", fingerprint="f", machine=machine, taken="", batches=batches)


if __name__ == "__main__":
    main()

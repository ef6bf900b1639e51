"""How many requests a minute does the simulator play, for each policy?

EfficientNet-B0's ready cuts with four codecs over a made-up cellular trace, one request after the other. The target is
100,000 a minute. The peer in the same run is pricing all choices once a request (`CostTable.latency_s`), which is the
least a policy that decides can do.
"""

from __future__ import annotations

import argparse
import json
import time

from isthmus.graph import graph_of, narrow_cuts
from isthmus.link import Link, markov
from isthmus.model import load_model
from isthmus.plan import CostTable, candidates_for, problem_for
from isthmus.profile import BatchProfile, Machine, Profile, Timing
from isthmus.simulate import Requests, World, make_policy, play, statics

TARGET = 100_000
CODECS = ("float32", "float16", "int8", "int4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    table = made_up()
    world = World({1: table}, markov([1e6, 5e6, 20e6, 80e6], 8.0, 600.0, seed=1, noise=0.2).looped())
    asked = Requests(count=options.requests)
    result: dict[str, float] = {"target": TARGET, "choices": len(table.cuts)}
    for name in ("device", "dynamic", "table", "clairvoyant"):
        best = min(seconds_of(world, asked, name) for _ in range(options.rounds))
        result[f"{name}_per_minute"] = round(60 * options.requests / best)
    begun = time.process_time()
    statics(world, asked)
    result["static_searches_per_minute"] = round(60 * options.requests / (time.process_time() - begun))
    begun = time.process_time()
    for _ in range(options.requests):
        table.latency_s(20e6, 20e6, 0.01)
    result["pricing_per_minute"] = round(60 * options.requests / (time.process_time() - begun))
    if options.json:
        print(json.dumps(result))
        return
    for what, number in result.items():
        print(f"{what:28} {number:12,.0f}")


def seconds_of(world: World, asked: Requests, name: str) -> float:
    """Processor seconds of one walk."""
    policy = make_policy(name, world, asked)
    begun = time.process_time()
    play(world, policy, asked)
    return time.process_time() - begun


def made_up(
    net: str = "efficientnet_b0", device_s: float = 0.4, server_s: float = 0.02, codecs: tuple[str, ...] = CODECS
) -> CostTable:
    """A network's ready cuts on machines that take so long for all of it, its nodes in proportion to their
    multiplications. What is timed here does not depend on the numbers: a device twenty times as slow as its server."""
    graph = graph_of(load_model(f"zoo:{net}", weights=False))
    profiles = []
    for whole_s in (device_s, server_s):
        whole = Timing(low_s=whole_s, median_s=whole_s, high_s=whole_s, runs=1)
        nodes = {n.name: whole_s * n.macs / graph.macs for n in graph.nodes}
        machine = Machine(name="m", cpu="c", system="s", runtime="r", threads=1)
        batches = {1: BatchProfile(whole=whole, nodes=nodes)}
        profiles.append(Profile(model="m", fingerprint="f", machine=machine, taken="", batches=batches))
    cuts = [c.id for c in narrow_cuts(graph)][:60]
    phone, box = profiles
    link = Link(20e6, 20e6, 0.01)
    problem = problem_for(graph, phone, box, link, default_codecs=codecs, ready=[*cuts, "@output"])
    return CostTable.of(problem, candidates_for(problem))


if __name__ == "__main__":
    main()

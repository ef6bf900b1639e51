"""How long does the exact minimum cut of a network of 1,000 operators take, on networks of every kind?

From least to most tangled: a chain, dense blocks (DenseNet), cells with branches (Inception, NASNet), randomly wired
stages (RandWire), a real network (EfficientNet-B7's graph, 813 operators), and two without a single narrow cut: random
layers with skips, and one randomly wired stage. Times and sizes are random, the server is about eight times as fast.
Every kind is made with several seeds and cut at several rates: where the cheapest cut lies strictly inside, and on both
sides of the rate at which not all runs on the device any more, the hardest one.

`solve_ms` is the search for the cheapest closed set; `all_ms` adds laying out the problem. Each is the minimum of some
runs on one problem, in several passes through all of them; the table has the median and the worst over problems. Peer
in the same run: scipy's maximum flow (compiled) on the same problem as a plain network; both must find the same value.
The target is 20 ms for all.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_flow

from isthmus.graph import Graph, Node, Tensor, graph_of
from isthmus.link import Link
from isthmus.model import load_model
from isthmus.plan import Problem
from isthmus.plan.closure import START, Closure
from isthmus.plan.layers import Layers
from isthmus.profile import BatchProfile, Machine, Profile, Times, Timing

COUNT = 1000
TARGET_MS = 20.0
RATES_MBIT = [2.0**k for k in range(-2, 13)]
Before = list[list[int]]
"""For each node the nodes it reads; an empty list reads the input."""


def chain(_: random.Random) -> Before:
    return [[i - 1] if i else [] for i in range(COUNT)]


def dense(_: random.Random) -> Before:
    """Blocks of 24 layers; each layer is a concatenation of all before it and a convolution."""
    before: Before = [[]]
    while len(before) < COUNT - 1:
        made = [len(before) - 1]
        for _layer in range(24):
            before += [list(made), [len(before)]]
            made.append(len(before) - 1)
        before.append(made)
    return [*before[: COUNT - 1], [COUNT - 2]]


def cells(rng: random.Random) -> Before:
    """Cells of 25 operators: branches of random length from one tensor, joined at the end."""
    before: Before = [[]]
    while len(before) < COUNT:
        root, ends = len(before) - 1, []
        while len(before) < root + 25:
            last = root
            for _op in range(rng.randint(1, 6)):
                before.append([last])
                last = len(before) - 1
            ends.append(last)
        before.append([*ends, root])
    return [*before[: COUNT - 1], sorted(_unread(before[: COUNT - 1]))]


def wired(rng: random.Random, size: int) -> Before:
    """Watts–Strogatz graphs WS(4, 0.75) of `size` nodes, directed by index, one after another."""
    before: Before = [[]]
    while len(before) < COUNT - 1:
        root = len(before) - 1
        nodes = range(len(before), min(len(before) + size, COUNT - 1))
        stage: Before = [[] for _ in nodes]
        for i in range(len(nodes)):
            for step in (1, 2):
                k = rng.randrange(len(nodes)) if rng.random() < 0.75 else (i + step) % len(nodes)
                if k != i:
                    stage[max(i, k)].append(nodes[min(i, k)])
        before += [sorted(set(reads)) or [root] for reads in stage]
        if len(before) < COUNT - 1:
            before.append(sorted(_unread(before)))
    return [*before, sorted(_unread(before))]


def layered(rng: random.Random, width: int = 10) -> Before:
    """Layers of about `width` nodes that read the layer before and, now and then, much earlier ones."""
    before: Before = [[]]
    layers = [[0]]
    while len(before) < COUNT - 1:
        size = min(COUNT - 1 - len(before), rng.randint(width // 2, width * 3 // 2))
        made = list(range(len(before), len(before) + size))
        for _node in made:
            reads = {rng.choice(layers[-1])}
            while rng.random() < 0.5:
                reads.add(rng.choice(layers[max(0, len(layers) - 1 - int(rng.expovariate(0.7)))]))
            before.append(sorted(reads))
        layers.append(made)
        for lost in sorted(_unread(before) - set(made)):
            reader = rng.choice(made)
            before[reader] = sorted({*before[reader], lost})
    return [*before, sorted(_unread(before))]


def _unread(before: Before) -> set[int]:
    return set(range(len(before))) - {p for reads in before for p in reads}


KINDS: dict[str, Callable[[random.Random], Before]] = {
    "chain": chain,
    "dense blocks": dense,
    "cells": cells,
    "wired stages of 32": lambda rng: wired(rng, 32),
    "random layers": layered,
    "one wired stage": lambda rng: wired(rng, COUNT),
}


def graph_from(name: str, before: Before, rng: random.Random) -> Graph:
    """A graph whose tensors shrink about thirtyfold from first to last, unevenly."""
    tensors = {"x": Tensor("x", (150_000,), "float32", 4)}
    nodes = []
    for i, reads in enumerate(before):
        floats = int(200_000 * 0.03 ** (i / len(before)) * rng.lognormvariate(0, 0.8)) + 1
        tensors[f"n{i}"] = Tensor(f"n{i}", (floats,), "float32", 4)
        nodes.append(Node(f"n{i}", "Op", tuple(f"n{p}" for p in reads) or ("x",), (f"n{i}",)))
    return Graph(name, 1, tuple(nodes), tensors, ("x",), (f"n{len(before) - 1}",))


def problem_of(graph: Graph, rng: random.Random) -> Problem:
    """About 100 ms on the device, an eighth of that on the server, each node differently."""
    device = [rng.lognormvariate(0, 1) * 6e-5 * 1000 / len(graph.nodes) for _ in graph.nodes]
    server = [s / (8 * rng.lognormvariate(0, 0.3)) for s in device]
    return Problem(graph, (_times(graph, device), _times(graph, server)), (Link(1e8, 1e8, 2e-3, 1e-4),))


def _times(graph: Graph, node_s: list[float]) -> Times:
    whole = Timing(low_s=sum(node_s), median_s=sum(node_s), high_s=sum(node_s), runs=1)
    batch = BatchProfile(whole=whole, nodes={n.name: s for n, s in zip(graph.nodes, node_s, strict=True)})
    machine = Machine(name="made", cpu="none", system="none", runtime="none", threads=1)
    profile = Profile(model=graph.name, fingerprint="0" * 64, machine=machine, taken="2026-01-01", batches={1: batch})
    return Times(profile, graph, additive=True)


def network_of(closure: Closure) -> tuple[Any, int, int]:
    """The same problem as a plain flow network, nothing shrunk: (matrix, source, sink)."""
    source = len(closure.weights)
    sink, endless = source + 1, 2**29  # above any cut looked for here, and int32 holds it
    edges: dict[tuple[int, int], int] = {}
    for i, weight in enumerate(closure.weights):
        edges[(i, sink) if weight > 0 else (source, i)] = min(abs(weight), endless)
        edges.update(dict.fromkeys(((i, p) for p in closure.needs[i]), endless))
    for k, (maker, readers, price) in enumerate(closure.parcels):
        edges[source if maker == START else maker, sink + 1 + k] = min(price, endless)
        edges.update(dict.fromkeys(((sink + 1 + k, r) for r in readers), endless))
    rows, columns = zip(*edges, strict=True)
    size = sink + 1 + len(closure.parcels)
    return (
        csr_matrix((np.array(list(edges.values()), dtype=np.int32), (rows, columns)), shape=(size, size)),
        source,
        sink,
    )


def fastest_ms(work: Callable[[], object], runs: int) -> float:
    best = float("inf")
    for _ in range(runs):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best * 1e3


def fastest_of(passes: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Of every problem the fastest times of all passes: a machine that others use has slow moments, seconds long."""
    times = ("solve_ms", "all_ms", "scipy_ms")
    return [{**same[0], **{t: min(one[t] for one in same) for t in times}} for same in zip(*passes, strict=True)]


def judged(name: str, nodes: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Median and worst over all problems of a kind."""
    found: dict[str, Any] = {"network": name, "nodes": nodes, "problems": len(rows)}
    for key in ("solve_ms", "all_ms", "scipy_ms"):
        found[key] = round(median(r[key] for r in rows), 2)
        found[f"worst_{key}"] = round(max(r[key] for r in rows), 2)
    found["inside"] = sum(0 < r["head"] < nodes for r in rows)
    found["ratio"] = round(found["solve_ms"] / found["scipy_ms"], 2)
    found["exact"] = all(r["exact"] for r in rows)
    found["within_target"] = found["worst_all_ms"] <= TARGET_MS
    return found


def _chosen(problem: Problem) -> list[Problem]:
    """At most four rates at which the cheapest cut lies inside, and the two around the first move off the device."""
    heads = [(at, _head(at)) for at in (_at(problem, rate) for rate in RATES_MBIT)]
    inside = [at for at, head in heads if 0 < head < len(problem.graph.nodes)]
    low, high = next(pair for pair in pairwise(RATES_MBIT) if _head(_at(problem, pair[1])) < len(problem.graph.nodes))
    for _ in range(8):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if _head(_at(problem, middle)) == len(problem.graph.nodes) else (low, middle)
    return [*inside[:: -(-len(inside) // 4) or 1], _at(problem, low), _at(problem, high)]


def _at(problem: Problem, rate_mbit: float) -> Problem:
    return replace(problem, links=(replace(problem.links[0], up_bps=rate_mbit * 1e6, down_bps=rate_mbit * 1e6),))


def _head(problem: Problem) -> int:
    answer = Layers(problem, "float32").cheapest()
    assert answer is not None
    return len(answer[1][0])


def _measure_one(problem: Problem, runs: int) -> dict[str, Any]:
    closure = Layers(problem, "float32").closure
    matrix, source, sink = network_of(closure)
    theirs = int(maximum_flow(matrix, source, sink).flow_value) + sum(w for w in closure.weights if w < 0)
    return {
        "head": _head(problem),
        "solve_ms": fastest_ms(closure.cheapest, runs),
        "all_ms": fastest_ms(lambda: Layers(problem, "float32").cheapest(), runs),
        "scipy_ms": fastest_ms(lambda: maximum_flow(matrix, source, sink), runs),
        "exact": closure.value(closure.cheapest()) == theirs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--runs", type=int, default=5, help="runs of which the fastest counts")
    parser.add_argument("--passes", type=int, default=3, help="how often all problems are gone through")
    parser.add_argument("--seeds", type=int, default=4, help="networks of every kind")
    asked = parser.parse_args()
    gc.freeze()  # what the libraries hold is not part of the question
    made: dict[str, list[Problem]] = {}
    for name, make in KINDS.items():
        drawn = [random.Random(seed) for seed in range(asked.seeds)]
        made[name] = [problem_of(graph_from(name, make(rng), rng), rng) for rng in drawn]
    real = graph_of(load_model("zoo:efficientnet_b7", weights=False))
    made["EfficientNet-B7"] = [problem_of(real, random.Random(seed)) for seed in range(asked.seeds)]
    chosen = {name: [at for problem in problems for at in _chosen(problem)] for name, problems in made.items()}
    passes = [
        {name: [_measure_one(at, asked.runs) for at in problems] for name, problems in chosen.items()}
        for _ in range(asked.passes)
    ]
    rows = [
        judged(name, len(problems[0].graph.nodes), fastest_of([found[name] for found in passes]))
        for name, problems in chosen.items()
    ]
    if asked.json:
        print(json.dumps({"target_ms": TARGET_MS, "rows": rows}))
        return
    print(f"{'network':20} {'nodes':>5} {'problems':>8} {'solve, worst':>15} {'all, worst':>15} {'scipy':>8}  exact")
    for r in rows:
        print(
            f"{r['network']:20} {r['nodes']:5d} {r['problems']:8d} {r['solve_ms']:5.1f} {r['worst_solve_ms']:6.1f} ms "
            f"{r['all_ms']:5.1f} {r['worst_all_ms']:6.1f} ms {r['scipy_ms']:5.1f} ms  {r['exact']}"
        )


if __name__ == "__main__":
    main()

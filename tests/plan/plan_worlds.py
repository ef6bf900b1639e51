"""Small made-up worlds for the planner tests: graphs, machines, links, whole random problems."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.graph import Graph, Node, Tensor
from isthmus.link.types import Link
from isthmus.plan.arena import Arena
from isthmus.plan.types import Exit, Limits, Problem
from isthmus.profile.times import Times
from isthmus.profile.types import BatchProfile, CodecTiming, Machine, Profile, Timing


@dataclass(frozen=True)
class Op:
    """One node: its name (and its output's), what it reads, how many floats it makes."""

    name: str
    reads: tuple[str, ...]
    floats: int = 100
    dtype: str = "float32"
    weight_bytes: int = 0


def graph(ops: Sequence[Op], inputs: dict[str, int], outputs: Sequence[str]) -> Graph:
    """A graph from ops; every tensor is a vector of `floats` elements."""
    tensors = {name: Tensor(name, (floats,), "float32", 4) for name, floats in inputs.items()}
    for op in ops:
        tensors[op.name] = Tensor(op.name, (op.floats,), op.dtype, 8 if op.dtype.endswith("64") else 4)
    nodes = tuple(Node(op.name, "Op", op.reads, (op.name,), weight_bytes=op.weight_bytes) for op in ops)
    return Graph("made", 1, nodes, tensors, tuple(inputs), tuple(outputs))


def times(of: Graph, node_s: Sequence[float], *, factor: float = 1.0, additive: bool = True, **parts: object) -> Times:
    """One machine: seconds a node. `heads` and `tails` (cut id → seconds) count when not additive."""
    whole = float(parts.get("whole", sum(node_s)))  # type: ignore[arg-type]
    batch = BatchProfile(
        whole=timing(whole),
        heads={k: timing(v) for k, v in parts.get("heads", {}).items()},  # type: ignore[attr-defined]
        tails={k: timing(v) for k, v in parts.get("tails", {}).items()},  # type: ignore[attr-defined]
        nodes={n.name: s for n, s in zip(of.nodes, node_s, strict=True)},
    )
    profile = Profile(
        model=of.name,
        fingerprint="f" * 64,
        machine=Machine(name="m", cpu="c", system="s", runtime="r", threads=1),
        taken="2026-01-01",
        batches={1: batch},
        codecs={
            "float32": CodecTiming(fixed_s=1e-6, encode_s_per_element=1e-10, decode_s_per_element=2e-10),
            "int8": CodecTiming(fixed_s=2e-6, encode_s_per_element=1e-9, decode_s_per_element=5e-10),
        },
    )
    return Times(profile, of, factor=factor, additive=additive)


def used_bytes(arena: Arena) -> int:
    """How much of an arena is handed out now."""
    return sum(size for _, size in arena._taken.values())


def timing(seconds: float) -> Timing:
    return Timing(low_s=seconds, median_s=seconds, high_s=seconds, runs=3)


def diamond() -> Graph:
    """x(1000) → a(400) → {b(50), c(60)} → d(300) → e(10): the cheap cut b+c sends two tensors."""
    ops = [
        Op("a", ("x",), 400, weight_bytes=1000),
        Op("b", ("a",), 50, weight_bytes=2000),
        Op("c", ("a",), 60, weight_bytes=4000),
        Op("d", ("b", "c"), 300, weight_bytes=8000),
        Op("e", ("d",), 10, weight_bytes=16000),
    ]
    return graph(ops, {"x": 1000}, ["e"])


def diamond_problem(**changed: object) -> Problem:
    """A device at 1 ms a node, a server ten times as fast, 1 Mbit/s up and 2 Mbit/s down, 4 ms round trip."""
    of = diamond()
    made: dict[str, object] = {
        "graph": of,
        "machines": (times(of, [1e-3] * 5), times(of, [1e-4] * 5)),
        "links": (Link(1e6, 2e6, 4e-3, 5e-4),),
        **changed,
    }
    return Problem(**made)  # type: ignore[arg-type]


def random_graph(rng: random.Random, most: int = 9) -> Graph:
    """A random DAG: up to `most` nodes, one or two inputs, skips, several outputs, an integer tensor now and then;
    tensors tend to shrink. Every node leads to an output."""
    inputs = {f"x{i}": rng.randint(2000, 12_000) for i in range(rng.choice((1, 1, 1, 2)))}
    known = list(inputs)
    ops: list[Op] = []
    count = rng.randint(2, most)
    for i in range(count):
        recent = known[-4:]
        reads = [rng.choice(recent if rng.random() < 0.8 else known) for _ in range(rng.randint(1, 3))]
        floats = int(10 ** rng.uniform(1.0, 3.8 - 1.8 * i / count))
        dtype = "int64" if rng.random() < 0.1 else "float32"
        ops.append(Op(f"n{i}", tuple(dict.fromkeys(reads)), floats, dtype, weight_bytes=rng.randint(0, 10_000)))
        known.append(f"n{i}")
    read = {r for op in ops for r in op.reads}
    outputs = [op.name for op in ops if op.name not in read or rng.random() < 0.08]
    return graph(ops, inputs, outputs)


def random_problem(rng: random.Random, *, most: int = 9, machines: int | None = None) -> Problem:
    """A random problem with additive times: 2–4 machines, home anywhere, rates at which the choice is hard."""
    count = machines or rng.choice((2, 2, 2, 3, 3, 4))
    of = random_graph(rng, max(2, most - 2 * (count - 2)))
    home = rng.randrange(count)
    lent = []
    for k in range(count):
        speed = 10 ** (rng.uniform(-3.0, -2.2) if k == home else rng.uniform(-3.8, -2.8))
        lent.append(times(of, [speed * rng.uniform(0.1, 3.0) for _ in of.nodes]))
    links = [
        Link(
            10 ** rng.uniform(6.5, 8), 10 ** rng.uniform(6.5, 8), rng.choice((0.0, 1e-4, 1e-3)), rng.choice((0.0, 1e-4))
        )
        for _ in range(count - 1)
    ]
    codecs = rng.choice((("float32",), ("float32", "int8"), ("int8",)))
    return Problem(of, tuple(lent), tuple(links), home=home, limits=Limits(), default_codecs=codecs)


def branchy(rng: random.Random) -> Graph:
    """A chain of three to six blocks of which all but the last may have a side branch with an exit."""
    ops: list[Op] = []
    outputs: list[str] = []
    last = "x"
    count = rng.randint(3, 6)
    for k in range(count):
        ops += [Op(f"a{k}", (last,), rng.randint(50, 4000)), Op(f"b{k}", (f"a{k}",), rng.randint(20, 400))]
        if k < count - 1 and rng.random() < 0.85:
            ops += [Op(f"s{k}", (f"b{k}",), rng.randint(20, 500)), Op(f"exit{k}", (f"s{k}",), 10)]
            outputs.append(f"exit{k}")
        if k > 1 and rng.random() < 0.3:
            ops.append(Op(f"c{k}", (f"b{k}", f"b{k - 2}"), rng.randint(20, 3000)))
            last = f"c{k}"
        else:
            last = f"b{k}"
    ops.append(Op("main", (last,), 10))
    return graph(ops, {"x": rng.randint(2000, 12_000)}, [*outputs, "main"])


def branchy_problem(rng: random.Random) -> Problem:
    """Exits with accuracies that mostly grow, two machines in either order, and a requirement that bites."""
    of = branchy(rng)
    home = rng.randrange(2)
    speed = [10 ** rng.uniform(-3.2, -2.5), 10 ** rng.uniform(-3.7, -3.0)]
    machines = [times(of, [s * rng.uniform(0.1, 3.0) for _ in of.nodes]) for s in speed]
    ordered = tuple(machines if home == 0 else reversed(machines))
    accuracy = sorted(rng.uniform(0.5, 1.0) for _ in of.outputs)
    if rng.random() < 0.3:
        rng.shuffle(accuracy)
    rate = 10 ** rng.uniform(6.8, 8.2)
    return Problem(
        of,
        ordered,
        (Link(rate, rate, rng.choice((0.0, 1e-3))),),
        home=home,
        limits=Limits(latency_s=10 ** rng.uniform(-2.7, -1.7), private=rng.random() < 0.1),
        default_codecs=rng.choice((("float32",), ("float32", "int8"))),
        exits=tuple(Exit(o, a) for o, a in zip(of.outputs, accuracy, strict=True)),
    )

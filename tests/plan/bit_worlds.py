"""Small made-up worlds for planners that choose widths: networks of matrix products, tables, machines by figures."""

from __future__ import annotations

import random
from dataclasses import replace

from plan_worlds import Op, graph, times

from isthmus.graph import Graph, Product, fused_graph
from isthmus.link.types import Link
from isthmus.plan.types import Limits, Problem
from isthmus.profile.devices import computed_profile, shipped
from isthmus.profile.devices.widths import WidthWork
from isthmus.profile.times import Times
from isthmus.quant.types import Distortions, LayerBits, OutputBits

BITS = (2, 4, 6, 8)


def weighted(of: Graph, sizes: dict[str, tuple[int, int, int]]) -> Graph:
    """The graph with matrix products (rows, columns, depth) and their weights on some nodes."""
    nodes = []
    for node in of.nodes:
        rows, columns, depth = sizes.get(node.name, (0, 0, 0))
        count = columns * depth
        product = Product(rows, columns, depth) if count else None
        nodes.append(
            replace(
                node,
                op="Conv" if count else "MaxPool",
                macs=rows * count,
                parameters=count,
                weight_bytes=4 * count,
                product=product,
            )
        )
    return replace(of, nodes=tuple(nodes))


def chain(rng: random.Random, count: int, floats: int = 4000) -> Graph:
    """A chain that shrinks, every node with weights."""
    ops, last = [], "x"
    for k in range(count):
        ops.append(Op(f"n{k}", (last,), max(10, int(floats * 0.6**k * rng.uniform(0.5, 1.5)))))
        last = f"n{k}"
    made = graph(ops, {"x": floats}, [last])
    return weighted(
        made, {f"n{k}": (rng.randint(10, 60), rng.randint(4, 40), rng.randint(9, 90)) for k in range(count)}
    )


def branched(rng: random.Random) -> Graph:
    """x → a → {b, c} → d → e, with a skip from a to e."""
    floats = {"a": 900, "b": 250, "c": 300, "d": 400, "e": 30}
    reads = {"a": ("x",), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ("d", "a") if rng.random() < 0.5 else ("d",)}
    made = graph([Op(n, reads[n], int(floats[n] * rng.uniform(0.5, 1.5))) for n in floats], {"x": 3000}, ["e"])
    return weighted(made, {n: (rng.randint(10, 60), rng.randint(4, 40), rng.randint(9, 90)) for n in "abce"})


def tables(of: Graph, rng: random.Random, bits: tuple[int, ...] = BITS, *, powers: bool = True) -> Distortions:
    """Errors that fall by about 4 a bit, each layer's its own."""
    layers = []
    for node in fused_graph(of).nodes:
        power, made = 10 ** rng.uniform(-4, -2), 10 ** rng.uniform(-1, 1)
        for k, name in enumerate(node.outputs):
            heavy = bool(node.parameters) and not k
            layers.append(
                LayerBits(
                    node=node.name,
                    weight_elements=node.parameters if heavy else 0,
                    weights=tuple(_errors(rng, power, bits)) if heavy else (),
                    output=name,
                    output_elements=of.tensors[name].elements,
                    outputs=tuple(_errors(rng, made, bits)) if of.tensors[name].dtype == "float32" else (),
                    weight_power=power if powers and heavy else 0.0,
                    output_power=made if powers else 0.0,
                )
            )
    inputs = tuple(
        OutputBits(
            name=t, elements=of.tensors[t].elements, errors=tuple(4.0**-b for b in bits), power=1.0 if powers else 0.0
        )
        for t in of.inputs
    )
    return Distortions(
        model=of.name, fingerprint="f" * 64, bits=bits, layers=tuple(layers), inputs=inputs, samples=1, source="made up"
    )


def _errors(rng: random.Random, power: float, bits: tuple[int, ...]) -> list[float]:
    grain = rng.uniform(1.0, 6.0)
    return [power * grain * 4.0**-b * rng.uniform(0.7, 1.4) for b in bits]


def bit_problem(
    of: Graph, rng: random.Random, *, up_bps: float = 1e6, memory: int | None = None, moved: float = 1e7
) -> Problem:
    """A simulated array at home that moves so many bytes a second, another far away, tables for every layer."""
    device, server = shipped()["eyeriss"], shipped()["tpu"]
    device = device.model_copy(update={"clock_hz": 3e5, "bandwidth_bytes_per_s": moved})
    profiles = [computed_profile(d, [of], "f" * 64, taken="2026-01-01") for d in (device, server)]
    machines = (Times(profiles[0], of, work=WidthWork(device, of)), Times(profiles[1], of))
    return Problem(
        of,
        machines,
        (Link(up_bps, up_bps, 1e-3),),
        limits=Limits(home_memory_bytes=memory),
        distortions=tables(of, rng),
    )


def measured_problem(of: Graph, rng: random.Random, narrow: float) -> Problem:
    """Machines that were measured: a node takes milliseconds at home, a tenth of that far away."""
    node_s = [rng.uniform(1e-3, 4e-3) for _ in of.nodes]
    home = replace(times(of, node_s), narrow=narrow)
    return Problem(
        of, (home, times(of, [s / 10 for s in node_s])), (Link(1e6, 1e6, 1e-3),), distortions=tables(of, rng)
    )

"""What a part of given widths needs on the device: weights, and the activations alive at once.

The same count as in a list of solutions (`isthmus.plan.storage`), for a part whose widths are already chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.graph import Cut, Graph
from isthmus.plan.storage import INPUT_BITS, PLAIN_BITS, Storage
from isthmus.quant.types import MOST_BITS, BitPlan, Distortions

CONTAINER_BITS = 8
"""The narrowest numbers that runtimes compute with."""
Width = Callable[[int], int]


@dataclass(frozen=True)
class Needs:
    """Bytes of a part: as the plan counts them, and in a runtime that keeps narrower numbers as bytes, what has no
    levels as 32-bit floats, the input as it is handed over, and a layer's sums in 32 bits while it computes them. Its
    file: weights, scales and what says how they belong together."""

    weight_bytes: int
    activation_bytes: int
    container_bytes: int
    file_bytes: int


def needs(graph: Graph, tables: Distortions, cut: Cut, bits: BitPlan) -> Needs:
    """Of the part of the fused network `graph` before a cut, one input at a time. Raises BadInput for tables that do
    not know it."""
    storage = Storage.of(graph, tables, tuple(b for b in tables.bits if b < MOST_BITS), head=cut)
    none = np.zeros(len(storage.heads) - 1, dtype=np.int64)
    planned = _bytes(storage, bits, lambda b: b, INPUT_BITS, none)
    held = _bytes(storage, bits, _held, PLAIN_BITS, _sums(storage, bits))
    return Needs(*planned, sum(held), storage.file_bytes(len(storage.heads) - 1, planned[0]))


def _held(bits: int) -> int:
    return PLAIN_BITS if bits == MOST_BITS else max(bits, CONTAINER_BITS)


def _sums(storage: Storage, bits: BitPlan) -> NDArray[np.int64]:
    """Bits that each layer's kernel adds up in: as many numbers as it makes, where it works on levels."""
    found = np.zeros(len(storage.heads) - 1, dtype=np.int64)
    for place, at in enumerate(storage.weighted):
        node = storage.graph.nodes[at]
        if bits.weights.get(node.name, MOST_BITS) < MOST_BITS:
            made = sum(storage.graph.tensors[t].elements for t in node.outputs)
            found[storage.weight_step[place]] = PLAIN_BITS * made
    return found


def _bytes(
    storage: Storage, bits: BitPlan, width: Width, input_bits: int, scratch: NDArray[np.int64]
) -> tuple[int, int]:
    """(of weights, of all that is alive at once). `scratch`: bits besides, step by step."""
    step = len(storage.heads) - 1
    indices = storage.weights_in(step)
    named = [storage.graph.nodes[storage.weighted[k]].name for k in indices.tolist()]
    weights = np.array([width(bits.weights.get(name, MOST_BITS)) for name in named], dtype=np.int64)
    total = int((storage.weights.sizes[indices] * weights).sum()) + storage.plain_bits[step]
    tensors = [width(MOST_BITS)] * len(storage.names)
    for name, item in storage.at.items():
        if name in bits.outputs:
            tensors[item] = width(bits.outputs[name])
    for item, name in enumerate(storage.names):
        if storage.lives.fixed[item]:
            tensors[item] = input_bits if name in storage.graph.inputs else storage.lives.fixed[item]
    alive = storage.lives.alive_bits(tensors)[:step] + scratch
    return -(-total // 8), -(-int(alive.max(initial=0)) // 8)

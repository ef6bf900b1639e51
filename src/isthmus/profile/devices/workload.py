"""What a network asks of a machine, layer by layer: the sizes of its products and the numbers it reads and writes.

Every tensor that a layer reads, its weights and what it writes move once; what a layer keeps to itself does not. On a
machine that fuses, an activation, a batch norm or an addition is part of the layer whose result it works on, as long as
everything else it needs is there before that layer starts (so a residual addition is, a squeeze-and-excite scaling is
not). Reshapes move nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.graph.fuse import VIEWS
from isthmus.graph.types import Graph, Node

Counts = NDArray[np.int64]

_FOLLOWERS = frozenset({
    "Abs", "Add", "BatchNormalization", "Cast", "Ceil", "Clip", "Div", "Elu", "Erf", "Exp", "Floor", "Gelu",
    "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Max", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow", "Relu", "Round",
    "Selu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Tanh", "QuantizeLinear", "DequantizeLinear",
})  # fmt: skip


@dataclass(frozen=True)
class Workload:
    """One entry a node of the graph, in running order; a node that is part of an earlier layer asks for nothing itself.

    rows, columns, depth, count: its matrix products (`Product`), all 0 without one. weights, reads, writes: numbers
    (not bytes) that move. `works`: whether there is anything to do. `inputs`, `outputs`: names of the tensors that are
    read and written.
    """

    rows: Counts
    columns: Counts
    depth: Counts
    count: Counts
    weights: Counts
    reads: Counts
    writes: Counts
    works: NDArray[np.bool_]
    inputs: tuple[tuple[str, ...], ...]
    outputs: tuple[tuple[str, ...], ...]

    @property
    def macs(self) -> Counts:
        return self.rows * self.columns * self.depth * self.count

    @classmethod
    def of(cls, graph: Graph, *, fuses: bool = True) -> Workload:
        """The layers of a graph at its batch size; without `fuses` every node is a layer of its own."""
        layer = layers(graph, fuses=fuses)
        products = np.array(
            [(p.rows, p.columns, p.depth, p.count) if (p := n.product) else (0, 0, 0, 0) for n in graph.nodes],
            dtype=np.int64,
        ).reshape(-1, 4)
        moved = np.zeros((len(graph.nodes), 3), dtype=np.int64)
        inputs: list[dict[str, None]] = [{} for _ in graph.nodes]
        written: list[list[str]] = [[] for _ in graph.nodes]
        outputs = set(graph.outputs)
        for i, node in enumerate(graph.nodes):
            at = layer[i]
            if node.op in VIEWS and at == i:
                continue
            moved[at, 0] += _weights(node)
            inputs[at].update({t: None for t in node.inputs if layer_of(graph, layer, t) != at})
            leaving = [t for t in node.outputs if t in outputs or any(layer[c] != at for c in graph.consumers[t])]
            written[at] += leaving
            moved[at, 2] += sum(graph.tensors[t].elements for t in leaving)
        moved[:, 1] = [sum(graph.tensors[t].elements for t in names) for names in inputs]
        works = np.array([layer[i] == i and n.op not in VIEWS for i, n in enumerate(graph.nodes)], dtype=np.bool_)
        return cls(
            rows=products[:, 0],
            columns=products[:, 1],
            depth=products[:, 2],
            count=products[:, 3],
            weights=moved[:, 0],
            reads=moved[:, 1],
            writes=moved[:, 2],
            works=works,
            inputs=tuple(tuple(names) for names in inputs),
            outputs=tuple(tuple(names) for names in written),
        )


def layers(graph: Graph, *, fuses: bool) -> list[int]:
    """For each node the index of the node whose layer it is part of (its own where it begins one)."""
    found: list[int] = []
    for i, node in enumerate(graph.nodes):
        at = _joined(graph, found, node) if fuses else -1
        found.append(i if at < 0 or graph.nodes[at].op in VIEWS else at)
    return found


def layer_of(graph: Graph, layer: list[int], tensor: str) -> int:
    """The layer that makes a tensor; −1 for an input of the network."""
    made_by = graph.producer.get(tensor)
    return -1 if made_by is None else layer[made_by]


def _joined(graph: Graph, layer: list[int], node: Node) -> int:
    """The latest layer this node reads from, if it works on a result of its own size there; −1 when it cannot be part
    of a layer. All else it reads was made by earlier layers, and so is there before this one starts."""
    if node.op not in _FOLLOWERS and node.op not in VIEWS:
        return -1
    at = max((layer_of(graph, layer, t) for t in node.inputs), default=-1)
    size = graph.tensors[node.outputs[0]].elements
    mine = [t for t in node.inputs if at >= 0 and layer_of(graph, layer, t) == at]
    return at if any(graph.tensors[t].elements == size for t in mine) else -1


def _weights(node: Node) -> int:
    """Stored numbers a node needs: those of its product even where another node counts them as parameters already."""
    product = node.product
    stored = product.columns * product.depth * product.count if product and len(node.inputs) == 1 else 0
    return max(node.parameters, stored)

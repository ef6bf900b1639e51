"""A network whose numbers have widths of their own, on a machine known by its figures: seconds of every node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isthmus.graph.fuse import fused_graph
from isthmus.graph.types import Graph
from isthmus.profile.devices.compute import node_seconds
from isthmus.profile.devices.types import Device
from isthmus.profile.devices.workload import Workload, layers
from isthmus.quant.types import MOST_BITS, BitPlan

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class WidthWork:
    """The layers of a graph on one device. A layer that reads tensors of different widths moves each at its own; what
    no plan names is left in floating point, 16 bits there."""

    device: Device
    graph: Graph

    def row(self, plan: BitPlan) -> tuple[Floats, Floats]:
        """(width of the weights of every node, width of every tensor in the order of `tensors`)."""
        weights = np.full(len(self.graph.nodes), MOST_BITS, dtype=np.float64)
        for name, bits in plan.weights.items():
            weights[self.parts[name]] = bits
        tensors = self.plain_tensors.copy()
        for name, bits in plan.outputs.items():
            tensors[self.tensors[name]] = bits
        return weights, tensors

    def node_s(self, weights: ArrayLike, tensors: ArrayLike) -> Floats:
        """Seconds, shape (…, nodes), for widths of shapes (…, nodes) and (…, tensors)."""
        at = np.asarray(tensors, dtype=np.float64)
        led = np.asarray(weights, dtype=np.float64)[..., self._leader]
        reads, writes = self._mean(at, self.work.inputs), self._mean(at, self.work.outputs)
        return node_seconds(self.device, self.work, led, reads, writes)

    @cached_property
    def work(self) -> Workload:
        return Workload.of(self.graph, fuses=self.device.fuses)

    @cached_property
    def layers(self) -> list[int]:
        """For each node the node that begins its layer."""
        return layers(self.graph, fuses=self.device.fuses)

    @cached_property
    def parts(self) -> dict[str, list[int]]:
        """Layer of the fused graph, as tables and plans name it, → its nodes."""
        index = {node.name: i for i, node in enumerate(self.graph.nodes)}
        return {node.name: [index[p] for p in node.whole] for node in fused_graph(self.graph).nodes}

    @cached_property
    def tensors(self) -> dict[str, int]:
        """Tensor → its column."""
        return {name: i for i, name in enumerate(self.graph.tensors)}

    @cached_property
    def plain_tensors(self) -> Floats:
        """Widths where nobody names any: 16 for floats, else the dtype's own."""
        kept = [MOST_BITS if t.dtype == "float32" else 8 * t.itemsize for t in self.graph.tensors.values()]
        return np.array(kept, dtype=np.float64)

    @cached_property
    def _leader(self) -> NDArray[np.int64]:
        """For each node the node of its layer that has the most weights."""
        found = list(range(len(self.graph.nodes)))
        for i, lead in enumerate(self.layers):
            if self.graph.nodes[i].parameters > self.graph.nodes[found[lead]].parameters:
                found[lead] = i
        return np.array(found, dtype=np.int64)

    def _mean(self, tensors: Floats, names: Sequence[Sequence[str]]) -> Floats:
        """The mean width over all elements of these tensors, one entry a node; where there are none, 8."""
        pairs = [(node, self.tensors[name]) for node, group in enumerate(names) for name in group]
        if not pairs:
            return np.full((*tensors.shape[:-1], len(names)), 8.0)
        nodes, columns = np.array(pairs, dtype=np.int64).T
        counts = self._elements[columns]
        starts = np.flatnonzero(np.diff(nodes, prepend=-1))
        total = np.add.reduceat(counts, starts)
        moved = np.add.reduceat(tensors[..., columns] * counts, starts, axis=-1)
        mean = np.full((*tensors.shape[:-1], len(names)), 8.0)
        mean[..., nodes[starts]] = moved / np.maximum(total, 1.0)
        return np.maximum(mean, 1.0)

    @cached_property
    def _elements(self) -> Floats:
        return np.array([t.elements for t in self.graph.tensors.values()], dtype=np.float64)

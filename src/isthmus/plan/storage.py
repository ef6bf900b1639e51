"""What a head keeps in memory, in elements: its weights, and the activations that are alive at once.

The layers of the fused graph run one after the other; what a layer makes is stored until the last layer that reads it
has run. A reshape stores nothing: it is another name. Inputs are there from the start, at 8 bits (a camera's), answers
stay. Biases and whatever else no table names keep 32 bits, and so do the scales of weights, one an
output channel (not in the literal reading).

D_i is taken relative to the power of its tensor, D_i / mean(x_i²): the absolute figures that Auto-Split sums differ by
orders of magnitude between weights and activations, so weights at 2 bits would seem to cost nothing. Where a table
knows no powers, and in the literal reading, they are summed as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import BadInput
from isthmus.graph import Cut, Graph, Node, cut_of, fused_graph
from isthmus.graph.fuse import VIEWS
from isthmus.quant.alive import Lives
from isthmus.quant.assign import Choices
from isthmus.quant.types import BitPlan, Distortions, OutputBits

FILE_BYTES, LAYER_BYTES = 500, 150
"""What the file of a head takes besides weights and scales: nodes, names and the notes on widths, deflated. So files of
eight networks, at three widths and three places each, take 0.98 to 1.06 of the plan (1 kB: 0.90)."""
INPUT_BITS = 8
PLAIN_BITS = 32
"""What no table names."""


@dataclass(frozen=True)
class Storage:
    """A head and every shorter head that ends with one of its layers; sizes in elements, widths not yet chosen.

    graph: the fused one, whose nodes are the layers; plain: the one it was fused from, whose cuts are the plan's.
    heads[s]: the first s layers. names: the stored tensors, as `lives` counts them. `at` finds the item of a tensor
    under any of its names. weighted: nodes with weights in running order, as `weights` counts them.
    """

    graph: Graph
    plain: Graph
    heads: tuple[frozenset[int], ...]
    names: tuple[str, ...]
    at: dict[str, int]
    lives: Lives
    weighted: tuple[int, ...]
    weights: Choices
    weight_step: tuple[int, ...]
    plain_bits: tuple[int, ...]
    """of the first s layers, s = 0 …: what keeps its width"""
    input_errors: dict[int, float]
    """Σ D of the network's inputs by width; a width that is not there loses nothing that is known"""
    upload_errors: dict[str, float]
    """D of the network's input by picture codec, where that was measured"""

    @classmethod
    def of(
        cls,
        plain: Graph,
        tables: Distortions,
        bits: Sequence[int],
        *,
        head: Cut | None = None,
        literal: bool = False,
    ) -> Storage:
        """Of a head (the whole network where absent) at the widths `bits` of the tables. Raises BadInput for tables
        that do not know a tensor that is stored."""
        graph = fused_graph(plain)
        index = {node.name: i for i, node in enumerate(plain.nodes)}
        inside = [
            i for i, node in enumerate(graph.nodes) if head is None or any(index[p] in head.head for p in node.whole)
        ]
        heads = tuple(frozenset(inside[:s]) for s in range(len(inside) + 1))
        step_of = {i: s for s, i in enumerate(inside)}
        table = _Tables(tables, tuple(bits), relative=not literal and _powers(tables))
        names, at, lives = _lives(graph, step_of, table, literal=literal)
        counts = [table.weight_count(graph.nodes[i].name) for i in inside]
        weighted = tuple(i for i, count in zip(inside, counts, strict=True) if count)
        errors = [table.weight_errors(graph.nodes[i].name) for i in weighted]
        sizes = np.array([count for count in counts if count], dtype=np.int64)
        plain_bits = [
            PLAIN_BITS * _unnamed(graph.nodes[i], n, scales=not literal) for i, n in zip(inside, counts, strict=True)
        ]
        return cls(
            graph,
            plain,
            heads,
            names,
            at,
            lives,
            weighted,
            Choices(sizes, tuple(bits), np.array(errors).reshape(len(weighted), len(bits))),
            tuple(step_of[i] for i in weighted),
            (0, *np.cumsum(plain_bits, dtype=np.int64).tolist()),
            table.input_errors(),
            table.upload_errors(),
        )

    @cached_property
    def cuts(self) -> tuple[Cut, ...]:
        """The cut behind each head, in the plain graph."""
        index = {node.name: i for i, node in enumerate(self.plain.nodes)}
        parts = [[index[p] for p in node.whole] for node in self.graph.nodes]
        return tuple(cut_of(self.plain, frozenset(p for i in head for p in parts[i])) for head in self.heads)

    def file_bytes(self, step: int, weight_bytes: int) -> int:
        """The file of the head of so many layers (`isthmus.codec.head_file`), its weights taking so much."""
        return weight_bytes + FILE_BYTES + LAYER_BYTES * step if step else 0

    def crossing(self, step: int) -> tuple[int, ...]:
        """Items that cross behind the first `step` layers."""
        cut = self.cuts[step]
        wanted = [t for t in cut.crossing if self.graph.consumers[t] and t in self.at]
        return tuple(dict.fromkeys(self.at[t] for t in wanted))

    def weights_in(self, step: int) -> NDArray[np.int64]:
        """Indices of the weights of the first `step` layers."""
        return np.flatnonzero(np.array(self.weight_step, dtype=np.int64) < step)

    def input_error(self, bits: int) -> float:
        """Σ D of the network's inputs at a width."""
        return self.input_errors.get(bits, 0.0)

    def bit_plan(self, step: int, weight_bits: Sequence[int], widths: Sequence[int]) -> BitPlan:
        """The widths of a head as nodes and tensors by name; every name of a tensor has its width."""
        head = self.heads[step]
        chosen = {
            self.graph.nodes[self.weighted[k]].name: int(b)
            for k, b in zip(self.weights_in(step).tolist(), weight_bits, strict=True)
        }
        made = {*self.graph.inputs, *(t for i in head for t in self.graph.nodes[i].outputs)}
        tensors = {
            name: widths[item] for name, item in self.at.items() if name in made and widths[item] and self._floats(name)
        }
        return BitPlan(weights=chosen, outputs=tensors)

    def _floats(self, name: str) -> bool:
        return self.graph.tensors[name].dtype == "float32"


@dataclass(frozen=True)
class _Tables:
    """The distortion tables as this plan reads them: at some widths, relative or not."""

    tables: Distortions
    bits: tuple[int, ...]
    relative: bool

    @cached_property
    def _nodes(self) -> dict[str, tuple[int, tuple[float, ...], float]]:
        found: dict[str, tuple[int, tuple[float, ...], float]] = {}
        for one in self.tables.layers:
            found.setdefault(one.node, (one.weight_elements if one.weights else 0, one.weights, one.weight_power))
        return found

    def weight_count(self, node: str) -> int:
        return self._nodes.get(node, (0, (), 0.0))[0]

    def weight_errors(self, node: str) -> list[float]:
        _, errors, power = self._nodes[node]
        return self._scaled(errors, power)

    def tensor(self, graph: Graph, name: str) -> OutputBits:
        """The entry of a tensor; of one that is only another name, of what it was made from."""
        while True:
            try:
                return self.tables.tensor(name)
            except BadInput:
                made_by = graph.producer.get(name)
                node = None if made_by is None else graph.nodes[made_by]
                if node is None or node.op not in VIEWS:
                    raise
                name = node.inputs[0]

    def tensor_errors(self, entry: OutputBits) -> list[float]:
        return self._scaled(entry.errors, entry.power)

    def input_errors(self) -> dict[int, float]:
        found = dict.fromkeys(self.tables.bits, 0.0)
        for entry in self.tables.inputs:
            unit = entry.power if self.relative and entry.power > 0 else 1.0
            for bits, error in zip(self.tables.bits, entry.errors, strict=False):
                found[bits] += error / unit
        return found

    def upload_errors(self) -> dict[str, float]:
        power = self.tables.inputs[0].power if self.tables.inputs else 0.0
        unit = power if self.relative and power > 0 else 1.0
        return {name: found.error / unit for name, found in self.tables.uploads.items()}

    def _scaled(self, errors: tuple[float, ...], power: float) -> list[float]:
        unit = power if self.relative and power > 0 else 1.0
        return [errors[self.tables.bits.index(b)] / unit for b in self.bits]


def _unnamed(node: Node, weights: int, *, scales: bool) -> int:
    """Numbers of a layer that no table names: biases and the like, and where it has weights their scales."""
    channels = node.product.columns * node.product.count if weights and node.product is not None else 0
    return max(0, node.parameters - weights) + (channels if scales else 0)


def _powers(tables: Distortions) -> bool:
    return any(one.weight_power > 0 or one.output_power > 0 for one in tables.layers)


def _lives(
    graph: Graph, step_of: dict[int, int], table: _Tables, *, literal: bool
) -> tuple[tuple[str, ...], dict[str, int], Lives]:
    """The stored tensors: names, the item of every name, sizes and lives."""
    steps = len(step_of)
    at: dict[str, int] = {}
    names: list[str] = []
    born: list[int] = []
    last: list[int] = []
    for name in [*graph.inputs, *(t for i in step_of for t in graph.nodes[i].outputs)]:
        made_by = graph.producer.get(name)
        begun = 0 if made_by is None else step_of[made_by]
        readers = graph.consumers[name]
        kept = name in graph.outputs or any(r not in step_of for r in readers)
        end = steps - 1 if kept else max((step_of[r] for r in readers), default=begun)
        source = graph.nodes[made_by].inputs[0] if made_by is not None and graph.nodes[made_by].op in VIEWS else None
        if source in at:
            at[name] = at[source]
            last[at[name]] = max(last[at[name]], end)
        elif steps:
            at[name] = len(names)
            names.append(name)
            born.append(begun)
            last.append(end)
    sizes, fixed, errors = _sizes(graph, names, table)
    return tuple(names), at, Lives(sizes, table.bits, errors, fixed, born, last, steps, literal)


def _sizes(graph: Graph, names: Sequence[str], table: _Tables) -> tuple[list[int], list[int], NDArray[np.float64]]:
    """(elements, fixed width or 0, errors at each width) of the stored tensors."""
    sizes, fixed = [], []
    errors = np.zeros((len(names), len(table.bits)))
    for k, name in enumerate(names):
        tensor = graph.tensors[name]
        sizes.append(tensor.elements)
        if tensor.dtype != "float32":
            fixed.append(8 * tensor.itemsize)
        elif name in graph.inputs:
            fixed.append(INPUT_BITS)
        else:
            entry = table.tensor(graph, name)
            fixed.append(0 if entry.errors else PLAIN_BITS)
            errors[k] = table.tensor_errors(entry) if entry.errors else 0.0
    return sizes, fixed, errors

"""What a process holds more, at most, while it loads and runs a part in onnxruntime: its own figure beside the plan's.

A part at true widths (`isthmus.plan.needs`) is for a machine made for few bits. onnxruntime's kernels take bytes at
least, repack weights, add up in 32 bits, lay windows out as columns or as pointers, and take it all from one arena.
This walks through the layers as the runtime does and counts:

- **weights** as the kernels repack them (the file's pages are let go one weight at a time while that happens), and as
  they stand in the file where kernels take them as they are;
- **the arena**: every block that loading and running take and give back, in order (`isthmus.plan.arena`);
- **the session**: once a session, and for every kernel, what the runtime keeps about it;
- **the ends**: the input as it is handed over, what crosses as levels and as the numbers they stand for.

Which kernel does what was read in onnxruntime 1.2x's sources (QLinearConv, its symmetric variant, QGemm).
Program code is not counted: it comes from files, and processes share it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, PositiveInt

from isthmus.graph import Cut, Graph, Node, fused_graph
from isthmus.graph.fuse import VIEWS
from isthmus.plan.arena import Arena
from isthmus.quant.types import MOST_BITS, BitPlan

_FLOAT, _POINTER = 4, 8
_WHOLE_BITS = 8
_INTEGER = frozenset({"Conv", "Gemm", "MatMul", "Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool"})
"""Layers that have a kernel on levels,"""
_MOVES = VIEWS | {"MaxPool", "Transpose", "Slice", "Gather"}
"""and those whose result are levels of their input, of the same width."""
_ELEMENTWISE = frozenset({"Add", "Mul", "Concat"})
_IMPLIED = VIEWS | {"Relu", "Clip", "BatchNormalization", "Add"}
"""What levels do by themselves behind a product; with anything else behind it a product is made in floating point."""
_ZEROS_BYTES = 5_000
"""What a layer with unsigned weights has more: its zero points, and sums of its columns."""
_WITH_HALVES = 1.35
"""A network with both halves of one cut ready, over the network alone."""
_LINES, _COLUMNS, _DEPTH = 16, 8, 4
"""Symmetric kernels: lines of output channels in packed weights, and what channels must be multiples of."""


class RuntimeMemory(BaseModel):
    """What a machine's runtime keeps besides weights and tensors: bytes of a session, of a kernel with weights (its
    node, its constants, their names) and of one without. signed: 8-bit weights stay signed there, so that kernels add
    up without room for 32-bit sums (`isthmus.engine.has_vnni`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    session_bytes: PositiveInt
    product_bytes: PositiveInt
    other_bytes: PositiveInt
    signed: bool = False


USUAL = RuntimeMemory(session_bytes=30_000, product_bytes=25_000, other_bytes=10_000)
"""onnxruntime 1.31 on 64-bit Linux, fitted on ResNet-18, ResNet-56 and MobileNetV1 (`benchmarks/held_memory.py`)."""


@dataclass(frozen=True)
class Held:
    """Bytes of a part in a process that runs it, by cause; the sum is the whole."""

    mapped_bytes: int
    arena_bytes: int
    session_bytes: int
    ends_bytes: int

    @property
    def total_bytes(self) -> int:
        """The most that the process needs more."""
        return self.mapped_bytes + self.arena_bytes + self.session_bytes + self.ends_bytes


def held(graph: Graph, cut: Cut, bits: BitPlan | None, runtime: RuntimeMemory = USUAL) -> Held:
    """Of the part of the network `graph` (not fused) before a cut, at its batch, with these widths; None: all of it in
    floating point, the input too, as the engine runs it."""
    floats = bits is None
    if bits is None:
        bits = BitPlan(outputs=dict.fromkeys(graph.inputs, MOST_BITS))
    whole = fused_graph(graph)
    index = {node.name: i for i, node in enumerate(graph.nodes)}
    layers = [node for node in whole.nodes if any(index[part] in cut.head for part in node.whole)]
    ops = {node.name: node.op for node in graph.nodes}
    walk = _Walk(whole, layers, [_Layer.of(whole, node, ops, bits, runtime) for node in layers], bits)
    if layers:
        walk.load()
        walk.run()
    session = sum(layer.session_bytes(runtime) for layer in walk.found) + runtime.session_bytes
    if floats:  # the engine has the whole network ready, and the halves of a cut besides
        every = sum(_Layer.of(whole, node, ops, bits, runtime).session_bytes(runtime) for node in whole.nodes)
        session = runtime.session_bytes + (every if len(layers) == len(whole.nodes) else int(every * _WITH_HALVES))
    return Held(walk.mapped_bytes, walk.arena.high_bytes, session if layers else 0, walk.ends_bytes())


@dataclass(frozen=True)
class _Layer:
    """A layer as the runtime computes it. kind: `levels` by a kernel for levels, `moves` levels, `wide` in floating
    point between levels, `float` in floating point, `view` not at all."""

    node: Node
    kind: str
    symmetric: bool
    signed: bool
    gated: bool
    clamped: bool
    """its result has fewer than 8 bits: held down to its levels by a node of its own"""
    weight_bits: int

    @classmethod
    def of(cls, graph: Graph, node: Node, ops: dict[str, str], bits: BitPlan, runtime: RuntimeMemory) -> _Layer:
        made = bits.outputs.get(node.outputs[0], MOST_BITS)
        narrow = [bits.outputs.get(t, _WHOLE_BITS if t in graph.inputs else MOST_BITS) for t in node.inputs]
        weight = bits.weights.get(node.name, MOST_BITS) if node.product is not None else _WHOLE_BITS
        rest = {ops[part] for part in node.whole[1:]}
        gated = not rest <= _IMPLIED
        levels = bool(narrow) and max(narrow) < MOST_BITS
        moves = all(ops[part] in _MOVES for part in node.whole) and len(node.outputs) == 1
        if all(ops[part] in VIEWS for part in node.whole):
            kind = "view"
        elif moves and levels and narrow[0] <= made:
            kind = "moves"
        elif levels and max(made, weight) < MOST_BITS and not gated and node.op in _INTEGER:
            kind = "levels"
        else:
            kind = "wide" if levels or made < MOST_BITS else "float"
        signed = runtime.signed or weight < _WHOLE_BITS
        clamped = made < _WHOLE_BITS and kind in ("levels", "wide")
        return cls(node, kind, kind == "levels" and signed and _fits_symmetric(node), signed, gated, clamped, weight)

    @property
    def weights(self) -> int:
        """Numbers in its weights."""
        product = self.node.product
        return product.columns * product.depth * product.count if product is not None and self.node.parameters else 0

    @property
    def packed_bytes(self) -> int:
        """Its weights as a kernel for levels repacks them."""
        product = self.node.product
        if product is None or not self.weights:
            return 0
        if self.depthwise:
            return self.weights
        if self.symmetric:
            return _up(product.columns, _LINES) * product.depth
        return product.count * (_up(product.columns, _LINES) * (_up(product.depth, _DEPTH) + _FLOAT))

    @property
    def depthwise(self) -> bool:
        product = self.node.product
        return product is not None and product.count > 1 and product.columns == 1 and product.depth == self.window

    @property
    def window(self) -> int:
        return math.prod(self.node.kernel)

    @property
    def scratch_bytes(self) -> tuple[int, int]:
        """(of sums, of the windows laid out) while it runs."""
        product = self.node.product
        if self.kind != "levels" or product is None:
            return 0, 0
        places = product.rows
        sums = 0 if self.symmetric else _FLOAT * places * product.columns * product.count
        if self.depthwise:
            return sums, _POINTER * self.window * places
        if self.window <= 1 and all(s == 1 for s in self.node.strides):
            return sums, 0
        return sums, (_POINTER * self.window if self.symmetric else product.depth) * places

    def session_bytes(self, runtime: RuntimeMemory) -> int:
        """What the runtime keeps about it, its biases and scales among that."""
        if self.kind == "view":
            return 0
        others = int(self.clamped) + int(self.gated) + (2 if self.kind == "wide" else 0)
        product = self.node.product
        if product is None or not self.weights:
            return (1 + others) * runtime.other_bytes
        constants = 0 if self.kind == "float" else 3 * _FLOAT * product.columns * product.count
        zeros = _ZEROS_BYTES if self.kind == "levels" and not self.signed else 0
        return runtime.product_bytes + others * runtime.other_bytes + constants + zeros


def _fits_symmetric(node: Node) -> bool:
    product = node.product
    if product is None or node.op != "Conv" or not node.kernel:
        return False
    if product.count > 1:
        return product.columns == 1 and product.depth == math.prod(node.kernel) and product.count % _LINES == 0
    channels = product.depth // max(1, math.prod(node.kernel))
    return product.columns >= _LINES and product.columns % _COLUMNS == 0 and channels % _DEPTH == 0


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


@dataclass
class _Walk:
    """Loads and runs the layers in an arena."""

    graph: Graph
    layers: Sequence[Node]
    found: Sequence[_Layer]
    bits: BitPlan
    arena: Arena = field(default_factory=Arena)
    mapped_bytes: int = 0

    def __post_init__(self) -> None:
        self._root: dict[str, str] = {}
        self._channels_last: set[str] = set()
        self._last: dict[str, int] = {}
        inside = {node.name for node in self.layers}
        wanted = set(self.graph.outputs)
        for name, readers in self.graph.consumers.items():
            if any(self.graph.nodes[r].name not in inside for r in readers):
                wanted.add(name)
        self._given = [t for t in self.graph.inputs if any(t in node.inputs for node in self.layers)]
        for at, layer in enumerate(self.found):
            for name in layer.node.inputs:
                self._last[self._of(name)] = at
            if layer.kind == "view":
                self._root[layer.node.outputs[0]] = self._of(layer.node.inputs[0])
        made = [t for node in self.layers for t in node.outputs]
        self._adding = {
            name: at
            for at, layer in enumerate(self.found)
            if layer.kind == "float" and layer.node.op == "Add"
            for name in layer.node.inputs
            if len(self.graph.consumers[name]) == 1 and name not in wanted
        }
        """tensors that are only read by an addition → its place"""
        self._leaving = [t for t in made if t in wanted]
        for name in self._leaving:
            self._last[self._of(name)] = len(self.layers)

    def load(self) -> None:
        """Weights as kernels repack them, one after the other, each beside a copy that is given back."""
        for at, layer in enumerate(self.found):
            if not layer.weights:
                continue
            if layer.kind != "levels":
                self.mapped_bytes += layer.weights * (1 if layer.weight_bits <= _WHOLE_BITS else _FLOAT)
                continue
            self.arena.take(f"packed {at}", layer.packed_bytes)
            if not layer.symmetric and not layer.depthwise:
                self.arena.take("reordered", layer.weights)
                self.arena.give(["reordered"])

    def run(self) -> None:
        """One input."""
        for name in self._given:
            self._put(name, name)
        for at, layer in enumerate(self.found):
            if layer.kind == "wide":
                self._wide(at, layer)
            elif layer.kind != "view":
                self._direct(at, layer)
            for name in dict.fromkeys((*layer.node.inputs, *layer.node.outputs)):
                self._bury(name, at)
        for name in self._leaving:
            self._turned(name, len(self.layers), last=False)

    def ends_bytes(self) -> int:
        """The input as it is given, and the numbers that levels which leave stand for; what leaves as it was computed
        is handed on in the arena."""
        tensors = self.graph.tensors
        taken = sum(tensors[name].bytes for name in self._given)
        return taken + sum(tensors[name].bytes for name in self._leaving if self._levels(name))

    def _direct(self, at: int, layer: _Layer) -> None:
        """A layer that reads what is there and writes its result beside it."""
        node = layer.node
        windowed = bool(node.kernel) and layer.kind in ("levels", "moves")
        last = windowed or (
            node.op in _ELEMENTWISE and any(self._of(name) in self._channels_last for name in node.inputs)
        )
        for name in node.inputs:
            if node.op != "GlobalAveragePool" and self._levels(name):
                self._turned(name, at, last=last)
        if layer.kind == "float" and layer.gated:
            self.arena.take("made", sum(self.graph.tensors[t].bytes for t in node.outputs))
        if not self._in_place(at, layer):
            for name in node.outputs:
                self._put(name, name, last=last)
        self.arena.give(["made"])
        sums, windows = layer.scratch_bytes
        self.arena.take("sums", sums)
        self.arena.take("windows", windows)
        self.arena.give(["windows", "sums"])
        self._clamped(layer)

    def _in_place(self, at: int, layer: _Layer) -> bool:
        """Whether a layer in floating point writes over an operand that nobody reads after it; and a convolution whose
        result is only added to such a one, over that one, which saves a tensor."""
        node = layer.node
        if layer.kind != "float" or len(node.outputs) != 1:
            return False
        if node.op in ("Add", "Mul"):
            dying = [self._of(name) for name in node.inputs if self._last.get(self._of(name), at) <= at]
            held = [name for name in dying if self._alike(name, node.outputs[0]) and self.arena.holds(name)]
            if held:
                self.arena.rename(held[0], node.outputs[0])
            return bool(held)
        adding = self._adding.get(node.outputs[0])
        return (
            adding is not None
            and node.product is not None
            and any(
                self.arena.holds(name) and self._last.get(name, 0) <= adding and self._alike(name, node.outputs[0])
                for name in map(self._of, self.layers[adding].inputs)
            )
        )

    def _alike(self, name: str, other: str) -> bool:
        return self.graph.tensors[name].bytes == self.graph.tensors[other].bytes

    def _wide(self, at: int, layer: _Layer) -> None:
        """A layer in floating point: levels are widened before it, and its result made levels behind it."""
        node = layer.node
        made = sum(self.graph.tensors[t].elements for t in node.outputs)
        for k, name in enumerate(node.inputs):
            if self._levels(name):
                self._turned(name, at, last=False)
                self.arena.take(f"restored {k}", _FLOAT * self.graph.tensors[name].elements)
                self._bury(name, at)
        if layer.weight_bits < MOST_BITS:
            self.arena.take("weights", _FLOAT * layer.weights)
        self.arena.take("made", _FLOAT * made)
        self.arena.give(["weights", *(f"restored {k}" for k in range(len(node.inputs)))])
        if layer.gated:
            self.arena.take("gated", _FLOAT * made)
            self.arena.give(["made"])
        for name in node.outputs:
            self._put(name, name)
        self.arena.give(["made", "gated"])
        self._clamped(layer)

    def _clamped(self, layer: _Layer) -> None:
        """Held down to its levels: a second tensor, then the first is given back."""
        name = layer.node.outputs[0]
        if layer.clamped:
            self.arena.take("clamped", self.graph.tensors[name].elements)
            self.arena.give([name])
            self.arena.rename("clamped", name)

    def _turned(self, name: str, at: int, *, last: bool) -> None:
        """Make sure that a tensor is there with its channels last, or not: a copy, where it is the other way round."""
        root = self._of(name)
        if len(self.graph.tensors[root].shape) < 4 or (root in self._channels_last) == last:
            return
        copy = f"{root} turned"
        if not self.arena.holds(copy):
            self.arena.take(copy, self.graph.tensors[root].elements)
        if self._last.get(root, at) <= at:
            self.arena.give([root])

    def _bury(self, name: str, at: int) -> None:
        root = self._of(name)
        if self._last.get(root, at) <= at:
            self.arena.give([root, f"{root} turned"])

    def _put(self, label: str, name: str, *, last: bool = False) -> None:
        tensor = self.graph.tensors[name]
        if name in self.graph.inputs and not self._levels(name):
            return  # it is read where the caller has it
        self.arena.take(label, tensor.elements if self._levels(name) else tensor.bytes)
        if last:
            self._channels_last.add(name)

    def _levels(self, name: str) -> bool:
        usual = _WHOLE_BITS if name in self.graph.inputs else MOST_BITS
        return self.graph.tensors[name].dtype == "float32" and self.bits.outputs.get(name, usual) < MOST_BITS

    def _of(self, name: str) -> str:
        return self._root.get(name, name)

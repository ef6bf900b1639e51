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

from collections.abc import Sequence
from dataclasses import dataclass, field

from isthmus.graph import Cut, Graph, Node, fused_graph
from isthmus.plan.arena import Arena
from isthmus.plan.kernels import FLOAT_BYTES, WHOLE_BITS, Layer
from isthmus.plan.types import Problem
from isthmus.profile.types import RuntimeMemory
from isthmus.quant.types import MOST_BITS, BitPlan

_ELEMENTWISE = frozenset({"Add", "Mul", "Concat"})
_POOLS, _GLOBAL_POOLS = frozenset({"MaxPool", "AveragePool"}), frozenset({"GlobalAveragePool", "GlobalMaxPool"})
_BLOCK, _WHOLE_CHANNELS = 8, 4
"""Channels of a block, and what their number must be a multiple of to be laid out in blocks."""
_WITH_HALVES = 1.35
"""A network with both halves of one cut ready, over the network alone."""

USUAL = RuntimeMemory()


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
    return Holding(graph, runtime).of(cut, bits)


class Holding:
    """`held` for many parts of one network; `at_home` for those of a problem's home, as its profile tells."""

    @classmethod
    def at_home(cls, problem: Problem) -> Holding:
        return cls(problem.graph, problem.machines[problem.home].profile.memory or USUAL)

    def __init__(self, graph: Graph, runtime: RuntimeMemory = USUAL) -> None:
        self._whole = fused_graph(graph)
        self._runtime = runtime
        self._ops = {node.name: node.op for node in graph.nodes}
        self._index = {node.name: i for i, node in enumerate(graph.nodes)}

    def of(self, cut: Cut, bits: BitPlan | None) -> Held:
        """What the part before a cut holds."""
        widths = bits if bits is not None else BitPlan(outputs=dict.fromkeys(self._whole.inputs, MOST_BITS))
        nodes = [n for n in self._whole.nodes if any(self._index[part] in cut.head for part in n.whole)]
        if not nodes:
            return Held(0, 0, 0, 0)
        layers = _shortcuts_first(self._whole, self._layers(nodes, widths), part=bits is not None)
        arena = Arena(joined=bits is not None)  # `isthmus.engine.sessions` tells why
        walk = _Walk(self._whole, [layer.node for layer in layers], layers, widths, arena)
        walk.load()
        walk.run()
        session = sum(layer.session_bytes(self._runtime) for layer in walk.found)
        if bits is None:  # the engine has the whole network ready, and the halves of a cut besides
            every = sum(layer.session_bytes(self._runtime) for layer in self._layers(self._whole.nodes, widths))
            session = every if len(nodes) == len(self._whole.nodes) else int(every * _WITH_HALVES)
        session += self._runtime.session_bytes
        return Held(walk.mapped_bytes, walk.arena.high_bytes, session, walk.ends_bytes())

    def _layers(self, nodes: Sequence[Node], bits: BitPlan) -> list[Layer]:
        return [Layer.of(self._whole, node, self._ops, bits, self._runtime) for node in nodes]


def _shortcuts_first(graph: Graph, layers: Sequence[Layer], *, part: bool) -> list[Layer]:
    """The order in which they run: a product in floating point that only goes into an addition, and reads what others
    read too, comes before these, so that the others' last product can be added onto it; in a part right before that
    product, for its nodes run as they were written."""
    ordered = list(layers)
    floats = {layer.node.name for layer in layers if layer.kind == "float"}
    for layer in layers:
        node = layer.node
        single = len(node.inputs) == 1 and len(graph.consumers[node.outputs[0]]) == 1
        if node.product is None or not single or node.name not in floats:
            continue
        reader = graph.nodes[graph.consumers[node.outputs[0]][0]]
        others = [graph.nodes[k].name for k in graph.consumers[node.inputs[0]]]
        shortcut = len(others) > 1 and node.inputs[0] not in reader.inputs
        if reader.op == "Add" and reader.name in floats and shortcut:
            if part:
                others = [graph.nodes[graph.producer[t]].name for t in reader.inputs if t in graph.producer]
                others.remove(node.name)
            ordered.remove(layer)
            first = min((k for k, other in enumerate(ordered) if other.node.name in others), default=len(ordered))
            ordered.insert(first, layer)
    return ordered


@dataclass
class _Walk:
    """Loads and runs the layers in an arena."""

    graph: Graph
    layers: Sequence[Node]
    found: Sequence[Layer]
    bits: BitPlan
    arena: Arena = field(default_factory=Arena)
    mapped_bytes: int = 0

    def __post_init__(self) -> None:
        self._root: dict[str, str] = {}
        self._native: set[str] = set()
        """tensors in the layout that kernels want: levels with their channels last, numbers in blocks of channels"""
        self._last_native: dict[str, int] = {}
        """tensor in blocks of channels → the last layer that reads it so"""
        self._unblocked: set[str] = set()
        """tensors in blocks of channels that something reads plain: copied when they are made"""
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
        self._maker = {name: layer for layer in self.found for name in layer.node.outputs}
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
        self._outputs = {self._of(name) for name in self._leaving}
        self._lay_out()

    def _lay_out(self) -> None:
        """Who makes and who reads what in which layout."""
        self._works = []
        """by layer: whether it works in the layout that kernels want"""
        plain = set(self._outputs)
        for at, layer in enumerate(self.found):
            native = self._makes_native(layer)
            self._works.append(native)
            self._native.update(name for name in layer.node.outputs if native)
            for name in map(self._of, layer.node.inputs):
                if native:
                    self._last_native[name] = at
                elif self._turns(layer, name):
                    plain.add(name)
        self._unblocked = {name for name in plain & self._native if not self._levels(name)}

    def load(self) -> None:
        """Weights as kernels repack them, one after the other, each beside a copy that is given back."""
        for at, layer in enumerate(self.found):
            if not layer.weights:
                continue
            if layer.kind != "levels":
                self.mapped_bytes += layer.weights * layer.stored_bytes
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
            for name in layer.node.outputs:
                if name in self._unblocked and self.arena.holds(name):
                    self._turned(name, at, native=False)
        for name in self._leaving:
            self._turned(name, len(self.layers), native=False)

    def ends_bytes(self) -> int:
        """The input as it is given, and the numbers that levels which leave stand for; what leaves as it was computed
        is handed on in the arena."""
        tensors = self.graph.tensors
        taken = sum(tensors[name].bytes for name in self._given)
        return taken + sum(tensors[name].bytes for name in self._leaving if self._levels(name))

    def _direct(self, at: int, layer: Layer) -> None:
        """A layer that reads what is there and writes its result beside it."""
        node = layer.node
        native = self._works[at]
        for name in node.inputs:
            if self._turns(layer, name):
                self._turned(name, at, native=native)
        widened = layer.kind == "float" and layer.stored_bytes < FLOAT_BYTES
        self.arena.take("weights", FLOAT_BYTES * layer.weights * widened)
        gated = layer.kind == "float" and layer.gated
        if gated:
            self.arena.take("made", sum(self.graph.tensors[t].bytes for t in node.outputs))
            self._scratch(layer)
            self.arena.give(["weights"])
            for name in node.inputs:
                self._bury(name, at)
        if not self._in_place(at, layer, native=native):
            for name in node.outputs:
                self._put(name, name)
        if not gated:
            self._scratch(layer)
        self.arena.give(["made", "weights"])
        self._clamped(layer)

    def _scratch(self, layer: Layer) -> None:
        sums, windows = layer.scratch_bytes
        self.arena.take("sums", sums)
        self.arena.take("windows", windows)
        self.arena.give(["windows", "sums"])

    def _makes_native(self, layer: Layer) -> bool:
        """Whether its kernel works in the layout that kernels want: convolutions and pools do, and what goes element by
        element or over all places where it is handed that. In floating point, convolutions only where their weights are
        constants (and not made from levels), and pools only of whole blocks of channels."""
        node = layer.node
        sizes = {self.graph.tensors[name].bytes for name in node.inputs}
        if layer.kind in ("wide", "view"):
            return False
        if layer.kind != "float":
            handed = any(self._of(name) in self._native for name in node.inputs)
            return bool(node.kernel) or (node.op in _ELEMENTWISE and handed)
        if node.op == "Concat" or node.op in _GLOBAL_POOLS or (node.op in _ELEMENTWISE and len(sizes) == 1):
            return all(self._of(name) in self._native for name in node.inputs)
        if node.op == "Conv":
            return layer.weights > 0 and layer.stored_bytes == FLOAT_BYTES
        return node.op in _POOLS and self._channels(node.inputs[0]) % _BLOCK == 0

    def _turns(self, layer: Layer, name: str) -> bool:
        """Whether its kernel reads this tensor in one layout only. Of few channels a convolution reads them as they
        are."""
        if layer.kind != "float":
            return layer.node.op != "GlobalAveragePool" and self._levels(name)
        return self._channels(name) % _WHOLE_CHANNELS == 0

    def _channels(self, name: str) -> int:
        shape = self.graph.tensors[self._of(name)].shape
        return shape[1] if len(shape) == 4 else 0

    def _in_place(self, at: int, layer: Layer, *, native: bool) -> bool:
        """Whether a layer in floating point writes over an operand that nobody reads after it; and a convolution whose
        result is only added to such a one, over that one, which saves a tensor. An output of the part is written where
        it will stay: by the convolution itself where there is one."""
        node = layer.node
        if layer.kind != "float" or len(node.outputs) != 1:
            return False
        if node.op in ("Add", "Mul"):
            stays = not native and self._of(node.outputs[0]) in self._outputs
            dying = [self._of(name) for name in node.inputs if self._last.get(self._of(name), at) <= at]
            held = [name for name in dying if self._free_for(name, node.outputs[0])]
            held = [name for name in held if not stays or name in self._adding]
            if held:
                self.arena.rename(self._there(held[0]), node.outputs[0])
            return bool(held)
        adding = self._adding.get(node.outputs[0])
        if adding is None or node.product is None:
            return False
        total = self.layers[adding]
        if not native and self._of(total.outputs[0]) in self._outputs:
            return False
        return any(
            self._last.get(name, 0) <= adding
            and (name in self._native) == native
            and self._free_for(name, node.outputs[0])
            for name in map(self._of, total.inputs)
        )

    def _there(self, name: str) -> str:
        """The block that a tensor was last put in."""
        return f"{name} turned" if self.arena.holds(f"{name} turned") else name

    def _free_for(self, name: str, made: str) -> bool:
        return self.arena.holds(self._there(name)) and self._alike(name, made)

    def _alike(self, name: str, other: str) -> bool:
        return self.graph.tensors[name].bytes == self.graph.tensors[other].bytes

    def _wide(self, at: int, layer: Layer) -> None:
        """A layer in floating point: levels are widened before it, and its result made levels behind it."""
        node = layer.node
        made = sum(self.graph.tensors[t].elements for t in node.outputs)
        for k, name in enumerate(node.inputs):
            if self._levels(name):
                self._turned(name, at, native=False)
                self.arena.take(f"restored {k}", FLOAT_BYTES * self.graph.tensors[name].elements)
                self._bury(name, at)
        if layer.stored_bytes < FLOAT_BYTES:
            self.arena.take("weights", FLOAT_BYTES * layer.weights)
        self.arena.take("made", FLOAT_BYTES * made)
        self._scratch(layer)
        self.arena.give(["weights", *(f"restored {k}" for k in range(len(node.inputs)))])
        if layer.gated:
            self.arena.take("gated", FLOAT_BYTES * made)
            self.arena.give(["made"])
        if len(node.outputs) == 1 and not self._levels(node.outputs[0]):
            self.arena.rename("gated" if layer.gated else "made", node.outputs[0])
        else:
            for name in node.outputs:
                self._put(name, name)
        self.arena.give(["made", "gated"])
        self._clamped(layer)

    def _clamped(self, layer: Layer) -> None:
        """Held down to its levels: a second tensor, then the first is given back."""
        name = layer.node.outputs[0]
        if layer.clamped:
            self.arena.take("clamped", self.graph.tensors[name].elements)
            self.arena.give([name])
            self.arena.rename("clamped", name)

    def _turned(self, name: str, at: int, *, native: bool) -> None:
        """Make sure that a tensor is there in the layout that kernels want, or not: a copy, where it is the other way
        round."""
        root = self._of(name)
        if len(self.graph.tensors[root].shape) < 4 or (root in self._native) == native:
            return
        copy = f"{root} turned"
        if not self.arena.holds(copy):
            self.arena.take(copy, self._size(root))
        last = self._last_native if root in self._unblocked else self._last
        if last.get(root, at) <= at:
            self.arena.give([root])

    def _bury(self, name: str, at: int) -> None:
        root = self._of(name)
        if self._last.get(root, at) <= at:
            self.arena.give([root, f"{root} turned"])
        elif root in self._unblocked and self._last_native.get(root, at) <= at:
            self.arena.give([root] if self.arena.holds(f"{root} turned") else [])

    def _put(self, label: str, name: str) -> None:
        if name in self.graph.inputs and not self._levels(name):
            return  # it is read where the caller has it
        self.arena.take(label, self._size(name))

    def _size(self, name: str) -> int:
        tensor = self.graph.tensors[name]
        return tensor.elements if self._levels(name) else tensor.bytes

    def _levels(self, name: str) -> bool:
        usual = WHOLE_BITS if name in self.graph.inputs else MOST_BITS
        return self.graph.tensors[name].dtype == "float32" and self.bits.outputs.get(name, usual) < MOST_BITS

    def _of(self, name: str) -> str:
        return self._root.get(name, name)

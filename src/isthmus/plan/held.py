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
        if bits is None:
            nodes = _shortcuts_first(self._whole, nodes)
        arena = Arena(joined=bits is not None)  # `isthmus.engine.sessions` tells why
        walk = _Walk(self._whole, nodes, self._layers(nodes, widths), widths, arena)
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


def _shortcuts_first(graph: Graph, nodes: Sequence[Node]) -> list[Node]:
    """The order in which the engine runs them: a product that only goes into an addition, and reads what others read
    too, comes before these, so that the others' last product can be added onto it."""
    ordered = list(nodes)
    for node in nodes:
        if node.product is None or len(node.inputs) != 1 or len(graph.consumers[node.outputs[0]]) != 1:
            continue
        reader = graph.nodes[graph.consumers[node.outputs[0]][0]]
        others = [graph.nodes[k].name for k in graph.consumers[node.inputs[0]]]
        if reader.op == "Add" and len(others) > 1:
            ordered.remove(node)
            first = min((k for k, other in enumerate(ordered) if other.name in others), default=len(ordered))
            ordered.insert(first, node)
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
        for name in self._leaving:
            self._turned(name, len(self.layers), last=False)
            maker = self._maker[name]
            if maker.kind == "float" and len(self.graph.tensors[name].shape) == 4:  # out of the blocked layout
                self._put(f"{name} plain", name)
                self.arena.give([self._of(name)])

    def ends_bytes(self) -> int:
        """The input as it is given, and the numbers that levels which leave stand for; what leaves as it was computed
        is handed on in the arena."""
        tensors = self.graph.tensors
        taken = sum(tensors[name].bytes for name in self._given)
        return taken + sum(tensors[name].bytes for name in self._leaving if self._levels(name))

    def _direct(self, at: int, layer: Layer) -> None:
        """A layer that reads what is there and writes its result beside it."""
        node = layer.node
        windowed = bool(node.kernel) and layer.kind in ("levels", "moves")
        last = windowed or (
            node.op in _ELEMENTWISE and any(self._of(name) in self._channels_last for name in node.inputs)
        )
        for name in node.inputs:
            if node.op != "GlobalAveragePool" and self._levels(name):
                self._turned(name, at, last=last)
        widened = layer.kind == "float" and layer.stored_bytes < FLOAT_BYTES
        self.arena.take("weights", FLOAT_BYTES * layer.weights * widened)
        if layer.kind == "float" and layer.gated:
            self.arena.take("made", sum(self.graph.tensors[t].bytes for t in node.outputs))
        if not self._in_place(at, layer):
            for name in node.outputs:
                self._put(name, name, last=last)
        self.arena.give(["made", "weights"])
        sums, windows = layer.scratch_bytes
        self.arena.take("sums", sums)
        self.arena.take("windows", windows)
        self.arena.give(["windows", "sums"])
        self._clamped(layer)

    def _in_place(self, at: int, layer: Layer) -> bool:
        """Whether a layer in floating point writes over an operand that nobody reads after it; and a convolution whose
        result is only added to such a one, over that one, which saves a tensor."""
        node = layer.node
        if layer.kind != "float" or len(node.outputs) != 1:
            return False
        if node.op in ("Add", "Mul") and not (node.op == "Mul" and self._blocked(node)):
            dying = [self._of(name) for name in node.inputs if self._last.get(self._of(name), at) <= at]
            held = [name for name in dying if self._alike(name, node.outputs[0]) and self.arena.holds(name)]
            if held:
                self.arena.rename(held[0], node.outputs[0])
            return bool(held)
        if layer.stored_bytes < FLOAT_BYTES:
            return False  # fused with an addition only where its weights are constants
        adding = self._adding.get(node.outputs[0])
        return (
            adding is not None
            and node.product is not None
            and any(
                self.arena.holds(name) and self._last.get(name, 0) <= adding and self._alike(name, node.outputs[0])
                for name in map(self._of, self.layers[adding].inputs)
            )
        )

    def _blocked(self, node: Node) -> bool:
        """Whether it reads what a convolution with constant weights made: in a blocked layout, so a copy is made."""
        makers = (self._maker.get(self._of(name)) for name in node.inputs)
        return any(m is not None and m.weights > 0 and m.stored_bytes == FLOAT_BYTES for m in makers)

    def _alike(self, name: str, other: str) -> bool:
        return self.graph.tensors[name].bytes == self.graph.tensors[other].bytes

    def _wide(self, at: int, layer: Layer) -> None:
        """A layer in floating point: levels are widened before it, and its result made levels behind it."""
        node = layer.node
        made = sum(self.graph.tensors[t].elements for t in node.outputs)
        for k, name in enumerate(node.inputs):
            if self._levels(name):
                self._turned(name, at, last=False)
                self.arena.take(f"restored {k}", FLOAT_BYTES * self.graph.tensors[name].elements)
                self._bury(name, at)
        if layer.stored_bytes < FLOAT_BYTES:
            self.arena.take("weights", FLOAT_BYTES * layer.weights)
        self.arena.take("made", FLOAT_BYTES * made)
        self.arena.give(["weights", *(f"restored {k}" for k in range(len(node.inputs)))])
        if layer.gated:
            self.arena.take("gated", FLOAT_BYTES * made)
            self.arena.give(["made"])
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
        usual = WHOLE_BITS if name in self.graph.inputs else MOST_BITS
        return self.graph.tensors[name].dtype == "float32" and self.bits.outputs.get(name, usual) < MOST_BITS

    def _of(self, name: str) -> str:
        return self._root.get(name, name)

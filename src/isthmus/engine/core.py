"""The optimised network, and how heads and tails are cut out of it.

After optimisation a convolution hands on a tensor in a blocked memory layout, a *token*; a tensor that was kept for a
cut comes out of a `ReorderOutput(token)`. A head stops at that node. A tail that goes on from the token gets a
`ReorderInput` in front. Where the CPU has no blocked layout there are no such nodes and tensors are met directly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import onnx
from onnx import helper

from isthmus.errors import BadInput

LAYOUT_OPS = ("ReorderInput", "ReorderOutput")
"""Operators that only move between the plain and the blocked layout."""
_BLOCKED = "com.microsoft.nchwc"
_CHANNEL_STEP = 4
"""ReorderInput takes only multiples of this many channels."""
_INTEGERS = frozenset(
    {
        *("QLinearConv", "QLinearMatMul", "QGemm", "QAttention", "QOrderedMatMul"),
        *("ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits"),
        *("DynamicQuantizeMatMul", "DynamicQuantizeLSTM"),
    }
)
_MATRICES = frozenset({"MatMul", "FusedMatMul", "Attention", "MultiHeadAttention", "LSTM", "GRU"})
_FEW_MATRICES = 3
Packing = Literal["none", "shared", "own"]
"""How kernels want their weights: as they are, repacked but shared through the file, or repacked by every session."""


class Core:
    """An optimised graph, indexed for cutting. `proto` must not be changed; it refers to its large weights by file."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        graph = proto.graph
        for node in graph.node:  # what the runtime unfolds an operator into has no name, and is timed by it
            node.name = node.name or node.output[0]
        self.proto = proto
        self.producer = {t: i for i, n in enumerate(graph.node) for t in n.output if t}
        self._initializers = {t.name: t for t in graph.initializer}
        self.tokens = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "ReorderOutput"}
        """plain tensor → its twin in the blocked layout"""
        self._reordered = {n.output[0]: n for n in graph.node if n.op_type == "ReorderOutput"}

    @property
    def packing(self) -> Packing:
        """Convolutions take blocked weights as they are. Integer kernels are two to three times slower unless every
        session repacks (their packed form cannot be shared), matrix products 1.2 to 2.4 times (theirs can). A
        classifier's one product at the end does not count, nor does Gemm: few rows, no gain."""
        nodes = self.proto.graph.node
        if any(n.op_type in _INTEGERS for n in nodes):
            return "own"
        large = {t.name for t in self.proto.graph.initializer if t.external_data}
        matrices = sum(n.op_type in _MATRICES and not large.isdisjoint(n.input) for n in nodes)
        return "shared" if matrices > _FEW_MATRICES else "none"

    @property
    def work_nodes(self) -> int:
        """Operators that compute; layout moves do not count."""
        return sum(n.op_type not in LAYOUT_OPS for n in self.proto.graph.node)

    def part(self, takes: Sequence[onnx.ValueInfoProto], gives: Sequence[tuple[str, int]]) -> onnx.ModelProto:
        """A model from `takes` to `gives` (name, onnx element type). Raises BadInput when `gives` need more.

        A runtime that knows the shapes of what it takes adds a shortcut where it stands; without them it needs memory
        of its own for each sum, cold memory, and a tail of ResNet-50 takes 3 % longer.
        """
        given = {info.name for info in takes}
        front = {self.tokens[name]: name for name in given & self.tokens.keys()}
        nodes, met = self._walk([name for name, _ in gives], given, front)
        made = onnx.ModelProto(ir_version=self.proto.ir_version)
        made.opset_import.extend(self.proto.opset_import)
        made.graph.name = "part"
        made.graph.input.extend(takes)
        made.graph.output.extend(helper.make_tensor_value_info(name, kind, None) for name, kind in gives)
        made.graph.node.extend(self._way_back(front[t], t) for t in sorted(met & front.keys()))
        made.graph.node.extend(self.proto.graph.node[i] for i in sorted(nodes))
        made.graph.initializer.extend(self._initializers[t] for t in sorted(met & self._initializers.keys()))
        return made

    def can_begin(self, tails: Iterable[tuple[Sequence[str], tuple[str, ...]]]) -> Iterator[bool]:
        """Whether `part` could make each of these (takes, gives) pieces, which come latest first.

        Where a later one that gives the same was found to close, the walk goes on from what that one takes: all the
        cuts of a long chain cost one walk.
        """
        begun: dict[tuple[str, ...], set[str]] = {}
        for takes, gives in tails:
            given = set(takes)
            front = {self.tokens[name]: name for name in given & self.tokens.keys()}
            try:
                _, met = self._walk(begun.get(gives, gives), given, front)
                begun[gives] = met & (given | front.keys())
                for token in met & front.keys():
                    self._way_back(front[token], token)
            except BadInput:
                yield False
            else:
                yield True

    def _walk(self, wanted: Iterable[str], given: set[str], front: dict[str, str]) -> tuple[set[int], set[str]]:
        """Nodes that `wanted` need, walking back until something given; and every tensor met on the way."""
        nodes: set[int] = set()
        met: set[str] = set()
        todo = list(wanted)
        while todo:
            name = todo.pop()
            if not name or name in met:
                continue
            met.add(name)
            if name in given or name in front or name in self._initializers:
                continue
            if name not in self.producer:
                raise BadInput(f"the tail also needs {name}, which does not cross this cut")
            i = self.producer[name]
            if i not in nodes:
                nodes.add(i)
                todo.extend(self.proto.graph.node[i].input)
        return nodes, met

    def _way_back(self, tensor: str, token: str) -> onnx.NodeProto:
        """The node that brings a plain tensor into the blocked layout again. Raises BadInput where there is none."""
        attributes = {a.name: a.i for a in self._reordered[tensor].attribute}
        if attributes.get("channels_last", 0) or attributes.get("channels", 0) % _CHANNEL_STEP:
            raise BadInput(f"{tensor} has {attributes.get('channels')} channels and cannot be blocked again")
        return helper.make_node("ReorderInput", [tensor], [token], name=f"{tensor}_in", domain=_BLOCKED)

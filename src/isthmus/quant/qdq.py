"""A head at the bits of a plan, as standard ONNX that any runtime with QuantizeLinear and DequantizeLinear runs.

Weights become levels of their width in an INT8 container, activations levels of theirs in a UINT8 one: integer kernels
are made for eight bits, and fewer only make what is stored and sent smaller. What crosses are the levels themselves
(`QuantisedHead.levels`), packed at their width; the tail goes on from what they stand for. On the wire that is the
codec int8 … int1 of that width, calibrated with `Steps.clip`: it writes the levels as they are.

Between two layers a tensor is quantised once: QuantizeLinear, a Min that holds it to the levels of fewer than eight
bits, DequantizeLinear, which runtimes fuse into integer kernels on both sides. An activation function that the levels
imply (nothing below zero, nothing above the last level) is left out. Operators that only move values (max pooling,
views, transposition) work on the levels.

Signed eight-bit weights saturate the 16-bit sums of x86 CPUs without VNNI instructions (digits, first layer: up to 15
levels off); so they stand in a UINT8 container around 128, whose kernels are exact everywhere, unless it is known that
the CPU has VNNI. Weights of seven bits and fewer never saturate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from isthmus.errors import BadInput
from isthmus.graph import VIEWS, Graph, Node, fused_graph, graph_of
from isthmus.graph.cuts import ancestors
from isthmus.model.onnx_file import model_from_proto
from isthmus.model.types import Model
from isthmus.quant.fit import layer_weights, weight_values
from isthmus.quant.levelled import levelled
from isthmus.quant.steps import Steps
from isthmus.quant.types import MOST_BITS, BitPlan, Distortions
from isthmus.quant.weights import quantise_weight

_MOVES = VIEWS | {"MaxPool", "Transpose", "Slice", "Gather"}
"""Operators whose result holds values of their first operand only, and that run on unsigned bytes."""
_INPUT_BITS = 8
_UNSIGNED_ZERO = 128
_WIDE_TOP = 32767
_BIAS_REACH = 2.0**31 - 1


@dataclass(frozen=True)
class QuantisedHead:
    """A head that computes with few bits.

    `model` takes the network's inputs as they are. `levels`: crossing tensor → name of the model's uint8 output that
    holds its levels; `steps`: crossing tensor → what they stand for. Crossing tensors that no bits were chosen for, and
    outputs of the network made on the way, come out as floats under their own names (`plain`). `weight_bits`: stored
    weight → its width, for packing.
    """

    model: Model
    levels: Mapping[str, str]
    steps: Mapping[str, Steps]
    plain: tuple[str, ...]
    weight_bits: Mapping[str, int]

    def restored(self, made: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """What the tail takes, from what the model gave: levels as the float32 numbers they stand for (which
        codecs of the same width and range pack without finding them again)."""
        found = {name: made[name] for name in self.plain}
        for name, output in self.levels.items():
            found[name] = levelled(np.asarray(made[output], np.uint8), self.steps[name])
        return found


def quantised_head(
    net: Model,
    crossing: Sequence[str],
    plan: BitPlan,
    tables: Distortions,
    *,
    early: Sequence[str] = (),
    signed: bool = False,
) -> QuantisedHead:
    """The head of a fused network (`isthmus.model.fused`) that ends at these crossing tensors.

    `plan` names nodes and tensors of its fused graph; what it does not name, or gives 16 bits, stays in floating
    point, but for the network's inputs: 8 bits where the tables have measured them. `early` are outputs of the network
    to make on the way. `signed` keeps 8-bit weights signed: for CPUs with VNNI (`isthmus.engine.has_vnni`), where that
    is the fast way. Raises BadInput for tables of another network or without the plan's widths, and for unknown
    tensors.
    """
    if tables.fingerprint != net.fingerprint:
        raise BadInput(f"the distortions of {tables.model} are of another network than this {net.name}; measure again")
    graph = fused_graph(graph_of(net))
    known = {*graph.inputs, *graph.producer}
    if unknown := [t for t in (*crossing, *early) if t not in known]:
        raise BadInput(f"the fused graph of {net.name} has no tensor {unknown[0]!r} to end a head at")
    writer = _Writer(net, graph, plan, tables, signed)
    for i in sorted(ancestors(graph, [*crossing, *early])):
        writer.layer(graph.nodes[i])
    return writer.head([t for t in crossing if t not in graph.inputs], early)


@dataclass
class _Writer:
    """Writes the layers of a head one after the other."""

    net: Model
    graph: Graph
    plan: BitPlan
    tables: Distortions
    signed: bool
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    stored: dict[str, onnx.TensorProto] = field(default_factory=dict)
    steps: dict[str, Steps] = field(default_factory=dict)
    levels: dict[str, str] = field(default_factory=dict)
    weight_bits: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._source = {n.output[0]: n for n in self.net.proto.graph.node}
        self._constants = {t.name: t for t in self.net.proto.graph.initializer}
        self._weights = layer_weights(self.net)
        for name in self.graph.inputs:
            bits = self.plan.outputs.get(name, _INPUT_BITS if _INPUT_BITS in self.tables.bits else MOST_BITS)
            if bits != MOST_BITS and self.tables.tensor(name).limits:
                self._quantise(name, name, self._measured(name, bits))

    def layer(self, layer: Node) -> None:
        """All operators of one layer, and the levels of what it makes."""
        parts = [self._source[name] for name in layer.whole]
        made = layer.outputs[0]
        moved = self._moved(parts[0], made) if len(layer.outputs) == 1 else None
        if moved is not None and all(p.op_type in _MOVES for p in parts):
            self._on_levels(parts, parts[0].input[0], made, moved)
            return
        views = [] if len(layer.outputs) > 1 else _trailing(parts)
        parts = parts[: len(parts) - len(views)]
        last = parts[-1].output[0]
        bits = self.plan.outputs.get(made, MOST_BITS)
        wanted = self._measured(made, bits) if bits != MOST_BITS and len(layer.outputs) == 1 else None
        if wanted is not None and len(parts) > 1 and self._implied(parts[-1], wanted):
            parts = parts[:-1]
            last = parts[-1].output[0]
        for part in parts:
            self._operator(part, layer.name)
        if wanted is None:
            for view in views:
                self._operator(view, layer.name)
            return
        self._quantise(last, made if not views else last, wanted)
        if views:
            self._on_levels(views, last, made, wanted)

    def head(self, crossing: Sequence[str], early: Sequence[str]) -> QuantisedHead:
        """All that was written, as a model that was checked as any is."""
        levels = {t: self.levels[t] for t in crossing if t in self.levels}
        plain = tuple(dict.fromkeys(t for t in (*crossing, *early) if t not in levels))
        for name in plain:
            self._as_float(name)
        proto = onnx.ModelProto(ir_version=self.net.proto.ir_version, opset_import=self.net.proto.opset_import)
        proto.graph.name = "quantised_head"
        proto.graph.node.extend(_leading_to(self.nodes, {*levels.values(), *plain}))
        read = {name for node in proto.graph.node for name in node.input}
        proto.graph.input.extend(self.net.proto.graph.input)
        constants = {**self._constants, **self.stored}
        proto.graph.initializer.extend(t for name, t in constants.items() if name in read)
        proto.graph.output.extend(_declared(name, TensorProto.UINT8) for name in levels.values())
        proto.graph.output.extend(_declared(name, self._type(name)) for name in plain)
        model = model_from_proto(proto, f"{self.net.name} head", copy=False, part=True)
        steps = {name: self.steps[name] for name in levels}
        return QuantisedHead(model, levels, steps, plain, {w: b for w, b in self.weight_bits.items() if w in read})

    def _measured(self, name: str, bits: int) -> Steps:
        """The levels of a tensor that the tables were measured with."""
        row = self.tables.tensor(name)
        if bits not in self.tables.bits or not row.limits:
            shown = ", ".join(map(str, self.tables.bits))
            raise BadInput(f"the plan gives {name} {bits} bits; the distortions were measured at {shown}")
        return Steps.between(*row.limits[self.tables.bits.index(bits)], bits)

    def _moved(self, first: onnx.NodeProto, made: str) -> Steps | None:
        """The levels that an operator hands on, where they are not more than the plan allows what it makes."""
        given = self.steps.get(first.input[0])
        return given if given is not None and given.bits <= self.plan.outputs.get(made, MOST_BITS) else None

    def _on_levels(self, parts: Sequence[onnx.NodeProto], source: str, made: str, steps: Steps) -> None:
        """Operators that only move values, done on levels."""
        read = self.levels[source]
        for part in parts:
            copied = _copied(part)
            copied.input[0] = read
            copied.output[0] = copied.name = read = f"{part.output[0]}_levels"
            self.nodes.append(copied)
        self._dequantise(made, read, steps)

    def _operator(self, part: onnx.NodeProto, layer: str) -> None:
        """One operator in floating point between levels: its operands are what the levels stand for."""
        copied = _copied(part)
        for place, name in enumerate(part.input):
            if name in self.levels:
                copied.input[place] = f"{name}_restored"
        bits = self.plan.weights.get(layer, MOST_BITS)
        if part.output[0] in self._weights:
            if bits != MOST_BITS:
                self._bias(copied, part.input[0], self._weight(copied, part.output[0], bits))
            elif part.input[0] in self.levels:
                self._wide_weight(copied, part.output[0])
        self.nodes.append(copied)

    def _weight(self, node: onnx.NodeProto, name: str, bits: int) -> NDArray[np.float32]:
        """Give an operator its weight as levels; their scales."""
        weight, axis = self._weights[name]
        made = quantise_weight(weight_values(self.net, weight), axis, bits, self.tables.range)
        symbols: NDArray[np.generic] = made.symbols
        if bits == 8 and not self.signed:
            symbols = (made.symbols.astype(np.int16) + _UNSIGNED_ZERO).astype(np.uint8)
        zeros = _zeros(node, len(made.scales), _UNSIGNED_ZERO if symbols.dtype == np.uint8 else 0, symbols.dtype)
        levels = self._store(f"{weight}_levels", symbols)
        self.weight_bits[levels] = bits
        self._restore(levels, f"{weight}_restored", made.scales, zeros, axis)
        node.input[1] = f"{weight}_restored"
        return made.scales

    def _wide_weight(self, node: onnx.NodeProto, name: str) -> None:
        """A weight of 16 bits beside narrow activations, as 16-bit levels: onnxruntime quantises one that it finds as
        floats between levels to 8 bits on its own."""
        weight, axis = self._weights[name]
        values = np.moveaxis(weight_values(self.net, weight), axis, 0)
        most = np.abs(values.reshape(len(values), -1)).max(axis=1, initial=0.0)
        scales = np.where(most > 0, most / _WIDE_TOP, 1).astype(np.float32)
        symbols = np.rint(values / scales.reshape(-1, *[1] * (values.ndim - 1))).astype(np.int16)
        levels = self._store(f"{weight}_levels", np.moveaxis(symbols, 0, axis))
        self._restore(levels, f"{weight}_restored", scales, None, axis)
        node.input[1] = f"{weight}_restored"

    def _bias(self, node: onnx.NodeProto, source: str, scales: NDArray[np.float32]) -> None:
        """A bias as the 32-bit sums that integer kernels begin with, where the operator's input has levels."""
        name = node.input[2] if len(node.input) > 2 else ""
        if not name or source not in self.steps or node.op_type not in ("Conv", "Gemm") or name not in self._constants:
            return
        values = np.asarray(numpy_helper.to_array(self._constants[name]), np.float64)
        factors = {a.name: helper.get_attribute_value(a) for a in node.attribute if a.name in ("alpha", "beta")}
        if any(v != 1.0 for v in factors.values()) or values.shape != scales.shape:
            return
        unit = (scales.astype(np.float64) * self.steps[source].scale).astype(np.float32)
        sums = np.rint(values / unit)
        if np.isfinite(sums).all() and np.abs(sums).max(initial=0.0) <= _BIAS_REACH:
            whole = sums.astype(np.int32)
            made = self._store(f"{node.output[0]}_bias_levels", whole)
            self._restore(made, f"{node.output[0]}_bias", unit, _zeros(node, len(unit), 0, whole.dtype), 0)
            node.input[2] = f"{node.output[0]}_bias"

    def _implied(self, part: onnx.NodeProto, steps: Steps) -> bool:
        """Whether an activation changes nothing that quantising does not do by itself: the least level stands for zero,
        and the last for no more than its bound."""
        if steps.zero_point:
            return False
        if part.op_type == "Relu":
            return True
        if part.op_type != "Clip":
            return False
        ends = [np.asarray(numpy_helper.to_array(self._constants[n])) for n in part.input[1:3] if n in self._constants]
        if len(ends) != 2 or float(ends[0]) != 0.0:
            return False
        return float(np.rint(np.float32(ends[1]) / np.float32(steps.scale))) >= steps.levels

    def _quantise(self, source: str, made: str, steps: Steps) -> None:
        """From a float tensor to levels, held to their number, and back."""
        scale = self._store(f"{made}_scale", np.array(steps.scale, np.float32))
        zero = self._store(f"{made}_zero", np.array(steps.zero_point, np.uint8))
        whole = f"{made}_levels" if steps.bits == 8 else f"{made}_bytes"
        self.nodes.append(helper.make_node("QuantizeLinear", [source, scale, zero], [whole], name=whole))
        if steps.bits < 8:
            most = self._store(f"{made}_most", np.array(steps.levels, np.uint8))
            self.nodes.append(helper.make_node("Min", [whole, most], [f"{made}_levels"], name=f"{made}_levels"))
        self._dequantise(made, f"{made}_levels", steps)

    def _dequantise(self, made: str, levels: str, steps: Steps) -> None:
        scale = self._store(f"{made}_scale", np.array(steps.scale, np.float32))
        zero = self._store(f"{made}_zero", np.array(steps.zero_point, np.uint8))
        restored = f"{made}_restored"
        self.nodes.append(helper.make_node("DequantizeLinear", [levels, scale, zero], [restored], name=restored))
        self.levels[made], self.steps[made] = levels, steps

    def _restore(
        self, levels: str, made: str, scales: NDArray[np.float32], zeros: NDArray[np.generic] | None, axis: int
    ) -> None:
        names = [levels, self._store(f"{made}_scale", scales)]
        if zeros is not None:
            names.append(self._store(f"{made}_zero", zeros))
        self.nodes.append(helper.make_node("DequantizeLinear", names, [made], name=made, axis=axis))

    def _type(self, name: str) -> int:
        """The element type of a tensor that has no levels: not every output of a network is made of floats."""
        return int(helper.np_dtype_to_tensor_dtype(np.dtype(self.graph.tensors[name].dtype)))

    def _as_float(self, name: str) -> None:
        """Make sure that a tensor exists as floats under its own name."""
        if name in self.levels and name not in {o for n in self.nodes for o in n.output}:
            self.nodes.append(helper.make_node("Identity", [f"{name}_restored"], [name], name=name))

    def _store(self, name: str, values: NDArray[np.generic]) -> str:
        self.stored[name] = numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name


def _zeros(node: onnx.NodeProto, count: int, zero: int, kind: np.dtype[Any]) -> NDArray[np.generic] | None:
    """Zero points one an output, where they must be spelt out: zero is the default, but matrix kernels insist."""
    return np.full(count, zero, kind) if zero or node.op_type == "Gemm" else None


def _trailing(parts: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The views at the end of a layer."""
    count = 0
    while count < len(parts) - 1 and parts[-1 - count].op_type in VIEWS:
        count += 1
    return list(parts[len(parts) - count :])


def _leading_to(nodes: Sequence[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    """The nodes that lead to what is wanted, in their order."""
    found = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            found.append(node)
            wanted = wanted.union(name for name in node.input if name)
    return found[::-1]


def _copied(node: onnx.NodeProto) -> onnx.NodeProto:
    made = onnx.NodeProto()
    made.CopyFrom(node)
    return made


def _declared(name: str, kind: int) -> onnx.ValueInfoProto:
    return onnx.ValueInfoProto(name=name, type=onnx.TypeProto(tensor_type=onnx.TypeProto.Tensor(elem_type=kind)))

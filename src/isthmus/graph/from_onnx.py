"""From an ONNX model to a `Graph`: shapes at one batch size, multiply-accumulates, parameters, bytes of every node."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from isthmus.errors import BadInput, BadModel
from isthmus.graph.types import Graph, Node, Product, Tensor
from isthmus.model.shapes import shapes_at
from isthmus.model.types import Model
from isthmus.units import MOST_BATCH, is_whole

_CONVOLUTIONS = ("Conv", "ConvInteger", "QLinearConv")
_SETTINGS = {
    "Resize": (1, 2, 3),
    "Upsample": (1,),
    "Clip": (1, 2),
    "Pad": (1, 2, 3),
    "Dropout": (1, 2),
    "NonMaxSuppression": (2, 3, 4),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "ConvInteger": (2, 3),
    "MatMulInteger": (2, 3),
}
"""Inputs, by place, that say how a node computes: scales, bounds, zero points. Nothing that is learnt stands there."""


def graph_of(model: Model, batch: int = 1) -> Graph:
    """The graph of a model at `batch`.

    Nodes that derive from constants alone are left out (they belong to whichever side needs them), and so are nodes
    whose results nobody reads. Works on shape-only models. Raises BadInput for a batch the model does not allow and
    BadModel where a shape cannot be found or an output depends on no input.
    """
    batch = _allowed(model, batch)
    tensors = {name: _tensor(name, *found) for name, found in shapes_at(model.proto, batch).items()}
    graph = model.proto.graph
    constants = _constants(graph, tensors)
    outputs = tuple(o.name for o in graph.output)
    for name in outputs:
        if name in constants.names:
            raise BadModel(f"output {name!r} of {model.name} depends on no input, so it never changes; remove it")
    alive = _alive(graph, constants.names)
    nodes = tuple(_node(n, tensors, constants) for n in graph.node if n.output[0] in alive)
    inputs = tuple(i.name for i in graph.input if i.name not in constants.names)
    named = {t for n in nodes for t in (*n.inputs, *n.outputs)}.union(inputs, outputs)
    return Graph(
        name=model.name,
        batch=batch,
        nodes=nodes,
        tensors={t: tensors[t] for t in named},
        inputs=inputs,
        outputs=outputs,
        blocks=tuple(b for b in model.blocks if b in named),
    )


def _allowed(model: Model, batch: int) -> int:
    """The batch the graph is made at: the one that is asked for, or the one the model fixes."""
    if not is_whole(batch, 1, MOST_BATCH):
        raise BadInput(f"a batch holds 1 to {MOST_BATCH} samples, not {batch!r}")
    for signature in model.inputs:
        fixed = signature.shape[0] if signature.shape else None
        if fixed is not None and not model.dynamic_batch:
            if batch not in (1, fixed):
                raise BadInput(f"{model.name} takes a batch of {fixed}, not {batch}")
            return fixed
    return batch


def _tensor(name: str, shape: tuple[int, ...], elem_type: int) -> Tensor:
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(elem_type))
    return Tensor(name=name, shape=shape, dtype=dtype.name, itemsize=dtype.itemsize)


@dataclass
class _Constants:
    """Tensors that derive from constants alone, and for each the stored constants it was made from."""

    names: set[str]
    leaves: dict[str, tuple[str, ...]]
    learnt: set[str]
    counted: set[str]

    def weigh(self, name: str, tensors: dict[str, Tensor]) -> tuple[int, int]:
        """(parameters, bytes) of the stored constants behind a tensor, each counted once over the whole graph.

        Whole numbers (shapes, axes), scalars and what only says how a node computes (the scales of a Resize, of a
        quantised layer) are not parameters; their bytes count.
        """
        count = size = 0
        for leaf in self.leaves.get(name, ()):
            tensor = tensors.get(leaf)
            if leaf in self.counted or tensor is None:
                continue
            self.counted.add(leaf)
            size += tensor.bytes
            if leaf in self.learnt and _is_weight(tensor):
                count += tensor.elements
        return count, size


def _constants(graph: onnx.GraphProto, tensors: dict[str, Tensor]) -> _Constants:
    names = {t.name for t in graph.initializer}
    leaves: dict[str, tuple[str, ...]] = {n: (n,) for n in names}
    for node in graph.node:
        read = [i for i in node.input if i]
        if all(i in names for i in read):
            stored = tuple(dict.fromkeys(leaf for i in read for leaf in leaves[i]))
            for output in node.output:
                names.add(output)
                leaves[output] = stored if any(_is_weight(tensors.get(s)) for s in stored) else (output,)
    return _Constants(names, leaves, _learnt(graph, names), set())


def _learnt(graph: onnx.GraphProto, constants: set[str]) -> set[str]:
    """The tensors that are read for what they hold, by a node that is, and not only for how it computes."""
    found = {o.name for o in graph.output}
    for node in reversed(graph.node):
        if any(o not in constants or o in found for o in node.output):
            found.update(i for place, i in enumerate(node.input) if place not in _SETTINGS.get(node.op_type, ()))
    return found


def _is_weight(tensor: Tensor | None) -> bool:
    return tensor is not None and bool(tensor.shape) and tensor.dtype not in ("int64", "bool")


def _alive(graph: onnx.GraphProto, constants: set[str]) -> set[str]:
    """First outputs of the nodes that depend on an input and that an output depends on."""
    wanted = {o.name for o in graph.output}
    alive: set[str] = set()
    for node in reversed(graph.node):
        if any(o in wanted for o in node.output) and not all(o in constants for o in node.output):
            alive.add(node.output[0])
            wanted.update(i for i in node.input if i)
    return alive


def _node(node: onnx.NodeProto, tensors: dict[str, Tensor], constants: _Constants) -> Node:
    outputs = tuple(o for o in node.output if o)
    weights = [constants.weigh(i, tensors) for i in node.input if i in constants.names]
    product = _product(node, tensors)
    kernel, strides = _window(node, tensors)
    return Node(
        name=outputs[0],
        op=node.op_type,
        inputs=tuple(dict.fromkeys(i for i in node.input if i and i not in constants.names)),
        outputs=outputs,
        macs=product.macs if product else 0,
        parameters=sum(w[0] for w in weights),
        weight_bytes=sum(w[1] for w in weights),
        product=product,
        kernel=kernel,
        strides=strides,
    )


def _window(node: onnx.NodeProto, tensors: dict[str, Tensor]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Kernel and strides of a node that slides a window; the kernel of a convolution may stand in its weights only."""
    lists = {a.name: tuple(a.ints) for a in node.attribute}
    kernel = lists.get("kernel_shape", ())
    if not kernel and node.op_type in _CONVOLUTIONS:
        weight = tensors.get(node.input[3 if node.op_type == "QLinearConv" else 1])
        kernel = weight.shape[2:] if weight else ()
    return kernel, lists.get("strides", (1,) * len(kernel)) if kernel else ()


def _product(node: onnx.NodeProto, tensors: dict[str, Tensor]) -> Product | None:
    """Convolutions and matrix products as products of matrices; None for everything else, which counts as no
    multiply-accumulates, as usual."""
    out = tensors.get(node.output[0])
    operands = [tensors.get(i) for i in node.input]
    whole = {a.name: a.i for a in node.attribute}
    if node.op_type in _CONVOLUTIONS:
        weight = operands[3 if node.op_type == "QLinearConv" else 1]
        return _convolved(out, weight, max(1, whole.get("group", 1))) if out and weight else None
    if node.op_type == "ConvTranspose":
        source, weight = operands[0], operands[1]
        return _spread(source, weight, max(1, whole.get("group", 1))) if source and weight else None
    if node.op_type in ("MatMul", "MatMulInteger", "QLinearMatMul", "Gemm"):
        left, right = operands[0], operands[3 if node.op_type == "QLinearMatMul" else 1]
        if out and left and left.shape:
            across = node.op_type == "Gemm" and whole.get("transA", 0)
            return _multiplied(out, left, right, depth=left.shape[0 if across else -1])
    return None


def _convolved(out: Tensor, weight: Tensor, groups: int) -> Product:
    channels = weight.shape[0]
    return Product(out.elements // max(1, channels), channels // groups, math.prod(weight.shape[1:]), groups)


def _spread(source: Tensor, weight: Tensor, groups: int) -> Product:
    channels = weight.shape[0]
    return Product(source.elements // max(1, channels), math.prod(weight.shape[1:]), channels // groups, groups)


def _multiplied(out: Tensor, left: Tensor, right: Tensor | None, depth: int) -> Product:
    """One product where the right side is one matrix for all that is on the left, else one for each of its matrices."""
    columns = 1 if right is not None and len(right.shape) == 1 else max(1, out.shape[-1] if out.shape else 1)
    if right is None or len(right.shape) <= 2:
        return Product(out.elements // columns, columns, depth)
    rows = max(1, left.shape[-2] if len(left.shape) > 1 else 1)
    return Product(rows, columns, depth, out.elements // (rows * columns))

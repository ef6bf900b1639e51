"""Small constant arithmetic done beforehand.

Exporters compute Pad and Reshape targets with chains of constant nodes; shape inference does not follow those.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from isthmus.model.initializers import SMALL_ELEMENTS

SMALL = SMALL_ELEMENTS
"""Constants of up to this many elements have their values looked at; larger ones are weights and only sizes count."""

FOLDABLE = frozenset(
    {"Add", "Cast", "Concat", "ConstantOfShape", "Div", "Gather", "Identity", "Mul", "Neg", "Reshape", "Slice"}
    | {"Squeeze", "Sub", "Transpose", "Unsqueeze"}
)
"""Operators whose result is hardly larger than what they read (ConstantOfShape is checked apart)."""


def fold_small(graph: onnx.GraphProto, opset: int) -> dict[str, onnx.TensorProto]:
    """Results of the constant-derived nodes whose inputs are all small, by tensor name; none has more than `SMALL`
    elements, whatever the model says."""
    values = small_values(graph)
    folded: dict[str, onnx.TensorProto] = {}
    for node in graph.node:
        if node.op_type in FOLDABLE and all(i in values for i in node.input if i):
            result = run_small(node, values, opset)
            if result is not None:
                values[node.output[0]] = result
                folded[node.output[0]] = numpy_helper.from_array(result, node.output[0])
    return folded


def small_values(graph: onnx.GraphProto) -> dict[str, NDArray[np.generic]]:
    """What the small initializers and Constant nodes hold, by tensor name."""
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer if _has_small_values(t)}
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value" and _has_small_values(attribute.t):
                values[node.output[0]] = numpy_helper.to_array(attribute.t)
    return values


def fold_into(graph: onnx.GraphProto, opset: int) -> None:
    """Put initializers in place of the nodes that `fold_small` can work out beforehand, but for those that make an
    output."""
    folded = fold_small(graph, opset)
    for value in graph.output:
        folded.pop(value.name, None)
    kept = [n for n in graph.node if n.output[0] not in folded]
    if len(kept) != len(graph.node):
        del graph.node[:]
        graph.node.extend(kept)
        graph.initializer.extend(folded.values())


def _has_small_values(tensor: onnx.TensorProto) -> bool:
    if math.prod(tensor.dims) > SMALL or tensor.external_data:
        return False
    filled = tensor.raw_data or tensor.int64_data or tensor.int32_data or tensor.float_data or tensor.double_data
    return bool(filled) or math.prod(tensor.dims) == 0


def run_small(node: onnx.NodeProto, values: dict[str, NDArray[np.generic]], opset: int) -> NDArray[np.generic] | None:
    """A node's first output, worked out from what it reads; None where either has more than `SMALL` elements together,
    or the node is odd."""
    read = {i: values[i] for i in node.input if i}
    if sum(v.size for v in read.values()) > SMALL:
        return None
    if node.op_type == "ConstantOfShape" and math.prod(int(d) for d in values[node.input[0]].ravel()) > SMALL:
        return None
    graph = helper.make_graph(
        [node],
        "fold",
        [helper.make_tensor_value_info(i, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for i, v in read.items()],
        [onnx.ValueInfoProto(name=node.output[0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        result = np.asarray(ReferenceEvaluator(model).run(None, read)[0])  # type: ignore[index]
    except Exception:  # noqa: BLE001 - an odd chain is left to shape inference, which says what it cannot do
        return None
    return result if result.size <= SMALL else None  # two inputs that stretch each other make more

"""Shapes that a model computes itself: node by node, with the values of short lists worked out on the way.

onnx's own propagation of values is not used: it holds a list of any length that comes up in the model.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import defs, helper, numpy_helper, shape_inference

from isthmus.model.fold import FOLDABLE, SMALL, run_small, small_values
from isthmus.model.vetting import opset_of

_FOLLOWED = FOLDABLE | frozenset(
    {"Abs", "And", "Ceil", "Constant", "Equal", "Expand", "Floor", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
    | {"Max", "Min", "Mod", "Not", "Or", "Range", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "Sqrt", "Tile"}
    | {"Where"}
)
"""What exporters compute shapes with, beside Shape and Size."""

Types = dict[str, onnx.TypeProto]
Values = dict[str, NDArray[np.generic]]


def computed_types(proto: onnx.ModelProto) -> Types:
    """The type of every tensor as far as it follows from the inputs, whose shapes are all known. Values of more than
    `SMALL` elements are never made.

    Raises what onnx does on a node that it cannot digest (`isthmus.model.shapes.FOREIGN`).
    """
    graph, opset = proto.graph, opset_of(proto)
    types = {v.name: v.type for v in graph.input}
    types |= {t.name: helper.make_tensor_type_proto(t.data_type, t.dims) for t in graph.initializer}
    values = small_values(graph)
    for node in graph.node:
        read = [name for name in node.input if name]
        if any(name not in types for name in read):
            break
        types |= _made(node, {name: types[name] for name in read}, values, proto)
        value = _value(node, types, values, opset)
        if value is not None:
            values[node.output[0]] = value
    return types


def _made(node: onnx.NodeProto, read: Types, values: Values, proto: onnx.ModelProto) -> Types:
    """The types of what one node makes."""
    schema = defs.get_schema(node.op_type, opset_of(proto))
    if not schema.has_type_and_shape_inference_function:  # two normalisations; they make what they read
        return {node.output[0]: read[node.input[0]]}
    known = {name: numpy_helper.from_array(values[name], name) for name in read if name in values}
    opsets = list(proto.opset_import)
    return shape_inference.infer_node_outputs(schema, node, read, known, None, opsets, proto.ir_version)


def _value(node: onnx.NodeProto, types: Types, values: Values, opset: int) -> NDArray[np.generic] | None:
    """What a node makes, where that is short and follows from shapes and short values."""
    dims = known_dims(types, node.output[0])
    if dims is None or math.prod(dims) > SMALL:
        return None
    match node.op_type:
        case "Shape" | "Size":
            read = known_dims(types, node.input[0])
            if read is None:
                return None
            if node.op_type == "Size":
                return np.array(math.prod(read))
            ends = {a.name: a.i for a in node.attribute}
            return np.array(read[ends.get("start") : ends.get("end")], np.int64)
        case operator if operator in _FOLLOWED and all(name in values for name in node.input if name):
            return run_small(node, values, opset)
    return None


def known_dims(types: Types, name: str) -> tuple[int, ...] | None:
    """A tensor's dimensions, where all are known."""
    if name not in types or not types[name].tensor_type.HasField("shape"):
        return None
    dims = types[name].tensor_type.shape.dim
    return tuple(d.dim_value for d in dims) if all(d.HasField("dim_value") for d in dims) else None

"""Which networks can be quantised here, and which of their weights take few bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from isthmus.errors import BadInput, BadModel
from isthmus.graph import graph_of
from isthmus.graph.cuts import ancestors
from isthmus.model.types import Model
from isthmus.quant.weights import LAYERS, channel_axis

_QUANTISED = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger"}
    | {"MatMulInteger"}
)
_OTHER_FLOATS = frozenset({"float16", "float64"})
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE})


def need_quantisable(model: Model) -> None:
    """Raise BadInput, or BadModel, for a network that has no weights, is quantised already, takes whole numbers, has
    inputs without samples, or computes in another floating point than float32. Float16 and float64 may be
    where no layer whose weight takes few bits comes after: such tensors stay as they are."""
    model.need_weights()
    model.need_samples()
    for node in model.proto.graph.node:
        if node.op_type in _QUANTISED:
            raise BadModel(
                f"{model.name} is quantised already ({node.op_type} makes {node.output[0]}); "
                "give the floating-point model it was made from"
            )
    for signature in model.inputs:
        if np.dtype(signature.dtype).kind != "f":
            raise BadInput(
                f"input {signature.name} of {model.name} is {signature.dtype}; only a network that takes numbers of "
                "floating point can be quantised: export it from behind its embedding, or its first cast, on"
            )
    graph = graph_of(model)
    weighted = ancestors(graph, layer_weights(model))
    early = {*graph.inputs, *(t for i in weighted for t in graph.nodes[i].outputs)}
    for name in (*graph.inputs, *graph.producer):
        dtype = graph.tensors[name].dtype
        if dtype == "bfloat16" or (dtype in _OTHER_FLOATS and name in early):
            raise BadModel(
                f"{name} of {model.name} is {dtype}; only a network that computes in float32, or behind its last "
                "weighted layer in float16 or float64, can be quantised: export it in float32"
            )


def layer_weights(model: Model) -> dict[str, tuple[str, int]]:
    """Node name → (name of its weight, axis of its outputs), for the layers whose weight takes few bits.

    Convolutions and matrix products with a stored floating-point operand of two axes or more; a weight that several
    layers share stands with the first.
    """
    stored = {t.name: t for t in model.proto.graph.initializer}
    found: dict[str, tuple[str, int]] = {}
    seen: set[str] = set()
    for node in model.proto.graph.node:
        if node.op_type not in LAYERS or len(node.input) < 2 or node.input[1] in seen:
            continue
        tensor = stored.get(node.input[1])
        if tensor is not None and len(tensor.dims) >= 2 and tensor.data_type in _FLOATS:
            seen.add(tensor.name)
            found[node.output[0]] = (tensor.name, channel_axis(node, len(tensor.dims)))
    return found


def weight_values(model: Model, name: str) -> NDArray[np.float32]:
    """One stored weight as float32."""
    tensor = next(t for t in model.proto.graph.initializer if t.name == name)
    return np.asarray(numpy_helper.to_array(tensor), np.float32)

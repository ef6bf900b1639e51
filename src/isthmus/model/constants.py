"""Nodes that read constants only, worked out beforehand, weights of any size among them."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from isthmus.errors import BadModel
from isthmus.model.bench import Bench
from isthmus.model.fold import FOLDABLE
from isthmus.model.limits import LIMITS
from isthmus.model.vetting import opset_of

_PLAIN = FOLDABLE | {"Abs", "Exp", "Expand", "Flatten", "Max", "Min", "Pow", "Reciprocal", "Sqrt", "Tile"}
"""Operators that stand between stored weights and the layers that read them. What dequantises is not among them: a
quantised model stays one."""
_GROWTH = 4
"""A result may take this many times what it is made from: a weight tiled from a number would fill the memory."""


def fold_constants(bench: Bench) -> None:
    """Put constants in place of all nodes that only constants lead to. Raises BadModel where they take more memory
    together than the weights of a model may."""
    gone: set[int] = set()
    readers = Counter(name for node in bench.nodes for name in set(node.input))
    held: dict[str, int] = {}
    total = 0
    for node in bench.nodes:
        if not _foldable(bench, node):
            continue
        made = _constant_value(node) if node.op_type == "Constant" else _worked_out(bench, node)
        if made is None:
            continue
        bench.weights[node.output[0]] = made
        held[node.output[0]] = len(made.raw_data)
        total += len(made.raw_data)
        if total > LIMITS.weight_bytes:
            raise BadModel(f"the constants that {bench.name} works out take more than {LIMITS.weight_bytes:,} bytes")
        gone.add(id(node))
        readers.subtract(set(node.input))
        for name in {n for n in node.input if n in held and not readers[n]}:
            total -= held.pop(name)
            del bench.weights[name]
    bench.drop(gone)


def next_constant(bench: Bench) -> str | None:
    """The name of a node that could still be worked out; None where none is left."""
    left = (n for n in bench.nodes if _foldable(bench, n) and n.op_type != "Constant")
    return next((n.name for n in left if _worked_out(bench, n) is not None), None)


def _foldable(bench: Bench, node: onnx.NodeProto) -> bool:
    if len(node.output) != 1 or node.output[0] in bench.outputs:
        return False
    return node.op_type in _PLAIN | {"Constant"} and all(bench.is_weight(name) for name in node.input if name)


def _constant_value(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """What a Constant holds, in whichever attribute it does; None for strings and sparse tensors."""
    held = node.attribute[0]
    value = helper.get_attribute_value(held)
    match held.name:
        case "value":
            made = onnx.TensorProto()
            made.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(value), node.output[0]))
            return made
        case "value_float" | "value_floats":
            return numpy_helper.from_array(np.array(value, np.float32), node.output[0])
        case "value_int" | "value_ints":
            return numpy_helper.from_array(np.array(value, np.int64), node.output[0])
    return None


def _worked_out(bench: Bench, node: onnx.NodeProto) -> onnx.TensorProto | None:
    """A node's result, or only its size where the model holds no values; None where it is too large or unusual."""
    shape, kind = bench.shapes[node.output[0]]
    names = [name for name in node.input if name]
    read = sum(math.prod(bench.weights[name].dims) for name in names)
    if math.prod(shape) > _GROWTH * max(1024, read):
        return None
    values: dict[str, NDArray[np.generic]] = {}
    for name in names:
        value = bench.value(name)
        if value is None:
            return onnx.TensorProto(name=node.output[0], data_type=kind, dims=shape)
        values[name] = value
    try:
        made = ReferenceEvaluator(_alone(bench, node, values)).run(None, values)[0]  # type: ignore[index]
    except Exception:  # noqa: BLE001 - an odd node stays what it was
        return None
    result = np.asarray(made)
    return numpy_helper.from_array(result, node.output[0]) if result.shape == shape else None


def _alone(bench: Bench, node: onnx.NodeProto, values: dict[str, NDArray[np.generic]]) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info(n, bench.weights[n].data_type, v.shape) for n, v in values.items()]
    graph = helper.make_graph([node], "fold", inputs, [onnx.ValueInfoProto(name=node.output[0])])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset_of(bench.proto))])

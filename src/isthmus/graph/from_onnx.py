"""From an ONNX model to a `Graph`: shapes at one batch size, multiply-accumulates, parameters, bytes of every node."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, shape_inference

from isthmus.errors import BadInput, BadModel
from isthmus.graph.types import Graph, Node, Tensor
from isthmus.model.fold import SMALL, fold_small
from isthmus.model.types import OPSET, Model


def graph_of(model: Model, batch: int = 1) -> Graph:
    """The graph of a model at `batch`.

    Nodes that derive from constants alone are left out (they belong to whichever side needs them), and so are nodes
    whose results nobody reads. Works on shape-only models. Raises BadInput for a batch the model does not allow and
    BadModel where a shape cannot be found.
    """
    skeleton = _skeleton(model, batch)
    try:
        inferred = shape_inference.infer_shapes(skeleton, data_prop=True)
    except Exception as error:  # onnx raises several kinds, some of them plain RuntimeError
        raise BadModel(f"{model.name}: shape inference failed: {error}") from error
    tensors = _tensors(inferred.graph)
    constants = _constants(inferred.graph, tensors)
    alive = _alive(inferred.graph, constants.names)
    nodes = tuple(_node(n, tensors, constants) for n in inferred.graph.node if n.output[0] in alive)
    outputs = tuple(o.name for o in inferred.graph.output if o.name not in constants.names)
    named = {t for n in nodes for t in (*n.inputs, *n.outputs)}
    inputs = tuple(i.name for i in inferred.graph.input if i.name not in constants.names)
    missing = sorted(t for t in named.union(inputs, outputs) if t not in tensors)
    if missing:
        raise BadModel(f"{model.name}: the shape of {missing[0]} cannot be inferred; give the model static shapes")
    return Graph(
        name=model.name,
        batch=batch,
        nodes=nodes,
        tensors={t: tensors[t] for t in named.union(inputs, outputs)},
        inputs=inputs,
        outputs=outputs,
        blocks=tuple(b for b in model.blocks if b in named),
    )


def _skeleton(model: Model, batch: int) -> onnx.ModelProto:
    """The model without its weights' values and with the batch filled in: small, whatever the model weighs."""
    if batch < 1:
        raise BadInput(f"a batch of {batch} is not possible")
    proto = model.proto
    bare = onnx.ModelProto(ir_version=max(4, proto.ir_version))  # below 4, initializers count only if also inputs
    bare.opset_import.extend(proto.opset_import)
    bare.graph.name = proto.graph.name or model.name
    bare.graph.output.extend(proto.graph.output)
    folded = fold_small(proto.graph, max((o.version for o in proto.opset_import if not o.domain), default=OPSET))
    bare.graph.initializer.extend(folded.values())
    for node in proto.graph.node:
        if node.output[0] not in folded:
            bare.graph.node.append(_without_large_attributes(node))
    for tensor in proto.graph.initializer:
        bare.graph.initializer.append(_without_values(tensor))
    signatures = {s.name: s for s in model.inputs}
    for info in proto.graph.input:
        copy = bare.graph.input.add()
        copy.CopyFrom(info)
        signature = signatures.get(info.name)
        if signature is None:
            continue
        if signature.shape and signature.shape[0] is not None and batch != 1 and signature.shape[0] != batch:
            raise BadInput(f"{model.name} takes a batch of {signature.shape[0]}, not {batch}")
        for dim, size in zip(copy.type.tensor_type.shape.dim, signature.at(batch), strict=True):
            dim.dim_value = size
    for info in bare.graph.output:
        info.type.tensor_type.ClearField("shape")  # inferred anew; declared ones may name a symbolic batch
    return bare


def _without_values(tensor: onnx.TensorProto) -> onnx.TensorProto:
    if math.prod(tensor.dims) <= SMALL and not tensor.external_data:
        return tensor
    return onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)


def _without_large_attributes(node: onnx.NodeProto) -> onnx.NodeProto:
    large = [a for a in node.attribute if a.type == onnx.AttributeProto.TENSOR and math.prod(a.t.dims) > SMALL]
    if not large:
        return node
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    for attribute in copy.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR:
            attribute.t.CopyFrom(_without_values(attribute.t))
    return copy


def _tensors(graph: onnx.GraphProto) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for info in (*graph.input, *graph.value_info, *graph.output):
        kind = info.type.tensor_type
        if not kind.HasField("shape") or any(not d.HasField("dim_value") for d in kind.shape.dim):
            continue
        found[info.name] = _tensor(info.name, kind.elem_type, [d.dim_value for d in kind.shape.dim])
    for tensor in graph.initializer:
        found[tensor.name] = _tensor(tensor.name, tensor.data_type, list(tensor.dims))
    return found


def _tensor(name: str, elem_type: int, dims: Iterable[int]) -> Tensor:
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(elem_type))
    return Tensor(name=name, shape=tuple(dims), dtype=dtype.name, itemsize=dtype.itemsize)


@dataclass
class _Constants:
    """Tensors that derive from constants alone, and for each the stored constants it was made from."""

    names: set[str]
    leaves: dict[str, tuple[str, ...]]
    counted: set[str]

    def weigh(self, name: str, tensors: dict[str, Tensor]) -> tuple[int, int]:
        """(parameters, bytes) of the stored constants behind a tensor, each counted once over the whole graph.

        Whole numbers (shapes, axes) and scalars (clip bounds, quantisation scales) are not parameters.
        """
        count = size = 0
        for leaf in self.leaves.get(name, ()):
            tensor = tensors.get(leaf)
            if leaf in self.counted or tensor is None:
                continue
            self.counted.add(leaf)
            size += tensor.bytes
            if tensor.shape and tensor.dtype not in ("int64", "bool"):
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
    return _Constants(names, leaves, set())


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
    outputs = tuple(o for o in node.output if o and o in tensors)
    if not outputs:
        raise BadModel(
            f"the shape of {node.output[0]} ({node.op_type}) cannot be inferred; give the model static shapes"
        )
    weights = [constants.weigh(i, tensors) for i in node.input if i in constants.names]
    return Node(
        name=outputs[0],
        op=node.op_type,
        inputs=tuple(dict.fromkeys(i for i in node.input if i and i not in constants.names)),
        outputs=outputs,
        macs=_macs(node, tensors),
        parameters=sum(w[0] for w in weights),
        weight_bytes=sum(w[1] for w in weights),
    )


def _macs(node: onnx.NodeProto, tensors: dict[str, Tensor]) -> int:
    """Multiply-accumulates of convolutions and matrix products; everything else counts as none, as usual."""
    out = tensors[node.output[0]].elements if node.output[0] in tensors else 0
    operands = [tensors.get(i) for i in node.input]
    if node.op_type in ("Conv", "ConvInteger", "QLinearConv"):
        weight = operands[3 if node.op_type == "QLinearConv" else 1]
        return out * math.prod(weight.shape[1:]) if weight else 0
    if node.op_type == "ConvTranspose":
        source, weight = operands[0], operands[1]
        return source.elements * math.prod(weight.shape[1:]) if source and weight else 0
    if node.op_type in ("MatMul", "MatMulInteger", "QLinearMatMul", "Gemm"):
        left = operands[0]
        across = any(a.name == "transA" and a.i for a in node.attribute)
        return out * left.shape[0 if across else -1] if left and left.shape else 0
    return 0

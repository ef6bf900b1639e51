"""Shapes: which dimensions are the batch, and what every tensor measures at a given batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx import checker, shape_inference, version_converter

from isthmus.errors import BadModel
from isthmus.model.computed import Types, computed_types, known_dims
from isthmus.model.initializers import lightened, tensor_bytes
from isthmus.model.limits import LIMITS
from isthmus.units import is_whole

BATCH = "N"
Shapes = dict[str, tuple[tuple[int, ...], int]]
"""Tensor name → its shape and ONNX element type."""

_MOST_SIZE = 2**63 - 1
"""What the file format can say of a dimension; whether it is too large is looked at later, of whole tensors."""

FOREIGN = (
    checker.ValidationError,
    shape_inference.InferenceError,
    version_converter.ConvertError,
    EncodeError,
    DecodeError,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
)
"""What the onnx package raises on a model it cannot digest."""


def fix_inputs(graph: onnx.GraphProto, wanted: Mapping[str, Sequence[int | None]]) -> None:
    """Give every input a shape whose only open dimension is dimension 0, called N. `wanted` overrides by input name
    (None = the batch). Raises BadModel naming the open dimension."""
    known = {i.name for i in graph.input}
    for name in wanted:
        if name not in known:
            raise BadModel(f"a shape was given for {name!r}, which is no input; inputs are {', '.join(sorted(known))}")
    for value in graph.input:
        tensor = value.type.tensor_type
        if value.name in wanted:
            _set_shape(tensor, wanted[value.name], value.name)
        elif not tensor.HasField("shape"):
            raise BadModel(f"input {value.name!r} has no shape; give one with shapes={{{value.name!r}: (...)}}")
        for place, dim in enumerate(tensor.shape.dim):
            _fix_dim(dim, place, value.name)


def fill_outputs(proto: onnx.ModelProto) -> None:
    """Declare the shapes of outputs that have none, for the checker insists on them; where inference is silent, a
    scalar's, so that the checker goes on to say what is really wrong."""
    missing = [v for v in proto.graph.output if not v.type.tensor_type.HasField("shape")]
    if missing:
        inferred = {v.name: v for v in shape_inference.infer_shapes(proto).graph.output}
        for value in missing:
            value.type.tensor_type.shape.CopyFrom(inferred[value.name].type.tensor_type.shape)


def shapes_at(proto: onnx.ModelProto, batch: int) -> Shapes:
    """Shape and element type of every tensor (inputs, activations, initializers) with the batch filled in.

    Works on shape-only models. Raises BadModel for a tensor whose shape cannot be known from the inputs' shapes, or
    larger than a tensor may be.
    """
    filled = lightened(proto)
    for value in filled.graph.input:
        for dim in value.type.tensor_type.shape.dim[:1]:
            if dim.dim_param:
                dim.dim_value = batch
    for value in filled.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        graph = shape_inference.infer_shapes(filled, check_type=True, strict_mode=True).graph
        types = {v.name: v.type for v in (*graph.input, *graph.value_info, *graph.output)}
        if any(known_dims(types, name) is None for node in graph.node for name in node.output if name):
            types = computed_types(filled)  # a shape may be computed in the model itself
    except FOREIGN as error:
        raise BadModel(f"the model's shapes contradict each other: {first_line(error)}") from error
    return _collect(filled.graph, types, batch)


def first_line(error: BaseException) -> str:
    """A foreign error in one line of bearable length."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."


def _collect(graph: onnx.GraphProto, types: Types, batch: int) -> Shapes:
    found: Shapes = {t.name: (tuple(t.dims), t.data_type) for t in graph.initializer}
    for name in types:
        dims = known_dims(types, name)
        if dims is not None:
            element = types[name].tensor_type.elem_type
            size = tensor_bytes(dims, element, f"tensor {name!r}")
            if size > LIMITS.activation_bytes * batch:
                raise BadModel(f"tensor {name!r} of shape {list(dims)} takes {size:,} bytes, more than fits")
            found[name] = (dims, element)
    for node in graph.node:
        for name in node.output:
            if name and name not in found:
                raise BadModel(
                    f"the shape of {name!r} (made by {node.op_type}) does not follow from the inputs' shapes; "
                    "a network whose shapes depend on the data cannot be cut"
                )
    return found


def _set_shape(tensor: onnx.TypeProto.Tensor, dims: Sequence[int | None], name: str) -> None:
    if not isinstance(dims, Iterable):
        raise BadModel(f"the shape given for input {name!r} is {dims!r}; it must be a list of sizes")
    del tensor.shape.dim[:]
    tensor.shape.SetInParent()
    for place, size in enumerate(dims):
        dim = tensor.shape.dim.add()
        if size is None:
            continue
        if not is_whole(size, 1, _MOST_SIZE):
            raise BadModel(
                f"dimension {place} of input {name!r} is {size!r}; it must be a whole number from 1 to 2^63-1"
            )
        dim.dim_value = int(size)


def _fix_dim(dim: onnx.TensorShapeProto.Dimension, place: int, name: str) -> None:
    if dim.HasField("dim_value"):
        if dim.dim_value < 1:
            raise BadModel(f"dimension {place} of input {name!r} is {dim.dim_value}; it must be at least 1")
    elif place == 0:
        dim.dim_param = BATCH
    else:
        label = repr(dim.dim_param) if dim.dim_param else "without a name"
        raise BadModel(
            f"dimension {place} of input {name!r} ({label}) is open; only dimension 0, the batch, may be: "
            f"fix it with shapes={{{name!r}: (...)}}"
        )

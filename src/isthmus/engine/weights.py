"""Weights beside a model: one file, every tensor on a page boundary, so that all sessions map the same pages.

4 KiB because a mapping begins on a page; the kernels want 64 bytes (numpy's 16 cost 9 %).
"""

from __future__ import annotations

import math
from pathlib import Path

import onnx
from onnx import helper, numpy_helper

PAGE_BYTES = 4096
INLINE_BYTES = 4096
"""Smaller tensors stay in the model: shape inference reads some of them, and a mapping each would be wasteful."""


def externalise(proto: onnx.ModelProto, path: Path, beside: Path | None = None) -> onnx.ModelProto:
    """A copy of a model without its large weights, which are written to `path` and referred to by its file name.

    Weights may already stand in files in the folder `beside`; they are copied a tensor at a time.
    """
    bare = onnx.ModelProto(ir_version=proto.ir_version, producer_name="isthmus")
    bare.opset_import.extend(proto.opset_import)
    bare.functions.extend(proto.functions)
    bare.graph.name = proto.graph.name
    bare.graph.node.extend(proto.graph.node)
    bare.graph.input.extend(proto.graph.input)
    bare.graph.output.extend(proto.graph.output)
    with path.open("wb") as file:
        for tensor in proto.graph.initializer:
            if _size_bytes(tensor) < INLINE_BYTES:
                bare.graph.initializer.append(tensor)
                continue
            file.write(bytes(-file.tell() % PAGE_BYTES))
            values = _raw(tensor, beside)
            bare.graph.initializer.append(_reference(tensor, path.name, file.tell(), len(values)))
            file.write(values)
    return bare


def without_defaults(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose convolutions do not spell out what is the default anyway.

    onnxruntime holds some 0.8 KB an attribute: with forty sessions of one network, a quarter of their memory.
    """
    slim = onnx.ModelProto()
    slim.CopyFrom(proto)
    for node in slim.graph.node:
        node.doc_string = ""
        said = [a for a in node.attribute if not (node.op_type == "Conv" and _is_default(a))]
        del node.attribute[:]
        node.attribute.extend(said)
    return slim


def _is_default(attribute: onnx.AttributeProto) -> bool:
    """Of a convolution: no padding, steps of one, one group."""
    match attribute.name:
        case "auto_pad":
            return attribute.s == b"NOTSET"
        case "group":
            return attribute.i == 1
        case "pads":
            return not any(attribute.ints)
        case "strides" | "dilations":
            return all(i == 1 for i in attribute.ints)
    return False


def _size_bytes(tensor: onnx.TensorProto) -> int:
    if tensor.data_type == onnx.TensorProto.STRING:
        return 0
    return math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def _raw(tensor: onnx.TensorProto, beside: Path | None) -> bytes:
    """Bytes as onnxruntime maps them; four-bit weights are packed two to a byte on the way."""
    if tensor.external_data and beside is not None:
        said = {e.key: e.value for e in tensor.external_data}
        with (beside / said["location"]).open("rb") as file:
            file.seek(int(said.get("offset", 0)))
            return file.read(int(said["length"]))
    if tensor.HasField("raw_data"):
        return tensor.raw_data
    return numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data


def _reference(tensor: onnx.TensorProto, location: str, offset: int, length: int) -> onnx.TensorProto:
    made = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    made.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        made.external_data.add(key=key, value=str(value))
    return made

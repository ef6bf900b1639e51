"""Tensors in the Open Inference Protocol: datatypes, shapes and contents, raw or typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from isthmus.errors import BadFrame, Refused
from isthmus.run.heads import Head
from isthmus.run.oip_pb2 import InferParameter, ModelInferRequest
from isthmus.run.types import Array

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
"""numpy's name → the protocol's."""
NUMPY = {oip: ours for ours, oip in DATATYPES.items()}
_FIELDS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}

Input = ModelInferRequest.InferInputTensor


def parameter(parameters: Mapping[str, InferParameter], name: str) -> str:
    """A string parameter; empty where it is absent. Raises Refused for one that is no string."""
    if name not in parameters:
        return ""
    found = parameters[name]
    if found.WhichOneof("parameter_choice") != "string_param":
        raise Refused(f"the parameter '{name}' must be a string")
    return found.string_param


def described(tensor: Input, payload_bytes: int, codec: str) -> Head:
    """What an input of a request announces.

    A tensor written by a codec travels as UINT8 bytes, with its true `shape` ("1,64,7,7") and `dtype` in parameters.
    """
    shape, dtype = list(tensor.shape), NUMPY.get(tensor.datatype, "")
    if not dtype:
        raise Refused(f"{tensor.name[:80]} has the datatype {tensor.datatype[:16]}; known are {', '.join(NUMPY)}")
    written = parameter(tensor.parameters, "shape")
    if written:
        dtype = parameter(tensor.parameters, "dtype") or "float32"
        try:
            shape = [int(d) for d in written.split(",")]
        except ValueError:
            raise Refused(f"the shape '{written[:80]}' is not numbers joined by commas") from None
    elif codec != "float32" and dtype == "float32":
        raise Refused(
            f"{tensor.name[:80]} is written by {codec[:32]} and needs its true shape in the parameter 'shape'"
        )
    if any(d < 0 for d in shape) or len(shape) > 32:
        raise BadFrame(f"{tensor.name[:80]} announces the shape {tuple(shape[:8])}")
    return Head(tensor.name, dtype, tuple(shape), codec, payload_bytes)


def typed_size(tensor: Input) -> int:
    """Bytes that typed contents stand for; none of them is made."""
    return len(_typed(tensor)) * np.dtype(NUMPY[tensor.datatype]).itemsize


def typed_bytes(tensor: Input) -> bytes:
    """Typed contents as the raw bytes they stand for: accepted for plain clients, thirty times slower than raw."""
    try:
        return np.array(_typed(tensor), NUMPY[tensor.datatype]).tobytes()
    except OverflowError:
        raise Refused(f"a value of {tensor.name[:80]} does not fit {tensor.datatype}") from None


def _typed(tensor: Input) -> Sequence[bool | float]:
    """The values of typed contents. Raises Refused for a datatype that has none."""
    field = _FIELDS.get(tensor.datatype)
    if field is None:
        raise Refused(f"{tensor.datatype[:16]} tensors must travel as raw contents")
    values: Sequence[bool | float] = getattr(tensor.contents, field)
    return values


def raw_array(content: bytes, datatype: str, shape: tuple[int, ...]) -> Array:
    """An array of a raw content. Raises BadFrame when the bytes are not those of the shape."""
    dtype = np.dtype(NUMPY.get(datatype, "uint8"))
    count = 1
    for d in shape:
        count *= d
    if datatype not in NUMPY or any(d < 0 for d in shape) or count * dtype.itemsize != len(content):
        raise BadFrame(f"{len(content)} bytes cannot hold a {datatype[:16]} tensor of shape {shape[:8]}")
    return np.frombuffer(content, dtype).reshape(shape)

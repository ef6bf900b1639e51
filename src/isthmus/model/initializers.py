"""Weights beside the graph: bounded, read from external files safely, left out and taken up again.

Checking, converting and inferring shapes work on a copy of the graph without its large weights (they become inputs for
the while), so a half-gigabyte model costs no copies and a shape-only model goes through the same steps.
"""

from __future__ import annotations

import math
from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

from isthmus.errors import BadModel
from isthmus.model.limits import LIMITS

SMALL_ELEMENTS = 1024
"""Initializers up to this size keep their values in a shape-only model: shapes, axes, scalars that inference needs."""

_BITS: dict[int, int] = {TensorProto.INT4: 4, TensorProto.UINT4: 4, TensorProto.FLOAT4E2M1: 4}
_BITS |= {getattr(TensorProto, n): 2 for n in ("INT2", "UINT2") if hasattr(TensorProto, n)}


def tensor_bytes(dims: tuple[int, ...], data_type: int, what: str) -> int:
    """Bytes of a dense tensor, computed without making it. Raises BadModel for nonsense dims or types."""
    if len(dims) > LIMITS.rank:
        raise BadModel(f"{what} has {len(dims)} dimensions; {LIMITS.rank} is the limit")
    if any(d < 0 for d in dims):
        raise BadModel(f"{what} has a negative dimension: {list(dims)}")
    if data_type in _BITS:
        return (math.prod(dims) * _BITS[data_type] + 7) // 8
    try:
        itemsize = helper.tensor_dtype_to_np_dtype(data_type).itemsize
    except (KeyError, ValueError, TypeError) as error:
        raise BadModel(f"{what} has the unknown element type {data_type}") from error
    return math.prod(dims) * itemsize


def settle(tensor: TensorProto, folder: Path | None, *, weights: bool) -> int:
    """Make `tensor` a checked raw-data tensor in place, or one of dims only when large and not `weights`.

    Returns its size in bytes. `folder` is where external data may lie; None refuses external data. Raises BadModel.
    """
    what = f"initializer {tensor.name!r}"
    if tensor.data_type == TensorProto.STRING:
        raise BadModel(f"{what} holds strings; only numbers can be cut and sent")
    dims = tuple(tensor.dims)
    size = tensor_bytes(dims, tensor.data_type, what)
    if size > LIMITS.weight_bytes:
        raise BadModel(f"{what} of shape {list(dims)} takes {size:,} bytes; {LIMITS.weight_bytes:,} is the limit")
    keep = weights or math.prod(dims) <= SMALL_ELEMENTS
    if tensor.data_location == TensorProto.EXTERNAL:
        _settle_external(tensor, size, folder, keep=keep)
    elif not tensor.HasField("raw_data"):
        _settle_typed(tensor, what)
    if keep and len(tensor.raw_data) != size:
        raise BadModel(f"{what} of shape {list(dims)} needs {size:,} bytes and holds {len(tensor.raw_data):,}")
    if not keep:
        tensor.ClearField("raw_data")
    return size


def is_large(tensor: TensorProto) -> bool:
    """True for an initializer whose values no inference needs, or that has none."""
    return math.prod(tensor.dims) > SMALL_ELEMENTS or is_bare(tensor)


def is_bare(tensor: TensorProto) -> bool:
    """True for an initializer that carries dims and no data."""
    return not tensor.HasField("raw_data") and math.prod(tensor.dims) > 0


def lightened(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without the large weights, which appear as inputs of the same name, type and shape instead."""
    light = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import, functions=proto.functions)
    light.graph.name = proto.graph.name
    light.graph.node.extend(proto.graph.node)
    light.graph.input.extend(proto.graph.input)
    light.graph.output.extend(proto.graph.output)
    for tensor in proto.graph.initializer:
        if is_large(tensor):
            light.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        else:
            light.graph.initializer.append(tensor)
    return light


def take_over(proto: onnx.ModelProto, light: onnx.ModelProto) -> None:
    """Make `proto` what its changed copy `light` has become, with the large weights where they were.

    Weights that no node reads any more are dropped; the rest keep their order, new ones stand at the end.
    """
    graph, read = proto.graph, {name for node in light.graph.node for name in node.input}
    small = {t.name: t for t in light.graph.initializer}
    large = {t.name for t in graph.initializer if is_large(t)}
    for place in reversed(range(len(graph.initializer))):
        tensor = graph.initializer[place]
        if tensor.name not in read or (tensor.name not in large and tensor.name not in small):
            del graph.initializer[place]
        elif tensor.name in small:
            tensor.CopyFrom(small.pop(tensor.name))
    graph.initializer.extend(t for t in small.values() if t.name in read)
    del graph.node[:], graph.output[:]
    graph.node.extend(light.graph.node)
    graph.output.extend(light.graph.output)
    del graph.input[:], graph.value_info[:], proto.functions[:], proto.opset_import[:]
    graph.input.extend(i for i in light.graph.input if i.name not in large)
    proto.opset_import.extend(light.opset_import)
    proto.ir_version = light.ir_version


def _settle_typed(tensor: TensorProto, what: str) -> None:
    """Move float_data and friends to raw_data. numpy_helper allocates by the stored values, not by the dims."""
    try:
        raw = numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data if math.prod(tensor.dims) else b""
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise BadModel(f"{what} of shape {list(tensor.dims)} does not hold its values: {error}") from error
    settled = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, raw_data=raw)
    tensor.CopyFrom(settled)


def _settle_external(tensor: TensorProto, size: int, folder: Path | None, *, keep: bool) -> None:
    """Check where the data is said to lie, and read it when wanted."""
    what = f"initializer {tensor.name!r}"
    if folder is None:
        raise BadModel(f"{what} lies in an external file, and a model from memory has no folder")
    entries = {e.key: e.value for e in tensor.external_data}
    path = _inside(folder, entries.get("location", ""), what)
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", str(size)))
    except ValueError as error:
        raise BadModel(f"{what} has an external offset or length that is not a number") from error
    held = path.stat().st_size
    if length != size or offset < 0 or offset + size > held:
        raise BadModel(
            f"{what} needs {size:,} bytes; its external entry says {length:,} bytes at {offset:,} of the {held:,} "
            f"in {path.name}"
        )
    raw = b""
    if keep:
        with path.open("rb") as file:
            file.seek(offset)
            raw = file.read(size)
    settled = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, raw_data=raw)
    tensor.CopyFrom(settled)


def _inside(folder: Path, location: str, what: str) -> Path:
    """The external file, when it is a plain file inside the model's folder after all links are followed."""
    parts = location.replace("\\", "/").split("/")
    if not location or "\0" in location or location[0] in "/\\" or ".." in parts or ":" in parts[0]:
        raise BadModel(f"{what} points at external file {location!r}; it must lie in the model's own folder")
    root = folder.resolve()
    try:
        path = (root / "/".join(parts)).resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise BadModel(f"{what} points at external file {location!r}, which is not there") from error
    if not path.is_relative_to(root) or not path.is_file():
        raise BadModel(f"{what} points at external file {location!r}; it must be a file in the model's own folder")
    return path

"""From a file (or a proto) to a `Model`: bounded, checked, in one operator set, shapes known. Nothing in it is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import helper

from isthmus.errors import BadModel
from isthmus.model.blocks import read_blocks, write_blocks
from isthmus.model.convert import converted
from isthmus.model.fold import fold_into
from isthmus.model.functions import unfolded
from isthmus.model.initializers import is_bare, lightened, settle, take_over
from isthmus.model.limits import LIMITS, NEWEST_IR
from isthmus.model.shapes import BATCH, FOREIGN, Shapes, fill_outputs, first_line, fix_inputs, shapes_at
from isthmus.model.tidy import drop_dead, drop_initializer_inputs, forget_remarks, name_nodes
from isthmus.model.types import IR_VERSION, Model, Signature
from isthmus.model.vetting import (
    STANDARD,
    opset_of,
    vet_chance,
    vet_operators,
    vet_outputs,
    vet_size,
    vet_values,
    vet_windows,
)

InputShapes = Mapping[str, Sequence[int | None]]
_FAR = 97
"""A batch that tells whether shapes go on as they do from 1 to 2: a slice of the batch, or its square, does not."""


def load_model_file(path: str | Path, *, weights: bool = True, shapes: InputShapes | None = None) -> Model:
    """Load an ONNX file of operator set 7 to 26, with external data from its own folder.

    `weights=False` leaves large initializers unread (dims only). `shapes` fixes open dimensions by input name; None
    stands for the batch, which only dimension 0 can be. Older operator sets are converted to 21. Raises BadModel for
    anything that is missing, no ONNX model, out of bounds, or of a kind that cannot be cut.
    """
    path = Path(path)
    return _model(_parse(path), path.stem, path.parent, weights=weights, shapes=shapes or {})


def model_from_proto(
    proto: onnx.ModelProto,
    name: str,
    *,
    blocks: tuple[str, ...] = (),
    shapes: InputShapes | None = None,
    copy: bool = True,
    part: bool = False,
) -> Model:
    """The same for a model in memory; `blocks` names its block outputs. A `part` of a network may end where several
    rows belong to one sample, or where the batch is no dimension 0.

    Initializers without data make it a shape-only model.
    `copy=False` takes the proto over: the caller must not use it any more.
    """
    if copy:
        given, proto = proto, onnx.ModelProto()
        proto.CopyFrom(given)
    return _model(proto, name, None, weights=True, shapes=shapes or {}, blocks=blocks, part=part)


def _parse(path: Path) -> onnx.ModelProto:
    try:
        if not path.is_file():
            raise BadModel(f"{path} is {'a folder' if path.is_dir() else 'not there'}; give the path of an .onnx file")
        size = path.stat().st_size
        if not 0 < size <= LIMITS.file_bytes:
            raise BadModel(f"{path} has {size:,} bytes; a model has 1 to {LIMITS.file_bytes:,}")
        return onnx.ModelProto.FromString(path.read_bytes())
    except DecodeError as error:
        raise BadModel(f"{path} is not an ONNX model or is cut short: it does not parse") from error
    except (OSError, ValueError) as error:
        raise BadModel(f"{path} cannot be read: {first_line(error)}") from error


def _model(
    proto: onnx.ModelProto,
    name: str,
    folder: Path | None,
    *,
    weights: bool,
    shapes: InputShapes,
    blocks: tuple[str, ...] = (),
    part: bool = False,
) -> Model:
    vet_size(proto)
    drop_initializer_inputs(proto.graph)
    _settle_weights(proto.graph, folder, weights=weights)
    vet_values(proto.graph.input, "input")
    vet_outputs(proto.graph)
    fix_inputs(proto.graph, shapes)
    light = lightened(proto)
    if light.ByteSize() > LIMITS.graph_bytes:
        raise BadModel(f"the graph of {name} without its weights has more than {LIMITS.graph_bytes:,} bytes")
    light = converted(_checked(unfolded(light)))
    fold_into(light.graph, opset_of(light))
    drop_dead(light.graph)
    name_nodes(light.graph)
    take_over(proto, light)
    forget_remarks(proto.graph)
    vet_chance(proto.graph)
    inputs, outputs = _signatures(proto, part=part)
    bare = any(is_bare(t) for t in proto.graph.initializer)
    if blocks:
        write_blocks(proto, blocks)
    return Model(name, proto, inputs, outputs, not bare, read_blocks(proto))


def _settle_weights(graph: onnx.GraphProto, folder: Path | None, *, weights: bool) -> None:
    total = 0
    seen: set[str] = set()
    for tensor in graph.initializer:
        if tensor.name in seen:
            raise BadModel(f"two initializers are called {tensor.name!r}")
        seen.add(tensor.name)
        if folder is None and is_bare(tensor) and not _has_values(tensor):
            continue
        total += settle(tensor, folder, weights=weights)
        if total > LIMITS.weight_bytes:
            raise BadModel(f"the weights take more than {LIMITS.weight_bytes:,} bytes together")


def _has_values(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor without raw data holds its values in another field."""
    header = onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
    return tensor.ByteSize() > header.ByteSize()


def _checked(proto: onnx.ModelProto) -> onnx.ModelProto:
    vet_size(proto)
    vet_operators(proto)
    kept = [o for o in proto.opset_import if o.domain in STANDARD]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
    proto.ir_version = min(NEWEST_IR, max(IR_VERSION, proto.ir_version))
    try:
        fill_outputs(proto)
        onnx.checker.check_model(proto)
    except FOREIGN as error:
        raise BadModel(f"not a valid ONNX model: {first_line(error)}") from error
    return proto


def _signatures(proto: onnx.ModelProto, *, part: bool) -> tuple[tuple[Signature, ...], tuple[Signature, ...]]:
    """Inputs and outputs. The batch is found by comparing batch sizes; the shapes are written into the graph."""
    graph = proto.graph
    is_open = any(d.dim_param for value in graph.input for d in value.type.tensor_type.shape.dim)
    one = shapes_at(proto, 1)
    two, far = (shapes_at(proto, 2), shapes_at(proto, _FAR)) if is_open else (one, one)
    vet_windows(graph, one)
    declared = {v.name: v.type.tensor_type.elem_type for v in graph.output}
    for value in graph.output:
        if declared[value.name] not in (0, one[value.name][1]):
            raise BadModel(f"output {value.name!r} is declared with another element type than its node makes")
        value.CopyFrom(_value(value.name, one, two, far))
    made = [name for node in graph.node for name in node.output if name and name not in declared]
    graph.value_info.extend(_value(name, one, two, far) for name in made)
    vet_values(graph.output, "output")
    return tuple(map(_signature, graph.input)), tuple(_signature(value, anywhere=part) for value in graph.output)


def _value(name: str, one: Shapes, two: Shapes, far: Shapes) -> onnx.ValueInfoProto:
    """A tensor's declaration, dimensions that grow with the batch as `N`, `4N` or `3+4N`."""
    (dims, elem), (doubled, _), (later, _) = one[name], two[name], far[name]
    if not len(dims) == len(doubled) == len(later):
        raise BadModel(f"the number of dimensions of {name!r} depends on the batch")
    if any(c != a + (_FAR - 1) * (b - a) for a, b, c in zip(dims, doubled, later, strict=True)):
        raise BadModel(
            f"{name!r} is {list(dims)} at a batch of 1, {list(doubled)} at 2 and {list(later)} at {_FAR}, which is no "
            "steady growth: fix the batch with shapes={...}"
        )
    return helper.make_tensor_value_info(name, elem, [_dim(a, b - a) for a, b in zip(dims, doubled, strict=True)])


def _dim(first: int, growth: int) -> int | str:
    """A dimension by its length at a batch of 1, and by what each more adds. Two of the same name are equally long."""
    if not growth:
        return first
    times = f"{growth if growth != 1 else ''}{BATCH}"
    return times if first == growth else f"{first - growth}+{times}"


def _signature(value: onnx.ValueInfoProto, *, anywhere: bool = False) -> Signature:
    dims = value.type.tensor_type.shape.dim
    for place, dim in enumerate(dims):
        if "+" in dim.dim_param or (not anywhere and dim.dim_param and (place > 0 or dim.dim_param != BATCH)):
            raise BadModel(
                f"dimension {place} of output {value.name!r} is {dim.dim_param}; only dimension 0 may be the batch: "
                "fix the batch with shapes={...}"
            )
    times = (d.dim_param.removesuffix(BATCH) for d in dims)
    shape = tuple((-int(k) if k else None) if d.dim_param else d.dim_value for k, d in zip(times, dims, strict=True))
    return Signature(value.name, shape, helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name)

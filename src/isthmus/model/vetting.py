"""What isthmus takes and what it refuses: standard operators on dense tensors, no control flow, within bounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import AttributeProto, TensorProto

from isthmus.errors import BadModel
from isthmus.model.limits import LIMITS, NEWEST_OPSET, OLDEST_OPSET

STANDARD = ("", "ai.onnx")
_SEQUENCE = frozenset(
    {"SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength"}
    | {"SplitToSequence", "ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement"}
)
_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
RESERVED = "+!@"
"""What the names of cuts, and of places on the wire, are made with: no tensor that can cross, and no output, has them
in its name."""
TYPES = frozenset(
    {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BOOL}
    | {TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64}
    | {TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64}
)
"""Element types of inputs and outputs."""


def opset_of(proto: onnx.ModelProto) -> int:
    """The version of the standard operator set the model imports."""
    versions = [o.version for o in proto.opset_import if o.domain in STANDARD]
    if len(versions) != 1:
        raise BadModel(f"the model imports the standard operator set {len(versions)} times; once is right")
    return versions[0]


def vet_size(proto: onnx.ModelProto) -> None:
    """Numbers of things, before anything is computed from them."""
    graph = proto.graph
    nodes = len(graph.node) + sum(len(f.node) for f in proto.functions)
    if nodes > LIMITS.nodes:
        raise BadModel(f"the model has {nodes:,} nodes; {LIMITS.nodes:,} is the limit")
    if not graph.node or not graph.input or not graph.output:
        raise BadModel(
            f"the model has {len(graph.node)} nodes, {len(graph.input)} inputs and {len(graph.output)} outputs; "
            "there is nothing to run"
        )
    if len(graph.initializer) > LIMITS.initializers:
        raise BadModel(f"the model has {len(graph.initializer):,} initializers; {LIMITS.initializers:,} is the limit")
    if graph.sparse_initializer:
        raise BadModel("an initializer is sparse; store it dense")
    _vet_text(proto)
    _vet_names(graph)


def vet_operators(proto: onnx.ModelProto) -> None:
    """Refuse by name what cannot be cut. Model-local functions must have been inlined before."""
    opset = opset_of(proto)
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise BadModel(
            f"the model uses operator set {opset}; {OLDEST_OPSET} to {NEWEST_OPSET} can be taken: "
            "export it again with opset_version=21"
        )
    for node in proto.graph.node:
        what = f"operator {node.op_type} (node {node.name or _first(node.output)!r})"
        if node.domain not in STANDARD:
            raise BadModel(
                f"{what} belongs to the custom domain {node.domain!r}; only standard ONNX operators can be cut: "
                "export the model without it"
            )
        if any(a.type in _GRAPHS for a in node.attribute):  # If, Loop, Scan, SequenceMap
            raise BadModel(f"{what} is control flow, which cannot be cut; export the model with it unrolled")
        if node.op_type in _SEQUENCE:
            raise BadModel(f"{what} works on sequences or optional values; only dense tensors can be cut and sent")
        for attribute in node.attribute:
            _vet_attribute(attribute, what)


def vet_values(values: Iterable[onnx.ValueInfoProto], role: str) -> None:
    """Inputs or outputs must be dense tensors of numbers."""
    for value in values:
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type":
            raise BadModel(f"{role} {value.name!r} is {_article(kind)}; only dense tensors can be cut and sent")
        elem = value.type.tensor_type.elem_type
        if elem not in TYPES:
            name = TensorProto.DataType.Name(elem) if elem in TensorProto.DataType.values() else str(elem)
            raise BadModel(f"{role} {value.name!r} has elements of type {name}; numbers of 8 to 64 bits can be taken")
        if not set(RESERVED).isdisjoint(value.name):
            raise BadModel(
                f"{role} {value.name!r} must not contain any of {' '.join(RESERVED)}: the names of cuts are made "
                "with them; export it under another name"
            )


def vet_outputs(graph: onnx.GraphProto) -> None:
    """Every output must be made by a node."""
    inputs, stored = {v.name for v in graph.input}, {t.name for t in graph.initializer}
    made = {name for node in graph.node for name in node.output}
    for name in (v.name for v in graph.output if v.name not in made):
        what = "an input" if name in inputs else "an initializer" if name in stored else "not there"
        raise BadModel(f"output {name!r} is {what}: made by no node; remove it from the outputs of the model")


def vet_windows(graph: onnx.GraphProto, shapes: Mapping[str, tuple[tuple[int, ...], int]]) -> None:
    """Refuse a window that would be slid for ever. Its size stands in the file alone: padding makes any fit."""
    for node in graph.node:
        sizes = next((a.ints for a in node.attribute if a.name == "kernel_shape"), ())
        work = math.prod(sizes) * math.prod(shapes[node.output[0]][0]) if sizes else 0
        if work > LIMITS.window_work:
            raise BadModel(
                f"{node.op_type} {node.name!r} slides a window of {'×'.join(map(str, sizes))} over {work:.1e} elements "
                f"in all; {LIMITS.window_work:.0e} is the limit"
            )


def vet_chance(graph: onnx.GraphProto) -> None:
    """Refuse numbers that are drawn without any input: what derives from constants alone is made on both sides of a
    cut, and each would draw its own."""
    constants = {t.name for t in graph.initializer}
    for node in graph.node:
        if all(name in constants for name in node.input if name):
            if node.op_type in _RANDOM:
                raise BadModel(
                    f"operator {node.op_type} (node {node.name!r}) draws numbers that depend on no input: each side of "
                    "a cut would draw others; make them an input, or a constant"
                )
            constants.update(node.output)


_GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)
_SPARSE = (AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS)


def _vet_attribute(attribute: AttributeProto, what: str) -> None:
    if attribute.type in _SPARSE:
        raise BadModel(f"{what} holds a sparse tensor; store it dense")
    if attribute.HasField("t") and attribute.t.data_location == TensorProto.EXTERNAL:
        raise BadModel(f"{what} keeps its value in an external file; only initializers may")


def _vet_text(message: Message) -> None:
    """Every string must be text: protobuf lets any bytes through, and gives them back as bytes or as an error."""
    try:
        for field, value in _fields(message):
            many = value if field.is_repeated else (value,)
            if field.message_type is not None:
                for part in many:
                    _vet_text(part)
            elif field.type == FieldDescriptor.TYPE_STRING and not all(isinstance(text, str) for text in many):
                raise BadModel(f"not a valid ONNX model: a {field.name} is not text")
    except UnicodeDecodeError as error:
        raise BadModel("not a valid ONNX model: a name is not text") from error


def _fields(message: Message) -> Iterable[tuple[Any, Any]]:
    """The set fields; of a tensor only those with text, for reading its values would copy them."""
    if isinstance(message, TensorProto):
        return [(TensorProto.DESCRIPTOR.fields_by_name[n], getattr(message, n)) for n in _TENSOR_TEXT]
    return message.ListFields()


_TENSOR_TEXT = ("name", "doc_string", "external_data", "metadata_props")


def _vet_names(graph: onnx.GraphProto) -> None:
    names = [v.name for v in (*graph.input, *graph.output)] + [t.name for t in graph.initializer]
    names += [name for node in graph.node for name in (*node.input, *node.output)]
    longest = max(names, key=len)
    if len(longest) > LIMITS.name_chars:
        raise BadModel(f"a tensor's name has {len(longest):,} characters; {LIMITS.name_chars:,} is the limit")


def _first(names: Iterable[str]) -> str:
    return next(iter(names), "")


def _article(kind: str | None) -> str:
    return {None: "of no declared type", "sequence_type": "a sequence", "optional_type": "an optional value"}.get(
        kind, f"a {str(kind).removesuffix('_type').replace('_', ' ')}"
    )

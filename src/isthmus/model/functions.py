"""Local functions unfolded into the graph. How much comes of that is counted first: a few functions that each call the
one before twice are more nodes than any memory holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

import onnx
from onnx import inliner

from isthmus.errors import BadModel
from isthmus.model.limits import LIMITS
from isthmus.model.shapes import FOREIGN, first_line
from isthmus.model.vetting import STANDARD

_Key = tuple[str, str, str]


def unfolded(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the nodes of its functions where they are called. Raises BadModel where these call one another in
    a circle, where the result would be beyond the limits of nodes or bytes, and where one that is called imports other
    operator sets than the model."""
    if not proto.functions:
        return proto
    nodes, size = _size(proto)
    if nodes > LIMITS.nodes or size > LIMITS.graph_bytes:
        raise BadModel(
            "the model's local functions unfold into more than the limit: "
            f"{LIMITS.nodes:,} nodes, {LIMITS.graph_bytes:,} bytes"
        )
    try:
        made = inliner.inline_local_functions(proto)
    except FOREIGN as error:
        raise BadModel(f"the model's local functions cannot be unfolded: {first_line(error)}") from error
    _vet_left(made, proto)
    return made


def _vet_left(made: onnx.ModelProto, proto: onnx.ModelProto) -> None:
    """The inliner lets calls stand where a function imports another version of an operator set than the model does."""
    functions = {_key(f.domain, f.name, f.overload): f for f in proto.functions}
    for key in _called(made.graph.node):
        if key in functions:
            raise BadModel(
                f"the local function {functions[key].name!r} imports other operator sets ({_imports(functions[key])}) "
                f"than the model ({_imports(proto)}); export the model with the same ones throughout"
            )


def _imports(part: onnx.ModelProto | onnx.FunctionProto) -> str:
    return ", ".join(f"{o.domain or 'standard'} {o.version}" for o in part.opset_import)


def _size(proto: onnx.ModelProto) -> tuple[int, int]:
    """Nodes and bytes of the graph once all is unfolded; no number grows much beyond its limit."""
    bodies = {_key(f.domain, f.name, f.overload): f.node for f in proto.functions}
    calls = {key: Counter(_called(body)) for key, body in bodies.items()}
    try:
        order = tuple(TopologicalSorter({key: bodies.keys() & c.keys() for key, c in calls.items()}).static_order())
    except CycleError as error:
        raise BadModel("the model's local functions cannot be unfolded: they call one another in a circle") from error
    sizes: dict[_Key, tuple[int, int]] = {}
    for key in order:
        sizes[key] = _sum(bodies[key], calls[key], sizes)
    return _sum(proto.graph.node, Counter(_called(proto.graph.node)), sizes)


def _sum(nodes: Iterable[onnx.NodeProto], calls: Counter[_Key], sizes: dict[_Key, tuple[int, int]]) -> tuple[int, int]:
    """Nodes and bytes of a body, its calls replaced by what they call."""
    inner = [(sizes[key], count) for key, count in calls.items() if key in sizes]
    plain = sum(count for key, count in calls.items() if key not in sizes)
    count = plain + sum(count * size[0] for size, count in inner)
    held = sum(node.ByteSize() for node in nodes) + sum(count * size[1] for size, count in inner)
    return min(count, LIMITS.nodes + 1), min(held, LIMITS.graph_bytes + 1)


def _called(nodes: Iterable[onnx.NodeProto]) -> Iterator[_Key]:
    """What each node would call if it were a function, those inside control flow too."""
    for node in nodes:
        yield _key(node.domain, node.op_type, node.overload)
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _called(graph.node)


def _key(domain: str, name: str, overload: str) -> _Key:
    return "" if domain in STANDARD else domain, name, overload

"""Upwards to one operator set, with what onnx's converter leaves in the meaning of the new set put right."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, version_converter

from isthmus.errors import BadModel
from isthmus.model.fold import small_values
from isthmus.model.initializers import settle
from isthmus.model.shapes import FOREIGN, first_line
from isthmus.model.tidy import free_name, names_of
from isthmus.model.types import IR_VERSION, OPSET
from isthmus.model.vetting import opset_of

_PLACED = 11
"""From this operator set on, Resize says where its pixels lie; before, they lay at the scaled place itself."""
_ALONG = 13
"""From this one on, Hardmax looks along one axis; before, at rows of all axes from that one on."""


def converted(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model in `OPSET`, computing what it did; a newer one as it is, for the converter only climbs. Raises BadModel
    where the converter cannot."""
    opset = opset_of(proto)
    if opset >= OPSET:
        return proto
    try:
        proto = version_converter.convert_version(proto, OPSET)
    except FOREIGN as error:
        raise BadModel(f"cannot be converted from operator set {opset} to {OPSET}: {first_line(error)}") from error
    proto.ir_version = IR_VERSION
    for tensor in proto.graph.initializer:  # those that the converter adds are not raw data yet
        settle(tensor, None, weights=True)
    if opset < _ALONG:
        _restore(proto.graph, opset)
    return proto


def _restore(graph: onnx.GraphProto, opset: int) -> None:
    """Give the nodes whose meaning has changed the one that they had in `opset`; the converter turns every Upsample
    into a Resize."""
    taken, values = names_of(graph), small_values(graph)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "Hardmax":
            nodes += _by_rows(node, taken)
        elif node.op_type == "Resize" and opset < _PLACED:
            nodes += _unplaced(node, values, taken, only_larger=opset < _PLACED - 1)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _by_rows(node: onnx.NodeProto, taken: set[str]) -> list[onnx.NodeProto]:
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    shape, rows, chosen = (free_name(f"{node.output[0]}_{part}", taken) for part in ("shape", "rows", "chosen"))
    return [
        helper.make_node("Shape", node.input, [shape]),
        helper.make_node("Flatten", node.input, [rows], axis=axis),
        helper.make_node("Hardmax", [rows], [chosen], axis=-1),
        helper.make_node("Reshape", [chosen, shape], node.output),
    ]


def _unplaced(
    node: onnx.NodeProto, values: Mapping[str, NDArray[np.generic]], taken: set[str], *, only_larger: bool
) -> list[onnx.NodeProto]:
    """A Resize that takes the pixel at the scaled place. Where it lies between two, `nearest` takes the one before
    along an axis that grows and the one after along an axis that shrinks, as onnxruntime does (ONNX left it open)."""
    source, roi, scales = node.input
    known = values[scales].ravel().tolist() if scales in values else []
    if only_larger or _mode(node) != "nearest" or (known and min(known) >= 1):
        return [_resize(node, [source, roi, scales], node.output[0], "floor")]
    if known and max(known) <= 1:
        return [_resize(node, [source, roi, scales], node.output[0], "ceil")]
    one, less, more, small = (free_name(f"{node.output[0]}_{p}", taken) for p in ("one", "less", "more", "small"))
    return [
        helper.make_node("Constant", [], [one], value_float=1.0),
        helper.make_node("Min", [scales, one], [less]),
        helper.make_node("Max", [scales, one], [more]),
        _resize(node, [source, roi, less], small, "ceil"),
        _resize(node, [small, roi, more], node.output[0], "floor"),
    ]


def _mode(node: onnx.NodeProto) -> str:
    return next((a.s.decode() for a in node.attribute if a.name == "mode"), "nearest")


def _resize(node: onnx.NodeProto, inputs: list[str], output: str, nearest: str) -> onnx.NodeProto:
    return helper.make_node(
        "Resize",
        inputs,
        [output],
        mode=_mode(node),
        coordinate_transformation_mode="asymmetric",
        nearest_mode=nearest,
    )

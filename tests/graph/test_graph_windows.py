"""Kernel and strides of the nodes that slide a window."""

from __future__ import annotations

from typing import Any

import pytest
from onnx import NodeProto, TensorProto, helper

from isthmus.graph import Node, graph_of
from isthmus.model import model_from_proto

PLACES = [1, 8, 16, 16]


def node_of(node: NodeProto, weights: dict[str, list[int]]) -> Node:
    made = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, PLACES)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            helper.make_tensor(n, TensorProto.FLOAT, d, bytes(4 * d[0] * d[1] * d[2] * d[3]), True)
            for n, d in weights.items()
        ],
    )
    proto = helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    (found,) = graph_of(model_from_proto(proto, "one")).nodes
    return found


@pytest.mark.parametrize(
    ("attributes", "kernel", "strides"),
    [
        ({}, (5, 3), (1, 1)),
        ({"kernel_shape": [5, 3]}, (5, 3), (1, 1)),
        ({"strides": [2, 1]}, (5, 3), (2, 1)),
    ],
)
def test_a_convolution(attributes: dict[str, Any], kernel: tuple[int, ...], strides: tuple[int, ...]) -> None:
    """The kernel may be left out where the weights say it."""
    node = node_of(helper.make_node("Conv", ["x", "w"], ["y"], **attributes), {"w": [4, 8, 5, 3]})
    assert (node.kernel, node.strides) == (kernel, strides)


def test_a_pooling_and_what_slides_nothing() -> None:
    pooled = node_of(helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2]), {})
    assert (pooled.kernel, pooled.strides) == ((3, 3), (2, 2))
    plain = node_of(helper.make_node("Relu", ["x"], ["y"]), {})
    assert (plain.kernel, plain.strides) == ((), ())

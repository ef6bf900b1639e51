"""Convolutions and matrix products as products of matrices: by hand, and the sizes multiplied out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from isthmus.graph import Product, graph_of
from isthmus.model import load_model, model_from_proto

Shape = tuple[int, ...]


def product_of(node: NodeProto, inputs: dict[str, Shape], weights: dict[str, Shape]) -> Product | None:
    """The product of a network of one node."""
    stored = [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in weights.items()]
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "one", given, [answer], stored)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    (made,) = graph_of(model_from_proto(proto, "one")).nodes
    assert made.macs == (made.product.macs if made.product else 0)
    return made.product


@pytest.mark.parametrize(
    ("op", "attributes", "inputs", "weights", "expected"),
    [
        ("Conv", {"pads": [1, 1, 1, 1]}, {"x": (2, 3, 8, 8)}, {"w": (4, 3, 3, 3)}, Product(2 * 64, 4, 27)),
        ("Conv", {"group": 6}, {"x": (1, 6, 5, 5)}, {"w": (6, 1, 3, 3)}, Product(9, 1, 9, 6)),
        ("Conv", {"group": 2}, {"x": (1, 8, 5, 5)}, {"w": (6, 4, 1, 1)}, Product(25, 3, 4, 2)),
        ("ConvTranspose", {}, {"x": (1, 8, 5, 5)}, {"w": (8, 3, 2, 2)}, Product(25, 12, 8)),
        ("ConvTranspose", {"group": 2}, {"x": (1, 8, 5, 5)}, {"w": (8, 3, 2, 2)}, Product(25, 12, 4, 2)),
        ("Gemm", {"transB": 1}, {"x": (7, 10)}, {"w": (5, 10)}, Product(7, 5, 10)),
        ("Gemm", {"transA": 1}, {"x": (10, 7)}, {"w": (10, 5)}, Product(7, 5, 10)),
        ("MatMul", {}, {"x": (2, 7, 10)}, {"w": (10, 5)}, Product(14, 5, 10)),
        ("MatMul", {}, {"x": (2, 7, 10)}, {"w": (10,)}, Product(14, 1, 10)),
        ("MatMul", {}, {"x": (2, 3, 7, 10), "z": (2, 3, 10, 5)}, {}, Product(7, 5, 10, 6)),
        ("Relu", {}, {"x": (2, 7)}, {}, None),
    ],
)
def test_products_by_hand(
    op: str, attributes: dict[str, Any], inputs: dict[str, Shape], weights: dict[str, Shape], expected: Product
) -> None:
    node = helper.make_node(op, [*inputs, *weights], ["y"], **attributes)
    assert product_of(node, inputs, weights) == expected


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2", "efficientnet_v2_s"])
def test_every_network_has_one_product_for_each_node_that_multiplies(name: str) -> None:
    graph = graph_of(load_model(f"zoo:{name}", weights=False), batch=3)
    products = {n.op for n in graph.nodes if n.product}
    assert products == {"Conv", "Gemm"}
    assert all(n.product for n in graph.nodes if n.op in products)

"""Models of old operator sets compute what onnxruntime computes on the file as it is, before any conversion."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from model_protos import FLOAT, answers, proto_of
from onnx import TensorProto, helper, numpy_helper

from isthmus.model import model_from_proto

LINES, PICTURE, ODD = ("N", 3, 4), ("N", 2, 4, 6), ("N", 2, 5, 7)
POOL, ROUNDED_UP = (
    {"kernel_shape": [3, 3], "pads": [1] * 4},
    {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1},
)
CASES: list[tuple[str, tuple[Any, ...], range, dict[str, Any]]] = [
    *[(op, LINES, range(7, 14), {"axis": a}) for op in ("Hardmax", "Softmax", "LogSoftmax") for a in (0, 1, 2)],
    *[(op, LINES, range(7, 14), {}) for op in ("Hardmax", "Softmax", "LogSoftmax")],
    *[(op, LINES, range(11, 14), {"axis": -2}) for op in ("Hardmax", "Softmax", "LogSoftmax")],
    *[("Pad", PICTURE, range(7, 11), {"mode": m, "pads": [0, 0, 1, 2, 0, 0, 2, 1]}) for m in ("reflect", "edge")],
    ("Pad", PICTURE, range(7, 11), {"pads": [0, 0, 1, 0, 0, 0, 0, 3], "value": 0.5}),
    ("Dropout", PICTURE, range(7, 12), {"ratio": 0.3}),
    ("Clip", PICTURE, range(7, 11), {"min": -0.3}),
    ("Clip", PICTURE, range(7, 11), {"min": -0.3, "max": 0.4}),
    ("Slice", PICTURE, range(7, 10), {"starts": [1, -4], "ends": [9, -1], "axes": [2, 3]}),
    ("Squeeze", ("N", 1, 4), range(7, 13), {"axes": [1]}),
    ("Unsqueeze", LINES, range(7, 13), {"axes": [3, 1]}),
    *[(op, LINES, range(7, 13), {"axes": [1]}) for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceL2")],
    *[("AveragePool", ODD, range(7, 14), {**POOL, "count_include_pad": i}) for i in (0, 1)],
    *[(p, ODD, range(10, 14), ROUNDED_UP) for p in ("AveragePool", "MaxPool")],
    *[("Upsample", ODD, range(7, 9), {"mode": m, "scales": [1.0, 1.0, *s]}) for m in ("nearest", "linear")
      for s in ((2.0, 2.0), (1.5, 2.5), (1.3, 2.7))],
]  # fmt: skip


@pytest.mark.parametrize(
    ("op", "shape", "opset", "settings"),
    [(op, shape, opset, settings) for op, shape, opsets, settings in CASES for opset in opsets],
)
def test_what_a_node_of_an_old_operator_set_computes(
    op: str, shape: tuple[Any, ...], opset: int, settings: dict[str, Any]
) -> None:
    the_same(helper.make_node(op, ["x"], ["q"], **settings), shape, opset)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(
    ("opset", "scales"),
    [(o, s) for o in (9, 10) for s in ((2, 2), (1.5, 2.5), (1.3, 2.7))]
    + [(10, s) for s in ((0.5, 0.7), (0.7, 0.7), (0.7, 1.3), (2.7, 0.5))],
)
def test_what_a_resize_of_an_old_operator_set_computes(mode: str, opset: int, scales: tuple[float, float]) -> None:
    factors = numpy_helper.from_array(np.array([1, 1, *scales], np.float32), "s")
    the_same(
        helper.make_node("Upsample" if opset == 9 else "Resize", ["x", "s"], ["q"], mode=mode), ODD, opset, factors
    )


def test_a_resize_of_an_old_operator_set_whose_scales_are_computed() -> None:
    for wanted in (10, 2):
        size = numpy_helper.from_array(np.array([2, 2, wanted, 1], np.float32), "wanted")
        divide = helper.make_node("Div", ["wanted", "size"], ["s"])
        nodes = [helper.make_node("Shape", ["x"], ["n"]), helper.make_node("Cast", ["n"], ["size"], to=FLOAT), divide]
        the_same(helper.make_node("Resize", ["x", "s"], ["q"]), (2, 2, 5, 4), 10, size, before=nodes)


@pytest.mark.parametrize("opset", range(7, 14))
def test_what_a_normalisation_of_an_old_operator_set_computes(opset: int) -> None:
    parts = [numpy_helper.from_array(np.array([1 + i, 2], np.float32), f"p{i}") for i in range(4)]
    node = helper.make_node("BatchNormalization", ["x", "p0", "p1", "p2", "p3"], ["q"], epsilon=0.1)
    the_same(node, PICTURE, opset, *parts)


@pytest.mark.parametrize("opset", range(7, 14))
def test_the_largest_of_an_old_operator_set(opset: int) -> None:
    count = numpy_helper.from_array(np.array([2], np.int64), "k")
    if opset < 10:
        the_same(helper.make_node("TopK", ["x"], ["q", "places"], axis=2, k=2), LINES, opset)
    else:
        the_same(helper.make_node("TopK", ["x", "k"], ["q", "places"], axis=2), LINES, opset, count)


def test_pads_of_an_old_operator_set_are_in_the_fingerprint() -> None:
    prints = set()
    for pad in (1, 2, 3):
        node = helper.make_node("Pad", ["x"], ["y"], pads=[0, 0, 0, pad])
        prints.add(model_from_proto(proto_of([node], opset=9, ir=4), "m").fingerprint)
    assert len(prints) == 3


def the_same(
    node: onnx.NodeProto,
    shape: tuple[Any, ...],
    opset: int,
    *weights: onnx.TensorProto,
    before: list[onnx.NodeProto] | None = None,
) -> None:
    nodes = [*(before or []), node, helper.make_node("Neg", ["q"], ["y"])]
    open_shape = helper.make_tensor_value_info("x", FLOAT, shape)
    output = onnx.ValueInfoProto(name="y")
    output.type.tensor_type.elem_type = TensorProto.FLOAT
    proto = proto_of(nodes, inputs=[open_shape], outputs=[output], weights=list(weights), opset=opset, ir=4)
    model = model_from_proto(proto, "m")
    for batch in (1, 2):
        if batch == 1 or model.dynamic_batch:
            x = model.random_inputs(batch)
            np.testing.assert_allclose(answers(model, x)[0], answers(proto, x)[0], rtol=1e-5, atol=1e-5)

"""Shapes, multiply-accumulates, parameters: against hand calculation and the published figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from isthmus.errors import BadInput, BadModel
from isthmus.graph import bottlenecks, graph_of
from isthmus.model import Model, load_model, model_from_proto


def small_model(shape: tuple[int | None, ...] | None = None) -> Model:
    """conv 3→4 (3×3, stride 2), relu, a constant chain for a Reshape target, matmul 64→5, one dead node."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal((4, 3, 3, 3)).astype(np.float32), "w"),
        numpy_helper.from_array(np.zeros(4, np.float32), "b"),
        numpy_helper.from_array(rng.standard_normal((64, 5)).astype(np.float32), "m"),
        numpy_helper.from_array(np.array([-1], np.int64), "minus"),
        numpy_helper.from_array(np.array([64], np.int64), "flat"),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Concat", ["minus", "flat"], ["target"], axis=0),
        helper.make_node("Reshape", ["r", "target"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["y"]),
        helper.make_node("Sigmoid", ["c"], ["dead"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        weights,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return model_from_proto(proto, "small", shapes=None if shape is None else {"x": shape})


def test_a_small_net_by_hand() -> None:
    graph = graph_of(small_model(), batch=2)
    assert [n.op for n in graph.nodes] == ["Conv", "Relu", "Reshape", "MatMul"]
    assert graph.tensors["c"].shape == (2, 4, 4, 4)
    assert graph.tensors["f"].shape == (2, 64)
    assert [n.macs for n in graph.nodes] == [2 * 64 * 27, 0, 0, 2 * 5 * 64]
    assert graph.parameters == 4 * 27 + 4 + 64 * 5
    assert graph.input_bytes == 2 * 3 * 64 * 4
    assert graph.nodes[0].weight_bytes == 4 * (4 * 27 + 4)


def test_a_fixed_batch_is_kept() -> None:
    fixed = small_model((1, 3, 8, 8))
    assert graph_of(fixed).batch == 1
    with pytest.raises(BadInput, match="takes a batch of 1, not 4"):
        graph_of(fixed, batch=4)
    four = graph_of(small_model((4, 3, 8, 8)))
    assert (four.batch, four.tensors["c"].shape) == (4, (4, 4, 4, 4))
    for batch in (0, 65_537, 2.0, "1", None, True):
        wrong: Any = batch
        with pytest.raises(BadInput, match=f"^a batch holds 1 to 65536 samples, not {batch!r}$"):
            graph_of(small_model(), batch=wrong)


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("zoo:resnet50", 25.5, 4.1),
        ("zoo:mobilenet_v2", 3.5, 0.30),
        ("zoo:efficientnet_b0", 5.3, 0.39),
        ("zoo:vgg16", 138.4, 15.5),
        ("zoo:alexnet", 61.1, 0.71),
        ("zoo:resnet18", 11.7, 1.81),
    ],
)
def test_published_sizes(name: str, parameters: float, macs: float) -> None:
    graph = graph_of(load_model(name, weights=False))
    assert graph.parameters / 1e6 == pytest.approx(parameters, rel=0.01)
    assert graph.macs / 1e9 == pytest.approx(macs, rel=0.02)


def test_shapes_only_and_with_weights_give_the_same_graph() -> None:
    bare, full = (graph_of(load_model("zoo:tiny", weights=w)) for w in (False, True))
    assert bare == full


def test_ratios_of_bottlenecks_fall_strictly_where_compressive() -> None:
    graph = graph_of(load_model("zoo:mobilenet_v2", weights=False))
    found = bottlenecks(graph, "narrow")
    ratios = [b.ratio for b in found if b.compressive]
    assert ratios == sorted(ratios, reverse=True)
    assert len(set(ratios)) == len(ratios)
    assert all(b.natural == (b.ratio < 1) for b in found)
    assert any(b.natural and not b.compressive for b in found)
    by_hand = 1280 * 7 * 7 / (3 * 224 * 224)
    assert any(b.ratio == pytest.approx(by_hand) for b in found)


def test_what_only_says_how_a_node_computes_is_no_parameter() -> None:
    """Scales of a Resize, one made of two constants, those of quantised weights a channel each: bytes, but not learnt.
    A vector that a Mul reads too is."""
    vectors = {"one": [1, 1], "two": [2, 2], "both": [1, 1, 2, 2], "scale": [0.1, 0.2, 0.3]}
    weights = [numpy_helper.from_array(np.array(v, np.float32), k) for k, v in vectors.items()]
    weights += [
        numpy_helper.from_array(np.ones((3, 3, 1, 1), np.int8), "stored"),
        numpy_helper.from_array(np.zeros(3, np.int8), "zero"),
        numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "gain"),
    ]
    nodes = [
        helper.make_node("DequantizeLinear", ["stored", "scale", "zero"], ["w"], axis=0),
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Mul", ["c", "gain"], ["g"]),
        helper.make_node("Resize", ["g", "", "both"], ["r"], mode="nearest"),
        helper.make_node("Concat", ["one", "two"], ["scales"], axis=0),
        helper.make_node("Resize", ["r", "", "scales"], ["y"], mode="nearest"),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3, side, side])
        for name, side in (("x", 4), ("y", 16))
    ]
    graph = helper.make_graph(nodes, "resized", ends[:1], ends[1:], weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    found = graph_of(model_from_proto(proto, "resized"))
    assert {n.op: n.parameters for n in found.nodes} == {"Conv": 9, "Mul": 3, "Resize": 0}
    assert found.tensors["y"].shape == (1, 3, 16, 16)
    assert sum(n.weight_bytes for n in found.nodes if n.op == "Resize") == 4 * (4 + 2 + 2)
    assert next(n for n in found.nodes if n.op == "Conv").weight_bytes == 9 + 3 * 4 + 3


def test_a_network_that_reads_no_input_has_nothing_to_cut() -> None:
    node = helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(np.ones((1, 4), np.float32)))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    opset = [helper.make_opsetid("", 21)]
    proto = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:]), ir_version=10, opset_imports=opset)
    with pytest.raises(BadModel, match="output 'y' of same depends on no input"):
        graph_of(model_from_proto(proto, "same"))


def test_an_output_that_depends_on_no_input_is_named() -> None:
    """Whoever answered requests with it left it out in one place and gave it in another."""
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Sqrt", ["k"], ["z"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xy")
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, [2])
    weights = [numpy_helper.from_array(np.ones(2, np.float32), "k")]
    opset = [helper.make_opsetid("", 21)]
    proto = helper.make_model(helper.make_graph(nodes, "g", [x], [y, z], weights), ir_version=10, opset_imports=opset)
    with pytest.raises(BadModel, match="output 'z' of two depends on no input, so it never changes; remove it"):
        graph_of(model_from_proto(proto, "two"))

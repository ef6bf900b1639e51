"""Blocks found from the graph alone against those the zoo records; both readings of a bottleneck's size."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest
from onnx import TensorProto, helper

from isthmus.graph import Graph, block_cuts, bottlenecks, describe, graph_of
from isthmus.graph.bottlenecks import picture_bytes
from isthmus.model import ZOO, load_model, model_from_proto

RESIDUAL = [n for n in ZOO if n.startswith(("resnet", "mobilenet", "efficientnet"))] + ["googlenet"]
PLAIN_FIRST = ("efficientnet_v2_b0", "efficientnet_v2_b1", "efficientnet_v2_b2", "efficientnet_v2_b3")
"""Their first block is one activated convolution without a way past it: nothing tells it from the stem."""


def unrecorded(name: str) -> tuple[Graph, list[str]]:
    """A zoo network as if nobody had recorded its blocks, and the blocks."""
    graph = graph_of(load_model(f"zoo:{name}", weights=False))
    return replace(graph, blocks=()), list(graph.blocks)


@pytest.mark.parametrize("name", RESIDUAL)
def test_found_from_the_graph_are_the_recorded_ones(name: str) -> None:
    graph, recorded = unrecorded(name)
    missed = ["mul_5"] if name in PLAIN_FIRST else []
    assert [c.id for c in block_cuts(graph)] == [b for b in recorded if b not in missed]
    if missed:  # it is larger than the input, so the counts of bottlenecks do not change
        assert graph.tensors["mul_5"].elements > graph.tensors["input"].elements


@pytest.mark.parametrize("name", ["digits", "alexnet", "vgg16"])
def test_chains_have_no_blocks_that_a_graph_shows(name: str) -> None:
    graph, _ = unrecorded(name)
    assert block_cuts(graph) == ()
    assert bottlenecks(graph, "block") == ()


def net(nodes: list[onnx.NodeProto], shape: tuple[int, ...] = (1, 4, 8, 8)) -> Graph:
    """A graph from x to y with one 1×1 convolution weight for 4 channels."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, (4, 4, 1, 1), [0.1] * 16)
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("x", "y")]
    proto = helper.make_model(
        helper.make_graph(nodes, "net", values[:1], values[1:], [weight]),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    return graph_of(model_from_proto(proto, "net"))


def conv(x: str, y: str) -> onnx.NodeProto:
    return helper.make_node("Conv", [x, "w"], [y])


def op(kind: str, inputs: list[str], y: str) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [y])


def silu(x: str, y: str) -> list[onnx.NodeProto]:
    return [op("Sigmoid", [x], f"{y}_s"), op("Mul", [x, f"{y}_s"], y)]


def test_the_activation_right_after_a_join_belongs_to_the_block_a_later_one_does_not() -> None:
    join = [conv("x", "a"), *silu("a", "b"), conv("b", "c"), op("Add", ["b", "c"], "d")]
    after = [*silu("d", "e"), conv("e", "f"), op("Relu", ["f"], "g"), conv("g", "h"), op("Relu", ["h"], "y")]
    assert [c.id for c in block_cuts(net([*join, *after]))] == ["e"]


def test_a_gate_and_an_activation_of_several_operators_are_no_joins() -> None:
    gate = [op("GlobalAveragePool", ["b"], "p"), conv("p", "q"), op("Sigmoid", ["q"], "r"), op("Mul", ["b", "r"], "s")]
    found = block_cuts(net([conv("x", "a"), *silu("a", "b"), *gate, op("Relu", ["s"], "t"), conv("t", "y")]))
    assert found == ()


def test_recorded_names_that_do_not_cut_the_network_in_two_are_left_out() -> None:
    nodes = [conv("x", "a"), op("Relu", ["a"], "b"), conv("b", "c"), op("Add", ["b", "c"], "d"), op("Relu", ["d"], "y")]
    graph = net(nodes)
    assert [c.id for c in block_cuts(replace(graph, blocks=("c", "b")))] == ["b"]
    assert [c.id for c in block_cuts(replace(graph, blocks=("c",)))] == ["d"]


def test_both_readings_of_a_ratio() -> None:
    """EfficientNet-B0: a quarter of the elements as float32 is exactly as many bytes as the 8-bit picture."""
    found = {b.cut.id: b for b in bottlenecks(graph_of(load_model("zoo:efficientnet_b0", weights=False), 4), "block")}
    for bottleneck in found.values():
        assert bottleneck.byte_ratio == pytest.approx(bottleneck.ratio)
        assert bottleneck.picture_ratio == pytest.approx(4 * bottleneck.ratio)
    assert found["conv_27"].compressive
    assert found["conv_27"].picture_ratio == pytest.approx(2.0)
    assert found["conv_173"].picture_ratio == pytest.approx(0.25)


def test_a_picture_is_four_dimensional_with_one_or_three_channels() -> None:
    sides = {"a": (2, 3, 5, 7), "b": (2, 5, 7, 1), "c": (2, 4, 5, 7), "d": (2, 3)}
    counts = {k: picture_bytes(net([op("Relu", ["x"], "y")], shape)) for k, shape in sides.items()}
    assert counts == {"a": 210, "b": 70, "c": None, "d": None}
    no_picture = describe(net([op("Relu", ["x"], "z"), op("Relu", ["z"], "y")], (2, 3)), "narrow")
    assert (no_picture.natural_bytes_count, no_picture.compressive_bytes_count) == (None, None)
    assert no_picture.cuts[0].picture_ratio is None


def test_bytes_by_codec_are_those_of_all_crossing_tensors_and_absent_where_one_cannot_be_written() -> None:
    graph = graph_of(load_model("zoo:resnet18", weights=False))
    told = describe(graph, "node", codecs={"halved": lambda t: t.bytes // 2, "never": lambda t: None})
    assert any(len(c.tensors) > 1 for c in told.cuts)
    assert all(c.codec_bytes == {"halved": c.bytes // 2} for c in told.cuts)
    assert told.input_codec_bytes == {"halved": graph.input_bytes // 2}

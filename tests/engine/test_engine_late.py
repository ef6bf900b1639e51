"""What is made of constants stands right before its first reader, and nothing else changes its place."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from isthmus.engine.few_bits import made_late
from isthmus.engine.heap import give_back


def _graph(nodes: list[onnx.NodeProto], outputs: list[str]) -> onnx.GraphProto:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", *outputs)]
    weights = [helper.make_tensor(name, TensorProto.FLOAT, [4], [1, 2, 3, 4]) for name in ("v", "w")]
    return helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)


def test_constants_are_widened_right_before_they_are_read() -> None:
    nodes = [
        helper.make_node("Neg", ["w"], ["late"]),
        helper.make_node("Abs", ["late"], ["later"]),
        helper.make_node("Neg", ["v"], ["soon"]),
        helper.make_node("Exp", ["v"], ["answer"]),
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Add", ["a", "soon"], ["b"]),
        helper.make_node("Mul", ["b", "later"], ["c"]),
        helper.make_node("Add", ["c", "soon"], ["d"]),
    ]
    graph = _graph(nodes, ["d", "answer"])
    made_late(graph)
    assert [node.output[0] for node in graph.node] == ["a", "soon", "b", "late", "later", "c", "d", "answer"]
    assert sorted(n.SerializeToString() for n in graph.node) == sorted(n.SerializeToString() for n in nodes)
    onnx.checker.check_graph(graph)


def test_graphs_within_nodes_leave_the_order_alone() -> None:
    inner = helper.make_graph(
        [helper.make_node("Neg", ["n"], ["i"])], "i", [], [helper.make_tensor_value_info("i", TensorProto.FLOAT, [4])]
    )
    nodes = [
        helper.make_node("Neg", ["w"], ["n"]),
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("If", ["a"], ["d"], then_branch=inner, else_branch=inner),
    ]
    graph = _graph(nodes, ["d"])
    made_late(graph)
    assert [node.output[0] for node in graph.node] == ["n", "a", "d"]


def test_memory_is_given_back_without_a_word() -> None:
    give_back()
    give_back()

"""A graph with one node a layer: nothing counted twice, nothing lost, every cut still the same cut."""

from __future__ import annotations

import pytest

from isthmus.graph import INPUT, OUTPUT, Graph, Node, Tensor, cut_at, fused_graph, graph_of, prefix_cuts
from isthmus.model import load_model


def graph(nodes: list[Node], outputs: tuple[str, ...]) -> Graph:
    names = {"x", *(t for n in nodes for t in n.outputs)}
    tensors = {name: Tensor(name, (1, 4), "float32", 4) for name in names}
    return Graph("drawn", 1, tuple(nodes), tensors, ("x",), outputs)


def node(name: str, op: str, *reads: str, macs: int = 0, parameters: int = 0) -> Node:
    return Node(name, op, reads, (name,), macs, parameters, 4 * parameters)


def shown(found: Graph) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(n.name, n.op, n.inputs) for n in found.nodes]


def test_a_layer_takes_up_its_bias_its_activation_and_a_view() -> None:
    drawn = graph(
        [
            node("c", "Conv", "x", macs=10, parameters=3),
            node("b", "Add", "c", parameters=2),
            node("r", "Relu", "b"),
            node("f", "Flatten", "r"),
            node("m", "MatMul", "f", macs=5, parameters=4),
        ],
        ("m",),
    )
    found = fused_graph(drawn)
    assert shown(found) == [("f", "Conv", ("x",)), ("m", "MatMul", ("f",))]
    assert [n.whole for n in found.nodes] == [("c", "b", "r", "f"), ("m",)]
    assert (found.macs, found.parameters, found.nodes[0].weight_bytes) == (drawn.macs, drawn.parameters, 20)
    assert set(found.tensors) == {"x", "f", "m"}


def test_what_others_read_or_want_is_not_hidden() -> None:
    read_twice = [node("c", "Conv", "x"), node("r", "Relu", "c"), node("a", "Add", "r", "c")]
    assert len(fused_graph(graph(read_twice, ("a",))).nodes) == 3
    wanted = [node("c", "Conv", "x"), node("r", "Relu", "c")]
    assert len(fused_graph(graph(wanted, ("c", "r"))).nodes) == 2
    assert len(fused_graph(graph(wanted, ("r",))).nodes) == 1


def test_a_sum_of_two_layers_is_a_layer_with_its_activation() -> None:
    drawn = [node("c", "Conv", "x"), node("d", "Conv", "c"), node("s", "Add", "d", "c"), node("r", "Relu", "s")]
    assert shown(fused_graph(graph(drawn, ("r",)))) == [
        ("c", "Conv", ("x",)),
        ("d", "Conv", ("c",)),
        ("r", "Add", ("d", "c")),
    ]


@pytest.mark.parametrize("order", [("c", "g"), ("g", "c")])
def test_a_value_times_its_own_gate_is_an_activation(order: tuple[str, str]) -> None:
    drawn = [node("c", "Conv", "x"), node("g", "Sigmoid", "c"), node("m", "Mul", *order)]
    assert shown(fused_graph(graph(drawn, ("m",)))) == [("m", "Conv", ("x",))]


def test_mish_is_an_activation_and_a_gate_of_another_tensor_is_none() -> None:
    mish = [node("c", "Conv", "x"), node("s", "Softplus", "c"), node("t", "Tanh", "s"), node("m", "Mul", "c", "t")]
    assert shown(fused_graph(graph(mish, ("m",)))) == [("m", "Conv", ("x",))]
    scaled = [node("c", "Conv", "x"), node("d", "Conv", "c"), node("g", "Sigmoid", "d"), node("m", "Mul", "c", "g")]
    assert shown(fused_graph(graph(scaled, ("m",)))) == [
        ("c", "Conv", ("x",)),
        ("g", "Conv", ("c",)),
        ("m", "Mul", ("c", "g")),
    ]


def test_an_input_finished_by_an_activation_is_no_layer_before_the_input() -> None:
    assert shown(fused_graph(graph([node("r", "Relu", "x"), node("c", "Conv", "r")], ("c",)))) == [
        ("r", "Relu", ("x",)),
        ("c", "Conv", ("r",)),
    ]


@pytest.mark.parametrize("name", ["zoo:mobilenet_v2", "zoo:googlenet", "zoo:efficientnet_b0", "zoo:b_alexnet"])
def test_every_cut_of_the_layers_is_the_same_cut_of_the_operators(name: str) -> None:
    plain = graph_of(load_model(name, weights=False))
    found = fused_graph(plain)
    assert (found.macs, found.parameters) == (plain.macs, plain.parameters)
    assert len(found.nodes) < 0.8 * len(plain.nodes)
    assert sorted(p for n in found.nodes for p in n.whole) == sorted(n.name for n in plain.nodes)
    for cut in prefix_cuts(found):
        wanted = {p for i in cut.head for p in found.nodes[i].whole}
        if cut.id in (INPUT, OUTPUT):
            continue
        there = cut_at(plain, cut.id)
        assert there.crossing == cut.crossing
        assert {plain.nodes[i].name for i in there.head} >= wanted

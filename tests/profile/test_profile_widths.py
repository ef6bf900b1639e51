"""Seconds of layers whose numbers have widths of their own: against one width for all, and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isthmus.errors import BadInput
from isthmus.graph import INPUT, OUTPUT, Graph, cut_at, fused_graph, graph_of
from isthmus.model import load_model
from isthmus.profile import Times
from isthmus.profile.devices import computed_profile, node_seconds, shipped
from isthmus.profile.devices.widths import WidthWork
from isthmus.quant.types import BitPlan


@pytest.fixture(scope="module")
def graph() -> Graph:
    return graph_of(load_model("zoo:resnet18", weights=False), 1)


def all_at(graph: Graph, bits: int) -> BitPlan:
    """Every layer and every tensor at one width."""
    return BitPlan(weights={n.name: bits for n in fused_graph(graph).nodes}, outputs=dict.fromkeys(graph.tensors, bits))


@pytest.mark.parametrize("device", ["eyeriss", "tpu", "raspberry_pi_4"])
@pytest.mark.parametrize("bits", [2, 8, 16])
def test_one_width_for_all_is_the_profile_at_that_width(graph: Graph, device: str, bits: int) -> None:
    work = WidthWork(shipped()[device], graph)
    expected = node_seconds(work.device, work.work, bits, bits)
    np.testing.assert_allclose(work.node_s(*work.row(all_at(graph, bits))), expected, rtol=1e-12)


def test_each_tensor_moves_at_its_own_width(graph: Graph) -> None:
    """A device without arithmetic to speak of: seconds are bits over the bandwidth."""
    device = shipped()["eyeriss"].model_copy(update={"clock_hz": 1e18})
    work = WidthWork(device, graph)
    plan = BitPlan(weights={"relu_1": 4}, outputs={"input": 8, "relu_1": 2, "maxpool_2": 6})
    seconds = work.node_s(*work.row(plan)) * 8 * device.bandwidth_bytes_per_s
    sizes = {name: t.elements for name, t in graph.tensors.items()}
    at = {node.name: i for i, node in enumerate(graph.nodes)}
    conv = graph.nodes[at["conv_0"]]
    assert seconds[at["conv_0"]] == pytest.approx(conv.parameters * 4 + sizes["input"] * 8 + sizes["relu_1"] * 2)
    assert seconds[at["relu_1"]] == 0
    assert seconds[at["maxpool_2"]] == pytest.approx(sizes["relu_1"] * 2 + sizes["maxpool_2"] * 6)
    first = graph.nodes[at["conv_3"]]  # nobody names what it makes: 16 bits
    joined = next(i for i, names in enumerate(work.work.inputs) if len(names) == 2)
    one, two = work.work.inputs[joined]
    mixed = work.node_s(*work.row(BitPlan(outputs={one: 2, two: 8, work.work.outputs[joined][0]: 4})))
    moved = (
        graph.nodes[joined].parameters * 16 + sizes[one] * 2 + sizes[two] * 8 + sizes[work.work.outputs[joined][0]] * 4
    )
    assert mixed[joined] * 8 * device.bandwidth_bytes_per_s == pytest.approx(moved)
    assert seconds[at["conv_3"]] == pytest.approx(first.parameters * 16 + sizes["maxpool_2"] * 6 + sizes["relu_4"] * 16)


def test_many_widths_at_once_are_each_of_them(graph: Graph) -> None:
    work = WidthWork(shipped()["eyeriss"], graph)
    rows = [work.row(all_at(graph, b)) for b in (2, 4, 8)]
    together = work.node_s(np.stack([w for w, _ in rows]), np.stack([t for _, t in rows]))
    for one, row in zip(together, rows, strict=True):
        np.testing.assert_array_equal(one, work.node_s(*row))


def test_times_ask_the_device_where_it_is_known_and_scale_elsewhere(graph: Graph) -> None:
    device = shipped()["eyeriss"]
    profile = computed_profile(device, [graph], "f" * 64, taken="2026-01-01", bits=8)
    ends = cut_at(graph, INPUT), cut_at(graph, OUTPUT)
    plain = Times(profile, graph, factor=3.0)
    known = Times(profile, graph, factor=3.0, work=WidthWork(device, graph))
    assert replace(known, bits=all_at(graph, 8)).part_s(*ends) == pytest.approx(plain.part_s(*ends), rel=1e-12)
    assert replace(known, bits=BitPlan()).part_s(*ends) > plain.part_s(*ends)
    assert sum(replace(known, bits=BitPlan()).nodes_s()) == pytest.approx(
        replace(known, bits=BitPlan()).part_s(*ends), rel=1e-12
    )
    measured = replace(plain, narrow=0.35)
    assert measured.part_s(*ends) == plain.part_s(*ends)
    assert replace(measured, bits=BitPlan()).part_s(*ends) == plain.part_s(*ends)
    assert replace(measured, bits=all_at(graph, 4)).part_s(*ends) == pytest.approx(0.35 * plain.part_s(*ends))
    with pytest.raises(BadInput, match="measured at one width"):
        measured.widths_s([0], 8, 8)


def test_work_follows_the_graph(graph: Graph) -> None:
    """Times of another batch size are asked with the work of the first."""
    device = shipped()["eyeriss"]
    four = graph_of(load_model("zoo:resnet18", weights=False), 4)
    profile = computed_profile(device, [graph, four], "f" * 64, taken="2026-01-01")
    times = Times(profile, graph, work=WidthWork(device, graph), bits=all_at(graph, 8))
    ends = cut_at(four, INPUT), cut_at(four, OUTPUT)
    assert replace(times, graph=four).part_s(*ends) == pytest.approx(Times(profile, four).part_s(*ends), rel=1e-12)

"""What a process was planned to hold for a part, against processes that load and run it."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from isthmus.bundle.few_bits import bare
from isthmus.codec import write_head
from isthmus.engine.few_bits import ready_part
from isthmus.engine.footprint import held_bytes
from isthmus.engine.instructions import has_vnni
from isthmus.engine.store import default_folder
from isthmus.graph import OUTPUT, Graph, cut_at, fused_graph, graph_of, narrow_cuts
from isthmus.model import Model, fused, load_model
from isthmus.plan.held import held
from isthmus.profile import RuntimeMemory
from isthmus.profile.runtime_memory import made_up_tables, measure_runtime_memory
from isthmus.quant import BitPlan, quantised_head

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.machine() not in ("x86_64", "AMD64"),
    reason="what a process holds is told by Linux, and planned for the kernels of x86-64",
)
TOLERANCE = 0.12
SLACK_BYTES = 250_000
"""Kernels of a small part are planned by what is usual."""


def widths(graph: Graph, weights: int, tensors: int) -> BitPlan:
    layers = fused_graph(graph).nodes
    return BitPlan(
        weights={node.name: weights for node in layers if node.product is not None},
        outputs={name: tensors for node in layers for name in node.outputs},
    )


def measured(net: Model, cut_id: str, bits: BitPlan, folder: Path) -> int | None:
    cut = cut_at(graph_of(net), cut_id)
    early = tuple(s.name for s in net.outputs) if cut_id == OUTPUT else ()
    write_head(folder / "part", quantised_head(net, cut.crossing, bits, made_up_tables(net, (4, 8)), early=early))
    (folder / "shapes.onnx").write_bytes(bare(net).SerializeToString())
    ready_part(folder / "part", default_folder(), 1)
    return held_bytes(folder / "part", folder / "shapes.onnx")


@pytest.mark.parametrize(
    ("name", "until", "weights", "tensors"),
    [
        ("zoo:mobilenet_v2", 0.3, 8, 8),
        ("zoo:mobilenet_v2", 0.6, 4, 8),
        ("zoo:mobilenet_v2", 0.6, 8, 16),
        ("zoo:digits", 1.0, 4, 8),
    ],
)
def test_a_process_holds_what_was_planned(name: str, until: float, weights: int, tensors: int, tmp_path: Path) -> None:
    net = fused(load_model(name))
    graph = graph_of(net)
    made = {t for node in fused_graph(graph).nodes for t in node.outputs}
    places = [cut.id for cut in narrow_cuts(graph) if set(cut.crossing) <= made and len(cut.crossing) == 1]
    cut_id = OUTPUT if until == 1 else places[int(len(places) * until)]
    bits = widths(graph, weights, tensors)
    took = measured(net, cut_id, bits, tmp_path)
    if took is None:
        pytest.skip("this system does not tell how much memory a process holds")
    planned = held(graph, cut_at(graph, cut_id), bits, RuntimeMemory(signed=has_vnni())).total_bytes
    assert abs(took - planned) <= TOLERANCE * planned + (SLACK_BYTES if planned < 2_000_000 else 0)


@pytest.mark.slow
def test_what_the_runtime_keeps_can_be_measured() -> None:
    found = measure_runtime_memory()
    if found is None:
        pytest.skip("this system does not tell how much memory a process holds")
    usual = RuntimeMemory()
    assert usual.product_bytes / 3 < found.product_bytes < usual.product_bytes * 3
    assert usual.other_bytes / 3 < found.other_bytes < usual.other_bytes * 3
    assert found.signed == has_vnni()

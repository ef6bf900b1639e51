"""What the file of a part of few bits was planned to take, against the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.codec import write_head
from isthmus.graph import OUTPUT, cut_at, fused_graph, graph_of, narrow_cuts
from isthmus.model import fused, load_model
from isthmus.plan.needs import needs
from isthmus.profile.runtime_memory import made_up_tables
from isthmus.quant import BitPlan, quantised_head


@pytest.mark.parametrize(("weights", "tensors"), [(2, 4), (4, 8), (8, 8)])
@pytest.mark.parametrize(
    ("name", "until"),
    [("zoo:tiny", 1.0), ("zoo:digits", 0.3), ("zoo:digits", 1.0), ("zoo:mobilenet_v2", 0.2), ("zoo:mobilenet_v2", 0.6)],
)
def test_a_file_takes_what_was_planned(name: str, until: float, weights: int, tensors: int, tmp_path: Path) -> None:
    net = fused(load_model(name))
    graph, tables = graph_of(net), made_up_tables(net, (2, 4, 8))
    narrow = narrow_cuts(graph)
    cut = cut_at(graph, OUTPUT) if until == 1.0 else narrow[int(until * len(narrow))]
    layers = fused_graph(graph).nodes
    bits = BitPlan(
        weights={node.name: weights for node in layers if node.product is not None},
        outputs={made: tensors for node in layers for made in node.outputs},
    )
    early = tuple(s.name for s in net.outputs) if cut.id == OUTPUT else ()
    size = write_head(tmp_path / "part", quantised_head(net, cut.crossing, bits, tables, early=early))
    found = needs(graph, tables, cut, bits)
    assert size == pytest.approx(found.file_bytes, rel=0.1)
    assert found.weight_bytes < found.file_bytes

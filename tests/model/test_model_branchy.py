"""Networks with side branches, written straight as ONNX: Edgent's counts of layers, published sizes, running order."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from isthmus.graph import Graph, at_exit, graph_of
from isthmus.model import load_model
from isthmus.model.zoo.b_alexnet import B_ALEXNET
from isthmus.model.zoo.b_lenet import B_LENET
from isthmus.model.zoo.branchy import LRN_ALPHA, LRN_BETA, LRN_BIAS, LRN_SIZE, Layout


def graph(layout: Layout) -> Graph:
    return graph_of(load_model(f"zoo:{layout.name}", weights=False))


@pytest.mark.parametrize(("layout", "layers"), [(B_ALEXNET, [12, 16, 19, 20, 22]), (B_LENET, [7, 12])])
def test_layers_to_each_exit(layout: Layout, layers: list[int]) -> None:
    whole = graph(layout)
    assert whole.outputs == layout.outputs
    parts = [at_exit(whole, output) for output in whole.outputs]
    assert [sum(n.op != "Flatten" for n in p.nodes) for p in parts] == layers
    assert [p.macs for p in parts] == sorted(p.macs for p in parts)


def test_edgents_output_sizes() -> None:
    """Fig. 3 of the paper, in thousand bytes."""
    main = at_exit(graph(B_ALEXNET), "exit5")
    found = [round(main.tensors[n.outputs[0]].bytes / 1000) for n in main.nodes if n.op != "Flatten"]
    assert found == [262, 262, 66, 66, 131, 131, 33, 33, 49, 49, 49, 49, 33, 33, 8, 2, 2, 2, 2, 2, 2, 0]


def test_edgents_branches_have_the_drawn_layers() -> None:
    """Fig. 4: CONV CONV FC three times, then CONV FC FC."""
    drawn = [[x.kind for x in branch if x.kind in ("conv", "fc")] for branch in B_ALEXNET.branches.values()]
    assert drawn == [["conv", "conv", "fc"]] * 3 + [["conv", "fc", "fc"]]
    assert [next(k for k in B_ALEXNET.trunk if k == place) for place in B_ALEXNET.branches] == [
        "lrn1", "lrn2", "relu3", "relu4",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["b_alexnet", "b_lenet"])
def test_every_exit_tells_inputs_apart(name: str) -> None:
    model = load_model(f"zoo:{name}")
    session = ort.InferenceSession(model.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for logits in session.run(None, model.random_inputs(8)):
        assert logits.shape == (8, 10)
        assert 0.3 < np.asarray(logits).std() < 3


def test_normalisation_is_the_formula() -> None:
    """LRN as onnxruntime computes it against the sum over five neighbours, written out."""
    model = load_model("zoo:b_alexnet")
    value = next(n for n in model.proto.graph.node if n.op_type == "LRN")
    proto = model.proto.__class__()
    proto.CopyFrom(model.proto)
    kept = {v.name: v for v in proto.graph.value_info}
    proto.graph.output.extend([kept[value.input[0]], kept[value.output[0]]])
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    before, after = session.run([value.input[0], value.output[0]], model.random_inputs(2))
    squares = np.pad(np.asarray(before) ** 2, [(0, 0), (LRN_SIZE // 2,) * 2, (0, 0), (0, 0)])
    sums = sum(squares[:, i : i + before.shape[1]] for i in range(LRN_SIZE))
    wanted = before / (LRN_BIAS + LRN_ALPHA * sums / LRN_SIZE) ** LRN_BETA
    np.testing.assert_allclose(after, wanted, rtol=1e-5, atol=1e-6)

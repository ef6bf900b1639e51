"""Quantised heads that end where several rows belong to one sample, or where the batch is no dimension 0."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from isthmus.codec import read_head, write_head
from isthmus.engine import Engine
from isthmus.errors import BadModel
from isthmus.graph import fused_graph, graph_of
from isthmus.model import Model, fused, model_from_proto
from isthmus.profile.distortion import RANDOM, Widths, measure_distortions, random_samples
from isthmus.profile.heads import HeadJudge
from isthmus.quant import BitPlan, Distortions, quantised_head

COUNT = 24
CUTS = {"rows": (16 * COUNT, 16), "behind": (16 * COUNT, 8), "turned": (8, COUNT, 16), "flat": (COUNT, 128)}


def patches(answer: str = "y") -> onnx.ModelProto:
    """A convolution, every patch of what it makes by itself, turned round and back, and all patches together."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.normal(0, 0.4, shape).astype(np.float32), name)

    def shape(name: str, *dims: int) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(dims, np.int64), name)

    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["made"], pads=[1] * 4),
        helper.make_node("Reshape", ["made", "by_patch"], ["rows"]),
        helper.make_node("Gemm", ["rows", "w2"], ["each"], transB=1),
        helper.make_node("Relu", ["each"], ["behind"]),
        helper.make_node("Gemm", ["behind", "w4"], ["more"], transB=1),
        helper.make_node("Reshape", ["more", "by_sample"], ["again"]),
        helper.make_node("Transpose", ["again"], ["turned"], perm=[2, 0, 1]),
        helper.make_node("Transpose", ["turned"], ["back"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["back", "all"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w3"], ["y"], transB=1),
    ]
    stored = [
        weight("w1", 4, 3, 3, 3), weight("w2", 8, 16), weight("w3", 10, 128),
        weight("w4", 8, 8),
        shape("by_patch", -1, 16), shape("by_sample", -1, 16, 8), shape("all", -1, 128),
    ]  # fmt: skip
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])
    y = helper.make_tensor_value_info(answer, TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "patches", [x], [y], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.fixture(scope="module")
def net() -> Model:
    return fused(model_from_proto(patches(), "patches"))


@pytest.fixture(scope="module")
def tables(net: Model) -> Distortions:
    return measure_distortions(net, random_samples(net, 8), Widths((4, 8)), source=RANDOM)


def plan(net: Model, bits: int) -> BitPlan:
    nodes = fused_graph(graph_of(net)).nodes
    return BitPlan(weights={n.name: bits for n in nodes}, outputs={t: bits for n in nodes for t in n.outputs})


@pytest.mark.parametrize("cut", CUTS)
def test_the_tail_goes_on_from_such_a_head(
    cut: str, net: Model, tables: Distortions, cache_dir: Path, tmp_path: Path
) -> None:
    head = quantised_head(net, [cut], plan(net, 8), tables)
    write_head(tmp_path / "head", head)
    again = read_head(tmp_path / "head")
    assert again.model.outputs == head.model.outputs
    assert [s.at(COUNT) for s in head.model.outputs] == [CUTS[cut]]
    inputs = net.random_inputs(COUNT, seed=3)
    engine = Engine.open(net, cuts="none", cache_dir=cache_dir)
    crossed = again.restored(Engine.open(again.model, cuts="none", cache_dir=cache_dir).whole(inputs))
    assert crossed[cut].shape == CUTS[cut]
    whole, found = (np.asarray(v["y"], np.float32) for v in (engine.whole(inputs), engine.tail(cut, crossed)))
    assert found.shape == whole.shape == (COUNT, 10)
    assert 0 < float(np.abs(found - whole).max()) < 0.1 * float(np.abs(whole).max())


@pytest.mark.parametrize("cut", CUTS)
def test_such_a_head_is_judged_sample_by_sample(cut: str, net: Model, tables: Distortions) -> None:
    judge = HeadJudge(net, tables, random_samples(net, COUNT, seed=50), batch=8)
    plain = judge.loss(cut, "int8", plan(net, 8))
    coded = judge.loss(cut, "int8+huffman", plan(net, 8))
    assert plain.loss == coded.loss < 0.2
    assert coded.sample_bytes is not None
    values = int(np.prod(CUTS[cut])) // COUNT
    assert values / 4 < coded.sample_bytes < values + 100
    assert judge.loss(cut, "int4", plan(net, 4)).samples == COUNT


def test_a_whole_network_answers_sample_by_sample() -> None:
    with pytest.raises(BadModel, match=r"dimension 0 of output 'behind' is 16N; only dimension 0 may be the batch"):
        model_from_proto(patches("behind"), "patches")

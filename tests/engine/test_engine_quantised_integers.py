"""A network that answers with whole numbers, quantised to its end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from isthmus.engine import Engine
from isthmus.graph import fused_graph, graph_of
from isthmus.model import Model, fused, model_from_proto
from isthmus.profile.distortion import RANDOM, Widths, measure_distortions, random_samples
from isthmus.quant import BitPlan, quantised_head


def deciding() -> Model:
    """A convolution, the greatest of each channel, and which one that is."""
    weight = np.random.default_rng(5).normal(0, 1, (4, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalMaxPool", ["r"], ["most"]),
            helper.make_node("ArgMax", ["most"], ["best"], axis=1, keepdims=0),
        ],
        "deciding",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("best", TensorProto.INT64, ["N", 1, 1])],
        [numpy_helper.from_array(weight, "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return model_from_proto(proto, "deciding")


def test_whole_numbers_stay_whole_numbers(cache_dir: Path) -> None:
    net = fused(deciding())
    tables = measure_distortions(net, random_samples(net, 4), Widths((8,)), source=RANDOM)
    first = fused_graph(graph_of(net)).nodes[0]
    plan = BitPlan(weights={first.name: 8}, outputs={first.outputs[0]: 8, "most": 8})
    head = quantised_head(net, (), plan, tables, early=["best"])
    assert head.model.outputs[0].dtype == "int64"
    inputs = net.random_inputs(16, seed=3)
    whole = Engine.open(net, cuts="none", cache_dir=cache_dir).whole(inputs)["best"]
    found = head.restored(Engine.open(head.model, cuts="none", cache_dir=cache_dir).whole(inputs))["best"]
    assert found.dtype == np.int64
    assert len(np.unique(whole)) > 1
    assert float(np.mean(found == whole)) > 0.8

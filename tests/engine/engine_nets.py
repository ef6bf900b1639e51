"""Small networks written by hand for the engine's tests."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from isthmus.model import IR_VERSION, OPSET, Model, model_from_proto

WITH_EXITS = {"logits": "r3", "early": "r0", "side": "r1"}
WITH_INPUT = {"logits": "r3", "raw": "x"}


def convolutions(
    channels: int = 16, *, exits: Mapping[str, str] = MappingProxyType({"logits": "r3"}), batch: int | str = "N"
) -> Model:
    """conv-relu four times (c0, r0 … c3, r3) with an addition a2 of r1 after c2; each exit pools what it reads."""
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}
    nodes: list[onnx.NodeProto] = []
    width = 3
    for i in range(4):
        weights[f"w{i}"] = rng.normal(0, (2 / (9 * width)) ** 0.5, (channels, width, 3, 3))
        weights[f"b{i}"] = rng.normal(0, 0.1, channels)
        read = f"r{i - 1}" if i else "x"
        nodes.append(helper.make_node("Conv", [read, f"w{i}", f"b{i}"], [f"c{i}"], pads=[1] * 4))
        if i == 2:
            nodes.append(helper.make_node("Add", ["c2", "r1"], ["a2"]))
        nodes.append(helper.make_node("Relu", ["a2" if i == 2 else f"c{i}"], [f"r{i}"]))
        width = channels
    for name, read in exits.items():
        weights[f"{name}_w"] = rng.normal(0, 1, (3 if read == "x" else channels, 5))
        nodes.append(helper.make_node("ReduceMean", [read, "axes"], [f"{name}_pooled"], keepdims=0))
        nodes.append(helper.make_node("MatMul", [f"{name}_pooled", f"{name}_w"], [name]))
    stored = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()]
    stored.append(numpy_helper.from_array(np.array([2, 3], np.int64), "axes"))
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 12, 12])],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, [batch, 5]) for o in exits],
        stored,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return model_from_proto(proto, f"convolutions{channels}")

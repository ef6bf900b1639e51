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


def matrices(layers: int = 8, width: int = 64, rows: int = 4) -> Model:
    """A transformer's feed-forward part: matrix product, addition of a bias, tanh, over `rows` rows."""
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    stored: list[onnx.TensorProto] = []
    for i in range(layers):
        weight = (rng.standard_normal((width, width)) * 2 / width**0.5).astype(np.float32)
        stored.append(numpy_helper.from_array(weight, f"w{i}"))
        nodes.append(helper.make_node("MatMul", [f"t{i - 1}" if i else "x", f"w{i}"], [f"m{i}"]))
        nodes.append(helper.make_node("Tanh", [f"m{i}"], [f"t{i}"]))
    graph = helper.make_graph(
        nodes,
        "matrices",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", rows, width])],
        [helper.make_tensor_value_info(f"t{layers - 1}", TensorProto.FLOAT, ["N", rows, width])],
        stored,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return model_from_proto(proto, "matrices")


def quantised() -> Model:
    """Two convolutions between QuantizeLinear and DequantizeLinear: onnxruntime makes integer kernels of them."""
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    stored = [
        numpy_helper.from_array(np.array(0.05, np.float32), "step"),
        numpy_helper.from_array(np.array(128, np.uint8), "zero"),
        numpy_helper.from_array(np.array(0.02, np.float32), "w_step"),
        numpy_helper.from_array(np.array(0, np.int8), "w_zero"),
    ]
    nodes.append(helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q0"]))
    for i in range(2):
        weight = rng.integers(-20, 20, (16, 16, 3, 3)).astype(np.int8)
        stored.append(numpy_helper.from_array(weight, f"w{i}"))
        nodes += [
            helper.make_node("DequantizeLinear", [f"q{i}", "step", "zero"], [f"d{i}"]),
            helper.make_node("DequantizeLinear", [f"w{i}", "w_step", "w_zero"], [f"f{i}"]),
            helper.make_node("Conv", [f"d{i}", f"f{i}"], [f"c{i}"], pads=[1] * 4),
            helper.make_node("QuantizeLinear", [f"c{i}", "step", "zero"], [f"q{i + 1}"]),
        ]
    nodes.append(helper.make_node("DequantizeLinear", ["q2", "step", "zero"], ["y"]))
    shape: list[str | int | None] = ["N", 16, 10, 10]
    graph = helper.make_graph(
        nodes,
        "quantised",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        stored,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return model_from_proto(proto, "quantised")

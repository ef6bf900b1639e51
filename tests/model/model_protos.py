"""Small ONNX models for the tests of loading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from isthmus.model import Model

FLOAT = TensorProto.FLOAT


def proto_of(
    nodes: list[onnx.NodeProto],
    *,
    inputs: list[onnx.ValueInfoProto] | None = None,
    outputs: list[onnx.ValueInfoProto] | None = None,
    weights: list[onnx.TensorProto] | None = None,
    opset: int = 21,
    ir: int = 10,
    domains: tuple[str, ...] = (),
    functions: list[onnx.FunctionProto] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        inputs or [helper.make_tensor_value_info("x", FLOAT, ["batch", 4])],
        outputs or [helper.make_tensor_value_info("y", FLOAT, None)],
        weights or [],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir, functions=functions or [])


def dense(name: str = "w", shape: tuple[int, ...] = (4, 300)) -> onnx.TensorProto:
    return numpy_helper.from_array(np.random.default_rng(0).standard_normal(shape, dtype=np.float32), name)


def linear(**changes: object) -> onnx.ModelProto:
    """x · w, one large weight."""
    return proto_of([helper.make_node("MatMul", ["x", "w"], ["y"])], weights=[dense()], **changes)  # type: ignore[arg-type]


def saved(proto: onnx.ModelProto, folder: Path, **external: object) -> Path:
    path = folder / "model.onnx"
    onnx.save_model(proto, path, **external)  # type: ignore[arg-type]
    return path


def answers(model: Model | onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    proto = model.proto if isinstance(model, Model) else model
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(a) for a in session.run(None, feeds)]

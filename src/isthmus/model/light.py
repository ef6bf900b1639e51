"""The nine well-known networks that the onnx package carries without weights, with random weights put in.

Their weights are `ConstantOfShape` nodes, so every output is the same whatever goes in: useless for checking equality
until real initializers take their place.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from isthmus.model.onnx_file import model_from_proto
from isthmus.model.types import Model

_FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
_PREFIX = "light_"
_RELU_VARIANCE = 0.5 - 0.5 / math.pi
"""Of max(x, 0) for standard-normal x: what a filter that sums to zero sees after a ReLU."""
_RELU_POWER = 0.5
"""Its mean square: what a depthwise filter sees, which does not sum to zero."""
_BRANCH = 0.3
"""Scale of a batch norm whose output is summed: keeps sixteen residual blocks from growing without bound."""


def light_models() -> tuple[str, ...]:
    """Names of the light models found in the onnx package."""
    return tuple(sorted(p.stem.removeprefix(_PREFIX) for p in _FOLDER.glob(f"{_PREFIX}*.onnx")))


def light_model(name: str, *, weights: bool = True, seed: int = 0) -> Model:
    """One of them by name, e.g. `resnet50`."""
    proto = with_weights(onnx.load_model(_FOLDER / f"{_PREFIX}{name}.onnx"), seed, data=weights)
    return model_from_proto(proto, f"light:{name}", copy=False)


def with_weights(proto: onnx.ModelProto, seed: int = 0, *, data: bool = True) -> onnx.ModelProto:
    """A copy of a light model with random initializers where its `ConstantOfShape` weights were.

    Filters and matrices are normal, sum to zero over their fan-in (so that the answer depends on the input) and keep
    the variance after a ReLU; batch-norm scales and variances are near 1, other vectors near 0. `data=False` leaves
    the new initializers without values.
    """
    rng = np.random.default_rng(seed)
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    graph = made.graph
    shapes = {t.name: numpy_helper.to_array(t) for t in graph.initializer if t.data_type == TensorProto.INT64}
    weights = {n.output[0]: tuple(shapes[n.input[0]].tolist()) for n in graph.node if n.op_type == "ConstantOfShape"}
    near = _near(graph)
    linear = _linear(graph)
    nodes = [n for n in graph.node if n.op_type != "ConstantOfShape"]
    del graph.node[:]
    graph.node.extend(nodes)
    for name, dims in weights.items():
        tensor = graph.initializer.add(name=name, data_type=TensorProto.FLOAT, dims=dims)
        if data:
            seen = 1.0 if name in linear else _RELU_VARIANCE if dims[1:2] != (1,) else _RELU_POWER
            tensor.raw_data = _values(rng, dims, near.get(name, 0.0), seen).tobytes()
    return made


def _near(graph: onnx.GraphProto) -> dict[str, float]:
    """What scales and variances should be near to: those of batch norms, and of the Mul that exporters of the time put
    after one."""
    summed = {name for n in graph.node if n.op_type == "Sum" for name in n.input}
    unsqueezed = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Unsqueeze"}
    near = {}
    for node in graph.node:
        if node.op_type == "BatchNormalization":
            near[node.input[1]] = _BRANCH if node.output[0] in summed else 1.0
            near[node.input[4]] = 1.0
        elif node.op_type == "Mul":
            near.update({unsqueezed[name]: 1.0 for name in node.input if name in unsqueezed})
    return near


def _linear(graph: onnx.GraphProto) -> set[str]:
    """Weights of convolutions that read another one's output with no ReLU between."""
    plain = {n.output[0] for n in graph.node if n.op_type in ("Conv", "BatchNormalization")}
    return {n.input[1] for n in graph.node if n.op_type == "Conv" and n.input[0] in plain}


def _values(rng: np.random.Generator, dims: tuple[int, ...], centre: float, seen: float) -> NDArray[np.float32]:
    """Weights for an input of variance `seen`, or a vector near `centre`."""
    values = rng.standard_normal(dims, dtype=np.float32)
    fan_in = math.prod(dims[1:])
    if len(dims) == 1 or fan_in == 1:
        values *= np.float32(0.1)
        values += np.float32(centre)
        return values
    rows = values.reshape(dims[0], -1)
    if dims[1] > 1:
        rows -= rows.mean(axis=1, keepdims=True)
    rows *= np.float32(1.0 / math.sqrt(seen * fan_in))
    return values

"""The nine well-known networks that the onnx package carries without weights, with random weights put in.

Their weights are `ConstantOfShape` nodes, so every output is the same whatever goes in: useless for checking equality
until real initializers take their place.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from isthmus.model.onnx_file import model_from_proto
from isthmus.model.types import Model

_FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
_PREFIX = "light_"


def light_models() -> tuple[str, ...]:
    """Names of the light models found in the onnx package."""
    return tuple(sorted(p.stem.removeprefix(_PREFIX) for p in _FOLDER.glob(f"{_PREFIX}*.onnx")))


def light_model(name: str, *, weights: bool = True, seed: int = 0) -> Model:
    """One of them by name, e.g. `resnet50`."""
    proto = with_weights(onnx.load_model(_FOLDER / f"{_PREFIX}{name}.onnx"), seed, data=weights)
    return model_from_proto(proto, f"light:{name}")


def with_weights(proto: onnx.ModelProto, seed: int = 0, *, data: bool = True) -> onnx.ModelProto:
    """A copy of a light model with He-random initializers where its `ConstantOfShape` weights were.

    Matrices and filters are normal with variance 2 / fan-in (batch-norm scales and variances 1 ± 0.1, other vectors
    0 ± 0.1). `data=False` leaves the new initializers without values.
    """
    rng = np.random.default_rng(seed)
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    graph = made.graph
    shapes = {
        t.name: tuple(numpy_helper.to_array(t).tolist()) for t in graph.initializer if t.data_type == TensorProto.INT64
    }
    near_one = {n.input[i] for n in graph.node if n.op_type == "BatchNormalization" for i in (1, 4)}
    weights = {n.output[0]: shapes[n.input[0]] for n in graph.node if n.op_type == "ConstantOfShape"}
    nodes = [n for n in graph.node if n.op_type != "ConstantOfShape"]
    del graph.node[:]
    graph.node.extend(nodes)
    for name, dims in weights.items():
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims)
        if data:
            tensor.raw_data = _values(rng, dims, one=name in near_one).tobytes()
        graph.initializer.append(tensor)
    return made


def _values(
    rng: np.random.Generator, dims: tuple[int, ...], *, one: bool
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    values = rng.standard_normal(dims, dtype=np.float32)
    if len(dims) > 1:
        return values * np.float32(math.sqrt(2.0 / math.prod(dims[1:])))
    return values * np.float32(0.1) + np.float32(1.0 if one else 0.0)

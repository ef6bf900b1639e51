"""Shapes that a model computes itself are followed, and long lists are not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from model_protos import answers, proto_of, saved
from onnx import TensorProto, helper, numpy_helper

from isthmus.errors import BadModel
from isthmus.model import model_from_proto
from isthmus.model.shapes import shapes_at

_X = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])


def reshaped() -> onnx.ModelProto:
    """By a shape made of the input's own."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Concat", ["s", "one"], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["y"]),
    ]
    return proto_of(nodes, inputs=[_X], weights=[numpy_helper.from_array(np.array([1]), "one")])


def doubled(times: int) -> onnx.ModelProto:
    """The same behind a list of a thousand ones that is doubled so often."""
    nodes = [helper.make_node("Concat", [f"c{k}"] * 2, [f"c{k + 1}"], axis=0) for k in range(times)]
    return reshaped_by_first_of(f"c{times}", nodes, {"c0": np.ones(1_000, np.int64)})


def counted(length: int) -> onnx.ModelProto:
    """The same behind a list of so many elements a row."""
    nodes = [
        helper.make_node("Gather", ["s", "from"], ["rows"]),
        helper.make_node("Mul", ["rows", "length"], ["all"]),
        helper.make_node("ConstantOfShape", ["all"], ["c"], value=numpy_helper.from_array(np.array([1]))),
        helper.make_node("Add", ["c", "c"], ["two"]),
    ]
    return reshaped_by_first_of("two", nodes, {"length": np.array([length])})


def reshaped_by_first_of(name: str, nodes: list[onnx.NodeProto], values: dict[str, np.ndarray]) -> onnx.ModelProto:
    """By the input's own shape and the first element of a list that `nodes` make."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        *nodes,
        helper.make_node("Slice", [name, "from", "to"], ["d"]),
        helper.make_node("Concat", ["s", "d"], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["y"]),
    ]
    values = values | {"from": np.array([0]), "to": np.array([1])}
    return proto_of(nodes, inputs=[_X], weights=[numpy_helper.from_array(v, n) for n, v in values.items()])


def test_a_shape_that_the_model_computes_is_followed() -> None:
    assert shapes_at(model_from_proto(reshaped(), "m").proto, 3)["y"][0] == (3, 4, 1)


def flattened(opset: int = 21) -> onnx.ModelProto:
    """By arithmetic as exporters write it: rows and the product of the rest, by a list filled, compared and chosen."""
    nodes = [
        helper.make_node("GroupNormalization", ["x", "scale", "shift"], ["x0"], num_groups=2),
        helper.make_node("Shape", ["x0"], ["dims"]),
        helper.make_node("Shape", ["x0"], ["rest"], start=1, end=-1),
        helper.make_node("Size", ["x0"], ["size"]),
        helper.make_node("Gather", ["dims", "zero"], ["rows"], axis=0),
        helper.make_node("Div", ["size", "rows"], ["row"]),
        helper.make_node("Reshape", ["row", "one"], ["row1"]),
        helper.make_node("ConstantOfShape", ["one"], ["minus"], value=numpy_helper.from_array(np.array([-1]))),
        helper.make_node("Equal", ["minus", "minus1"], ["open"]),
        helper.make_node("Where", ["open", "rows", "minus"], ["rows1"]),
        helper.make_node("Concat", ["rows1", "row1"], ["target"], axis=0),
        helper.make_node("Reshape", ["x0", "target"], ["flat"]),
        helper.make_node("ReduceProd", ["rest"], ["inner"], keepdims=0),
        helper.make_node("Range", ["zero", "inner", "unit"], ["counted"]),
        helper.make_node("Gather", ["flat", "counted"], ["y"], axis=1),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 3, 5])]
    values = {"zero": np.array(0), "unit": np.array(1), "one": np.array([1]), "minus1": np.array([-1])}
    values |= {"scale": np.ones(4, np.float32), "shift": np.zeros(4, np.float32)}
    weights = [numpy_helper.from_array(value, name) for name, value in values.items()]
    return proto_of(nodes, inputs=inputs, weights=weights, opset=opset)


@pytest.mark.parametrize("opset", [21, 26])
def test_arithmetic_on_shapes_is_followed(opset: int) -> None:
    model = model_from_proto(flattened(opset), "m")
    assert [s.shape for s in model.outputs] == [(None, 12)]
    x = np.random.default_rng(0).standard_normal((3, 4, 3, 5), dtype=np.float32)
    assert answers(model, {"x": x})[0].shape == shapes_at(model.proto, 3)["y"][0] == (3, 12)


def recurrent() -> onnx.ModelProto:
    """As torch writes an LSTM (5 wide): a state of the batch's size, and directions joined by a product of sizes."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
        helper.make_node("Shape", ["x"], ["rows"], start=0, end=1),
        helper.make_node("Concat", ["i1", "rows", "i5"], ["state_dims"], axis=0),
        helper.make_node("Expand", ["zero", "state_dims"], ["state"]),
        helper.make_node("LSTM", ["steps", "w", "r", "b", "", "state", "state"], ["all"], hidden_size=5),
        helper.make_node("Transpose", ["all"], ["apart"], perm=[0, 2, 1, 3]),
        helper.make_node("Shape", ["apart"], ["dims"]),
        helper.make_node("Slice", ["dims", "i0", "i2"], ["first"]),
        helper.make_node("Slice", ["dims", "i2", "i3"], ["directions"]),
        helper.make_node("Slice", ["dims", "i3", "i4"], ["width"]),
        helper.make_node("Mul", ["directions", "width"], ["product"]),
        helper.make_node("Reshape", ["product", "minus1"], ["flat"]),
        helper.make_node("Concat", ["first", "flat"], ["target"], axis=0),
        helper.make_node("Reshape", ["apart", "target"], ["joined"]),
        helper.make_node("Transpose", ["joined"], ["y"], perm=[1, 0, 2]),
    ]
    rng = np.random.default_rng(0)
    values = {name: rng.standard_normal(dims, np.float32) for name, dims in _GATES.items()}
    values |= {f"i{k}": np.array([k]) for k in range(6)}
    values |= {"minus1": np.array([-1]), "zero": np.zeros(1, np.float32)}
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 7, 4])]
    return proto_of(nodes, inputs=inputs, weights=[numpy_helper.from_array(v, n) for n, v in values.items()])


_GATES = {"w": (1, 20, 4), "r": (1, 20, 5), "b": (1, 40)}


def test_an_lstm_of_any_batch_is_followed() -> None:
    model = model_from_proto(recurrent(), "m")
    assert [s.shape for s in model.outputs] == [(None, 7, 5)]
    x = np.random.default_rng(1).standard_normal((3, 7, 4), dtype=np.float32)
    assert answers(model, {"x": x})[0].shape == shapes_at(model.proto, 3)["y"][0] == (3, 7, 5)


def test_long_lists_are_not_followed(tmp_path: Path) -> None:
    path = saved(counted(20_000_000), tmp_path)
    run = subprocess.run([sys.executable, "-c", _WITHIN_MEMORY, str(path)], capture_output=True, text=True, check=False)
    assert "does not follow from the inputs' shapes" in run.stdout, run.stderr


_WITHIN_MEMORY = """
import resource, sys
from isthmus.errors import BadModel
from isthmus.model import load_model
resource.setrlimit(resource.RLIMIT_AS, (1_000_000_000,) * 2)
try:
    load_model(sys.argv[1])
except BadModel as error:
    print(error)
"""
"""A list of 20 million elements takes onnx's inference 2.8 GB where it holds it."""


def test_a_list_that_doubles_without_end_is_refused() -> None:
    with pytest.raises(BadModel, match=r"more than fits|contradict"):
        model_from_proto(doubled(times=40), "m")

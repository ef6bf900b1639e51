"""Shapes that a model computes itself are followed, and long lists are not: inference holds every element."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from model_protos import proto_of
from onnx import TensorProto, helper, numpy_helper, shape_inference

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
    made = reshaped()
    nodes = [helper.make_node("Concat", [f"c{k}"] * 2, [f"c{k + 1}"], axis=0) for k in range(times)]
    nodes.append(helper.make_node("Slice", [f"c{times}", "from", "to"], ["d"]))
    del made.graph.node[1:]
    made.graph.node.extend([*nodes, helper.make_node("Concat", ["s", "d"], ["t"], axis=0)])
    made.graph.node.append(helper.make_node("Reshape", ["x", "t"], ["y"]))
    values = {"c0": np.ones(1_000, np.int64), "from": np.array([0]), "to": np.array([1])}
    made.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    return made


def test_a_shape_that_the_model_computes_is_followed() -> None:
    assert shapes_at(model_from_proto(reshaped(), "m").proto, 3)["y"][0] == (3, 4, 1)


def test_long_lists_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, infer = [], shape_inference.infer_shapes

    def watched(proto: onnx.ModelProto, **how: bool) -> onnx.ModelProto:
        asked.append(how.get("data_prop", False))
        return infer(proto, **how)

    monkeypatch.setattr(shape_inference, "infer_shapes", watched)
    with pytest.raises(BadModel, match="does not follow from the inputs' shapes"):
        model_from_proto(doubled(times=12), "m")
    assert not any(asked)


def test_a_list_that_doubles_without_end_is_refused() -> None:
    with pytest.raises(BadModel, match=r"more than fits|contradict"):
        model_from_proto(doubled(times=40), "m")

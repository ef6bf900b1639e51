"""What exporters write beside a network does not get into a model."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.numpy_helper import to_array

from isthmus.model import load_model, model_from_proto


def test_remarks_and_stack_traces_are_forgotten() -> None:
    weight = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    weight.doc_string = "secret"
    weight.metadata_props.add(key="k", value="secret")
    node = helper.make_node("MatMul", ["x", "w"], ["y"], doc_string="secret")
    node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value='File "/home/secret/train.py"')
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 2], doc_string="secret") for n in "xy"]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [weight], doc_string="secret")
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    model = model_from_proto(proto, "m")
    assert b"secret" not in model.proto.SerializeToString()
    assert [n.op_type for n in model.proto.graph.node] == ["MatMul"]
    assert to_array(model.proto.graph.initializer[0]).sum() == 4


def test_the_network_that_ships_carries_no_path_of_the_machine_that_trained_it() -> None:
    content = files("isthmus.model.zoo").joinpath("digits.onnx").read_bytes()
    assert b".py" not in content
    assert b"stack_trace" not in content
    assert load_model("zoo:digits").proto.SerializeToString() == onnx.ModelProto.FromString(content).SerializeToString()

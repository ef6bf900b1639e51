"""Inputs without a batch beside one that has it: a matrix and a number that all samples of a request share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from run_rig import Told

from isthmus.codec import Array
from isthmus.engine import Engine
from isthmus.errors import BadInput
from isthmus.graph import prefix_cuts
from isthmus.model import IR_VERSION, OPSET, model_from_proto
from isthmus.profile.samples import load_samples
from isthmus.quant import need_quantisable
from isthmus.record.types import Choice
from isthmus.run import connect_engine, infer_remote, serve


@pytest.fixture(scope="module")
def mixed(cache_dir: Path) -> Engine:
    """y = (x·B)₊·B·s: both inputs that are not x cross every inner cut but the last ones."""
    nodes = [
        helper.make_node("MatMul", ["x", "B"], ["m"]),
        helper.make_node("Relu", ["m"], ["r"]),
        helper.make_node("MatMul", ["r", "B"], ["t"]),
        helper.make_node("Mul", ["t", "s"], ["y"]),
    ]
    shapes: dict[str, list[str | int | None]] = {"B": [4, 4], "s": [], "x": ["N", 4], "y": ["N", 4]}
    b, s, x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    opset = [helper.make_opsetid("", OPSET)]
    proto = helper.make_model(helper.make_graph(nodes, "g", [b, s, x], [y]), opset_imports=opset, ir_version=IR_VERSION)
    return Engine.open(model_from_proto(proto, "mixed"), cache_dir=cache_dir)


@pytest.mark.parametrize("first", ["device", "server"])
@pytest.mark.parametrize("batch", [1, 3, 4])
def test_they_are_what_they_are_at_every_batch_and_cut(mixed: Engine, batch: int, first: str) -> None:
    inputs = mixed.model.random_inputs(batch)
    assert [inputs[name].shape for name in "Bsx"] == [(4, 4), (), (batch, 4)]
    wanted: Array = np.maximum(inputs["x"] @ inputs["B"], 0) @ inputs["B"] * inputs["s"]
    told = Told("@input")
    with (
        serve(mixed) as server,
        connect_engine(mixed, server.address, chooser=told, deadline_s=10.0, verify=True) as session,
    ):
        assert session.wait_connected(5)
        for cut in prefix_cuts(mixed.graph):
            told.choice = Choice.model_validate({"cut": cut.id, "codec": "float32", "first": first})
            answer = session.infer(inputs)
            assert np.allclose(answer.outputs["y"], wanted, rtol=1e-5, atol=1e-5)
            assert (answer.cut, answer.step.batch, answer.step.wrong, answer.step.trouble) == (cut.id, batch, False, "")


def test_over_the_inference_protocol_the_batch_is_that_of_the_input_that_has_one(mixed: Engine) -> None:
    inputs = mixed.model.random_inputs(3)
    with serve(mixed) as server:
        for cut in prefix_cuts(mixed.graph)[:-1]:
            tensors = mixed.head(cut.id, inputs)
            found = infer_remote(server.address, "mixed", tensors, parameters={"cut": cut.id})
            assert np.allclose(found["y"], mixed.whole(inputs)["y"], rtol=1e-5)


def test_over_the_inference_protocol_the_batch_need_not_come_first(cache_dir: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        helper.make_node("Relu", ["t"], ["u"]),
        helper.make_node("Transpose", ["u"], ["y"], perm=[1, 0]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xy")
    opset = [helper.make_opsetid("", OPSET)]
    proto = helper.make_model(helper.make_graph(nodes, "g", [x], [y]), opset_imports=opset, ir_version=IR_VERSION)
    engine = Engine.open(model_from_proto(proto, "turned"), cache_dir=cache_dir)
    inputs = engine.model.random_inputs(3)
    with serve(engine) as server:
        for cut in ("t", "u"):
            found = infer_remote(server.address, "turned", engine.head(cut, inputs), parameters={"cut": cut})
            np.testing.assert_array_equal(found["y"], np.maximum(inputs["x"], 0))


def test_another_length_of_them_is_refused(mixed: Engine) -> None:
    inputs = mixed.model.random_inputs(3)
    with pytest.raises(BadInput, match="B must be 4×4, not 3×4"):
        mixed.whole({**inputs, "B": inputs["B"][:3]})


def test_requests_with_them_are_not_gathered(mixed: Engine) -> None:
    with (
        connect_engine(mixed, "127.0.0.1:9", chooser=Told("@output")) as session,
        pytest.raises(BadInput, match="B of mixed is not in proportion to the batch"),
    ):
        session.batched(4)


def test_there_are_no_samples_of_them(mixed: Engine, tmp_path: Path) -> None:
    """Four samples of B, each a row of it, would have the shape of B."""
    path = tmp_path / "samples.npz"
    np.savez(path, B=np.ones((4, 4), np.float32), s=np.ones(4, np.float32), x=np.ones((4, 4), np.float32))
    for refused in (lambda: load_samples(path, mixed.model), lambda: need_quantisable(mixed.model)):
        with pytest.raises(BadInput, match="input 'B' of mixed is the same for a whole batch"):
            refused()

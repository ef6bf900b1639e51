"""Loading files: what comes out is converted, named and shaped; what cannot be cut is refused in one sentence."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from model_protos import answers, dense, linear, proto_of, saved
from onnx import TensorProto, helper, numpy_helper

from isthmus.errors import BadModel
from isthmus.model import load_model, load_model_file, model_from_proto

FLOAT = TensorProto.FLOAT


@pytest.mark.parametrize("name", ["zoo:tiny", "zoo:mobilenet_v2", "zoo:digits"])
def test_saved_and_loaded_is_the_same(name: str, tmp_path: Path) -> None:
    model = load_model(name)
    loaded = load_model_file(saved(model.proto, tmp_path))
    assert loaded.proto == model.proto
    assert loaded.fingerprint == model.fingerprint
    assert (loaded.inputs, loaded.outputs, loaded.blocks) == (model.inputs, model.outputs, model.blocks)


def test_the_fingerprint_sees_every_weight() -> None:
    model = load_model("zoo:tiny")
    before, changed = model.fingerprint, onnx.ModelProto()
    changed.CopyFrom(model.proto)
    raw = bytearray(changed.graph.initializer[0].raw_data)
    raw[-1] ^= 1
    changed.graph.initializer[0].raw_data = bytes(raw)
    assert model_from_proto(changed, "tiny").fingerprint != before


@pytest.mark.parametrize("opset", range(7, 27))
def test_every_operator_set(opset: int, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "v", "a"], ["y"]),
    ]
    weights = [dense("w", (64, 3, 3, 3)), dense("b", (64,)), dense("v", (1024, 5)), dense("a", (5,))]
    inputs = [helper.make_tensor_value_info("x", FLOAT, ["n", 3, 8, 8])]
    listed = [helper.make_tensor_value_info(w.name, FLOAT, list(w.dims)) for w in weights]
    proto = proto_of(
        nodes, inputs=inputs + (listed if opset <= 9 else []), weights=weights, opset=opset, ir=3 if opset <= 9 else 8
    )
    model = load_model_file(saved(proto, tmp_path))
    assert model.proto.opset_import[0].version == max(21, opset)
    assert 10 <= model.proto.ir_version <= 13
    assert [s.name for s in model.inputs] == ["x"]
    assert model.outputs[0].shape == (None, 5)
    x = {"x": np.random.default_rng(1).standard_normal((2, 3, 8, 8), dtype=np.float32)}
    np.testing.assert_allclose(answers(model, x)[0], answers(proto, x)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("opset", [6, 27, 0, -1])
def test_operator_sets_beyond(opset: int) -> None:
    with pytest.raises(BadModel, match=f"operator set {opset}; 7 to 26"):
        model_from_proto(linear(opset=opset), "m")


def test_ir_version_of_tomorrow() -> None:
    assert model_from_proto(linear(ir=14), "m").proto.ir_version == 13


def test_unnamed_nodes_dead_nodes_and_plus_signs(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a+b"]),
        helper.make_node("Neg", ["x"], ["nobody"], name="dead"),
        helper.make_node("Sigmoid", ["a+b"], ["@s"]),
        helper.make_node("Neg", ["@s"], ["a_b"], name="other"),
        helper.make_node("Add", ["@s", "a_b"], ["y"], name="other"),
    ]
    model = load_model_file(saved(proto_of(nodes), tmp_path))
    assert [n.name for n in model.proto.graph.node] == ["a_b_1", "s", "a_b", "y"]
    assert all(n.name == n.output[0] for n in model.proto.graph.node)
    x = {"x": np.ones((3, 4), np.float32)}
    np.testing.assert_array_equal(answers(model, x)[0], np.zeros((3, 4), np.float32))


def test_names_of_inner_tensors_hold_nothing_that_cuts_are_named_with() -> None:
    names = ["x", "a!z", "q@@z", "b@~y", "w@<int8", "end@", "@!+", "y"]
    nodes = [helper.make_node("Neg", [a], [b]) for a, b in pairwise(names)]
    model = model_from_proto(proto_of(nodes), "m")
    assert [n.name for n in model.proto.graph.node] == ["a_z", "q__z", "b_~y", "w_<int8", "end_", "__", "y"]
    x = {"x": np.ones((3, 4), np.float32)}
    np.testing.assert_array_equal(answers(model, x)[0], -x["x"])


def test_local_functions_are_unfolded(tmp_path: Path) -> None:
    twice = helper.make_function(
        "own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 21)]
    )
    nodes = [helper.make_node("Twice", ["x"], ["t"], domain="own"), helper.make_node("Neg", ["t"], ["y"])]
    model = load_model_file(saved(proto_of(nodes, domains=("own",), functions=[twice]), tmp_path))
    assert [n.op_type for n in model.proto.graph.node] == ["Add", "Neg"]
    assert [o.domain for o in model.proto.opset_import] == [""]


def test_shape_only_leaves_large_weights_unread(tmp_path: Path) -> None:
    path = saved(linear(), tmp_path)
    model = load_model_file(path, weights=False)
    assert not model.has_weights
    assert not model.proto.graph.initializer[0].raw_data
    assert list(model.proto.graph.initializer[0].dims) == [4, 300]
    assert model.outputs[0].shape == (None, 300)
    with pytest.raises(BadModel, match="load it with weights"):
        model.need_weights()


def test_typed_fields_become_raw() -> None:
    weight = helper.make_tensor("w", FLOAT, (4, 300), np.arange(1200.0).tolist())
    model = model_from_proto(proto_of([helper.make_node("MatMul", ["x", "w"], ["y"])], weights=[weight]), "m")
    np.testing.assert_array_equal(numpy_helper.to_array(model.proto.graph.initializer[0]).ravel(), np.arange(1200.0))


# dynamic and fixed shapes


def test_the_batch_stays_open_and_the_rest_can_be_fixed(tmp_path: Path) -> None:
    image = [helper.make_tensor_value_info("x", FLOAT, ["b", 3, "height", None])]
    path = saved(proto_of([helper.make_node("Relu", ["x"], ["y"])], inputs=image), tmp_path)
    with pytest.raises(BadModel, match=r"dimension 2 of input 'x' \('height'\) is open"):
        load_model_file(path)
    with pytest.raises(BadModel, match=r"dimension 3 .*without a name"):
        load_model_file(path, shapes={"x": (None, 3, 8, None)})
    model = load_model_file(path, shapes={"x": (None, 3, 8, 6)})
    assert model.inputs[0].shape == model.outputs[0].shape == (None, 3, 8, 6)
    assert load_model_file(path, shapes={"x": (2, 3, 8, 6)}).outputs[0].shape == (2, 3, 8, 6)
    with pytest.raises(BadModel, match="'z', which is no input; inputs are x"):
        load_model_file(path, shapes={"z": (1,)})
    for size in (0, -6, 6.0, "6", True, 2**63):
        wrong: Any = (None, 3, 8, size)
        with pytest.raises(BadModel, match=rf"dimension 3 of input 'x' is {size!r}; it must be a whole number from 1"):
            load_model_file(path, shapes={"x": wrong})
    for shape in (8, None):
        wrong = shape
        with pytest.raises(BadModel, match=rf"the shape given for input 'x' is {shape}; it must be a list of sizes"):
            load_model_file(path, shapes={"x": wrong})


def test_a_fixed_batch_stays(tmp_path: Path) -> None:
    one = [helper.make_tensor_value_info("x", FLOAT, [1, 4])]
    model = load_model_file(saved(linear(inputs=one), tmp_path))
    assert (model.inputs[0].shape, model.outputs[0].shape, model.dynamic_batch) == ((1, 4), (1, 300), False)


def test_computed_reshape_keeps_the_batch(tmp_path: Path) -> None:
    """The way older exporters write x.view(x.size(0), -1)."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axis"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.array(v, np.int64), n) for n, v in (("zero", 0), ("axis", [0]), ("rest", [-1]))
    ]
    image = [helper.make_tensor_value_info("x", FLOAT, ["b", 3, 2, 2])]
    model = load_model_file(saved(proto_of(nodes, inputs=image, weights=constants), tmp_path))
    assert model.outputs[0].shape == (None, 12)


def test_pads_computed_from_constants(tmp_path: Path) -> None:
    """The way older exporters write F.pad: shape inference alone does not follow the chain."""
    nodes = [
        helper.make_node("ConstantOfShape", ["two"], ["zeros"], value=numpy_helper.from_array(np.zeros(1, np.int64))),
        helper.make_node("Concat", ["given", "zeros"], ["flat"], axis=0),
        helper.make_node("Reshape", ["flat", "pairs"], ["paired"]),
        helper.make_node("Slice", ["paired", "last", "first", "rows", "back"], ["turned"]),
        helper.make_node("Transpose", ["turned"], ["sides"], perm=[1, 0]),
        helper.make_node("Reshape", ["sides", "all"], ["line"]),
        helper.make_node("Cast", ["line"], ["pads"], to=TensorProto.INT64),
        helper.make_node("Pad", ["x", "pads"], ["y"]),
    ]
    values = {"two": [2], "given": [1, 2], "pairs": [-1, 2], "last": [-1], "first": [-(1 << 62)]}
    values |= {"rows": [0], "back": [-1], "all": [-1]}
    constants = [numpy_helper.from_array(np.array(v, np.int64), n) for n, v in values.items()]
    model = load_model_file(saved(proto_of(nodes, weights=constants), tmp_path))
    assert model.outputs[0].shape == (None, 7)
    assert [n.op_type for n in model.proto.graph.node] == ["Pad"]
    np.testing.assert_array_equal(answers(model, {"x": np.ones((1, 4), np.float32)})[0], [[0, 1, 1, 1, 1, 0, 0]])


def test_constants_that_stretch_each_other_are_not_worked_out() -> None:
    """Each is small; what they make is not, and a file may hold a hundred thousand such nodes."""
    nodes = [helper.make_node("Add", ["row", "column"], ["table"]), helper.make_node("MatMul", ["x", "table"], ["y"])]
    weights = [numpy_helper.from_array(np.ones(s, np.float32), n) for n, s in (("row", (1, 400)), ("column", (4, 1)))]
    model = model_from_proto(proto_of(nodes, weights=weights), "m")
    assert [n.op_type for n in model.proto.graph.node] == ["Add", "MatMul"]


def test_an_output_worked_out_from_constants_keeps_its_node() -> None:
    nodes = [
        helper.make_node("Neg", ["k"], ["z"]),
        helper.make_node("Concat", ["z", "z"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
    ]
    outputs = [
        helper.make_tensor_value_info("y", FLOAT, None),
        helper.make_tensor_value_info("z", TensorProto.INT64, [1]),
    ]
    weights = [numpy_helper.from_array(np.array([-2], np.int64), "k")]
    inputs = [helper.make_tensor_value_info("x", FLOAT, [1, 4])]
    model = model_from_proto(proto_of(nodes, inputs=inputs, outputs=outputs, weights=weights), "m")
    assert [n.name for n in model.proto.graph.node] == ["z", "y"]
    y, z = answers(model, {"x": np.ones((1, 4), np.float32)})
    assert (y.shape, z.tolist()) == ((2, 2), [2])


def test_a_batch_that_moves_is_refused() -> None:
    with pytest.raises(BadModel, match="dimension 1 of output 'y' is N"):
        model_from_proto(proto_of([helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0])]), "m")


def test_shapes_that_stop_growing_with_the_batch_are_refused() -> None:
    """Batches of 1 and 2 look well: a slice of two samples holds them all."""
    ends = [numpy_helper.from_array(np.array([i], np.int64), n) for n, i in (("a", 0), ("b", 2))]
    slice_ = proto_of([helper.make_node("Slice", ["x", "a", "b", "a"], ["y"])], weights=ends)
    with pytest.raises(BadModel, match=r"'y' is \[1, 4\] at a batch of 1, \[2, 4\] at 2 and \[2, 4\] at 97.*: fix the"):
        model_from_proto(slice_, "m")
    assert model_from_proto(slice_, "m", shapes={"x": (3, 4)}).outputs[0].shape == (2, 4)


def test_shapes_that_grow_with_the_square_of_the_batch_are_refused() -> None:
    flat = numpy_helper.from_array(np.array([-1], np.int64), "flat")
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["g"]),
        helper.make_node("Reshape", ["g", "flat"], ["f"]),
        helper.make_node("ReduceSum", ["f"], ["s"], keepdims=1),
        helper.make_node("Add", ["x", "s"], ["y"]),
    ]
    with pytest.raises(BadModel, match=r"'f' is \[1\] at a batch of 1, \[4\] at 2 and \[9409\] at 97"):
        model_from_proto(proto_of(nodes, weights=[flat]), "m")


def test_dimensions_that_grow_unlike_have_unlike_names() -> None:
    """onnxruntime gives tensors whose dimensions have the same names the same memory."""
    row = numpy_helper.from_array(np.ones((1, 4), np.float32), "row")
    nodes = [
        helper.make_node("Concat", ["x", "row"], ["more"], axis=0),
        helper.make_node("Concat", ["x", "x"], ["double"], axis=0),
        helper.make_node("ReduceSum", ["more"], ["m"], keepdims=1),
        helper.make_node("ReduceSum", ["double"], ["d"], keepdims=1),
        helper.make_node("Sum", ["x", "m", "d"], ["y"]),
    ]
    model = model_from_proto(proto_of(nodes, weights=[row]), "m")
    names = {v.name: v.type.tensor_type.shape.dim[0].dim_param for v in model.proto.graph.value_info}
    assert (names["more"], names["double"]) == ("1+N", "2N")


def test_shapes_that_depend_on_the_data_are_refused() -> None:
    output = [helper.make_tensor_value_info("y", TensorProto.INT64, None)]
    proto = proto_of([helper.make_node("NonZero", ["x"], ["y"])], outputs=output)
    with pytest.raises(BadModel, match=r"'y' \(made by NonZero\) does not follow"):
        model_from_proto(proto, "m")


def test_random_inputs_are_drawn_a_block_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers as all at once, which would take float64 of the whole."""
    model = model_from_proto(linear(), "m")
    made = model.random_inputs(3, seed=5)["x"]
    np.testing.assert_array_equal(made, np.random.default_rng(5).standard_normal((3, 4)).astype(np.float32))
    monkeypatch.setattr("isthmus.model.types._BLOCK", 5)
    np.testing.assert_array_equal(model.random_inputs(3, seed=5)["x"], made)

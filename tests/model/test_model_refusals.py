"""Models that are refused, each in one sentence: control flow, custom operators, lies, limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from model_protos import dense, linear, proto_of, saved
from onnx import TensorProto, helper, numpy_helper

from isthmus.errors import BadModel
from isthmus.model import load_model_file, model_from_proto, onnx_file
from isthmus.model.limits import Limits

FLOAT = TensorProto.FLOAT


def body() -> onnx.GraphProto:
    made = [helper.make_tensor_value_info("o", FLOAT, [1])]
    return helper.make_graph([helper.make_node("Identity", ["x"], ["o"])], "b", [], made)


def control_flow() -> onnx.ModelProto:
    switch = numpy_helper.from_array(np.array(True), "c")
    node = helper.make_node("If", ["c"], ["y"], then_branch=body(), else_branch=body())
    return proto_of([node], weights=[switch])


def sequence_output() -> onnx.ModelProto:
    value = helper.make_tensor_sequence_value_info("y", FLOAT, None)
    return proto_of([helper.make_node("SequenceConstruct", ["x"], ["y"])], outputs=[value])


def sequence_input() -> onnx.ModelProto:
    value = helper.make_tensor_sequence_value_info("x", FLOAT, None)
    return proto_of([helper.make_node("SequenceAt", ["x", "i"], ["y"])], inputs=[value])


def optional_input() -> onnx.ModelProto:
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, [4]))
    value = onnx.ValueInfoProto(name="x", type=kind)
    return proto_of([helper.make_node("OptionalGetElement", ["x"], ["y"])], inputs=[value])


def sparse() -> onnx.ModelProto:
    proto = linear()
    proto.graph.sparse_initializer.add(dims=[4])
    return proto


def twice() -> onnx.ModelProto:
    proto = linear()
    proto.graph.initializer.append(proto.graph.initializer[0])
    return proto


def custom() -> onnx.ModelProto:
    return proto_of([helper.make_node("Magic", ["x"], ["y"], domain="com.corp")], domains=("com.corp",))


def unknown() -> onnx.ModelProto:
    return proto_of([helper.make_node("Nonsense", ["x"], ["y"])])


def text() -> onnx.ModelProto:
    value = helper.make_tensor_value_info("x", TensorProto.STRING, [1])
    return proto_of([helper.make_node("Identity", ["x"], ["y"])], inputs=[value])


def half_a_weight() -> onnx.ModelProto:
    proto = linear()
    proto.graph.initializer[0].raw_data = proto.graph.initializer[0].raw_data[:-4]
    return proto


def giant_weight() -> onnx.ModelProto:
    proto = linear()
    proto.graph.initializer[0].dims[0] = 1 << 40
    return proto


def giant_activation() -> onnx.ModelProto:
    huge = numpy_helper.from_array(np.array([1 << 20, 1 << 20], np.int64), "s")
    return proto_of(
        [helper.make_node("Expand", ["x", "s"], ["y"])],
        inputs=[helper.make_tensor_value_info("x", FLOAT, [1, 1])],
        weights=[huge],
    )


def negative_weight() -> onnx.ModelProto:
    proto = linear()
    proto.graph.initializer[0].dims[0] = -4
    return proto


def wrong_shapes() -> onnx.ModelProto:
    return linear(inputs=[helper.make_tensor_value_info("x", FLOAT, [1, 5])])


def out_of_order() -> onnx.ModelProto:
    return proto_of([helper.make_node("Relu", ["r"], ["y"]), helper.make_node("Neg", ["x"], ["r"])])


def circle() -> onnx.ModelProto:
    return proto_of(
        [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])],
        outputs=[helper.make_tensor_value_info("b", FLOAT, None)],
    )


def input_as_output() -> onnx.ModelProto:
    value = helper.make_tensor_value_info("x", FLOAT, ["batch", 4])
    return proto_of([helper.make_node("Relu", ["x"], ["y"])], outputs=[value])


def initializer_as_output() -> onnx.ModelProto:
    value = helper.make_tensor_value_info("w", FLOAT, [4, 300])
    return proto_of([helper.make_node("Relu", ["x"], ["y"])], outputs=[value], weights=[dense()])


def nothing_as_output() -> onnx.ModelProto:
    value = helper.make_tensor_value_info("z", FLOAT, [4])
    return proto_of([helper.make_node("Relu", ["x"], ["y"])], outputs=[value])


def plus_input() -> onnx.ModelProto:
    return proto_of(
        [helper.make_node("Relu", ["a+b"], ["y"])], inputs=[helper.make_tensor_value_info("a+b", FLOAT, [1])]
    )


def made_output() -> onnx.ModelProto:
    return proto_of(
        [helper.make_node("Relu", ["x"], ["a!b"])], outputs=[helper.make_tensor_value_info("a!b", FLOAT, None)]
    )


def exit_output() -> onnx.ModelProto:
    return proto_of(
        [helper.make_node("Relu", ["x"], ["a@~b"])], outputs=[helper.make_tensor_value_info("a@~b", FLOAT, None)]
    )


def empty() -> onnx.ModelProto:
    return onnx.ModelProto()


def lying_output() -> onnx.ModelProto:
    value = helper.make_tensor_value_info("y", TensorProto.INT64, None)
    return proto_of([helper.make_node("Relu", ["x"], ["y"])], outputs=[value])


def no_opset() -> onnx.ModelProto:
    proto = linear()
    del proto.opset_import[:]
    return proto


def functions_in_a_circle() -> onnx.ModelProto:
    opset = [helper.make_opsetid("own", 1)]
    own = helper.make_function("own", "F", ["a"], ["b"], [helper.make_node("F", ["a"], ["b"], domain="own")], opset)
    node = helper.make_node("F", ["x"], ["y"], domain="own")
    return proto_of([node], domains=("own",), functions=[own])


def function_of_another_operator_set() -> onnx.ModelProto:
    old = [helper.make_opsetid("", 11)]
    own = helper.make_function("own", "F", ["a"], ["b"], [helper.make_node("Softmax", ["a"], ["b"])], old)
    return proto_of([helper.make_node("F", ["x"], ["y"], domain="own")], domains=("own",), functions=[own])


def functions_that_double() -> onnx.ModelProto:
    """Forty, each of which calls the one before twice: 2^39 nodes in 3 kB."""
    return doubling(40, [helper.make_node("Relu", ["a"], ["b"])])


def functions_with_a_large_constant() -> onnx.ModelProto:
    """1 MiB, 1,024 times."""
    value = numpy_helper.from_array(np.ones(1 << 18, np.float32))
    nodes = [helper.make_node("Constant", [], ["c"], value=value), helper.make_node("ReduceMax", ["c"], ["m"])]
    return doubling(11, [*nodes, helper.make_node("Add", ["a", "m"], ["b"])])


def doubling(count: int, first: list[onnx.NodeProto]) -> onnx.ModelProto:
    opset = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    functions = [helper.make_function("own", "F0", ["a"], ["b"], first, opset)]
    for i in range(1, count):
        twice = [helper.make_node(f"F{i - 1}", [a], [b], domain="own") for a, b in ("at", "tb")]
        functions.append(helper.make_function("own", f"F{i}", ["a"], ["b"], twice, opset))
    node = helper.make_node(f"F{count - 1}", ["x"], ["y"], domain="own")
    return proto_of([node], domains=("own",), functions=functions)


def endless_window() -> onnx.ModelProto:
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[1 << 62] * 2, auto_pad="SAME_UPPER")
    return proto_of([node], inputs=[helper.make_tensor_value_info("x", FLOAT, ["N", 1, 4, 4])])


def chance() -> onnx.ModelProto:
    nodes = [helper.make_node("RandomNormal", [], ["r"], shape=[4]), helper.make_node("Add", ["x", "r"], ["y"])]
    return proto_of(nodes)


def chance_like_a_constant() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Sqrt", ["w"], ["s"]),
        helper.make_node("RandomUniformLike", ["s"], ["r"]),
        helper.make_node("MatMul", ["x", "r"], ["y"]),
    ]
    return proto_of(nodes, weights=[dense()])


REFUSED: dict[Callable[[], onnx.ModelProto], str] = {
    control_flow: "If .* is control flow",
    sequence_output: "SequenceConstruct .* sequences",
    sequence_input: "input 'x' is a sequence",
    optional_input: "input 'x' is an optional value",
    sparse: "sparse",
    twice: "two initializers are called 'w'",
    custom: "Magic .* custom domain 'com.corp'",
    unknown: "not a valid ONNX model.*Nonsense",
    text: "elements of type STRING",
    half_a_weight: "needs 4,800 bytes and holds 4,796",
    giant_weight: "takes 1,319,413,953,331,200 bytes; 2,000,000,000 is the limit",
    giant_activation: "tensor 'y' of shape .* more than fits",
    negative_weight: "negative dimension",
    wrong_shapes: "contradict each other",
    out_of_order: "not a valid ONNX model",
    circle: "not a valid ONNX model",
    input_as_output: "output 'x' is an input: made by no node",
    initializer_as_output: "output 'w' is an initializer: made by no node",
    nothing_as_output: "output 'z' is not there: made by no node",
    plus_input: r"input 'a\+b' must not contain any of \+ ! @",
    made_output: "output 'a!b' must not contain",
    exit_output: "output 'a@~b' must not contain",
    empty: "nothing to run|0 bytes",
    lying_output: "contradict|another element type",
    no_opset: "0 times; once is right",
    endless_window: "slides a window of 4611686018427387904×4611686018427387904 .* limit",
    chance: "RandomNormal .* depend on no input",
    chance_like_a_constant: "RandomUniformLike .node 'r'. .* depend on no input",
    function_of_another_operator_set: r"'F' imports other operator sets \(standard 11\) than the model \(standard 21",
    functions_in_a_circle: "cannot be unfolded: they call one another in a circle",
    functions_that_double: "unfold into more than the limit: 100,000 nodes",
    functions_with_a_large_constant: "unfold into more than the limit",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda m: m.__name__)
@pytest.mark.parametrize("from_file", [True, False])
def test_refused_in_one_sentence(make: Callable[[], onnx.ModelProto], from_file: bool, tmp_path: Path) -> None:
    proto, path = make(), tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(BadModel, match=REFUSED[make]) as caught:
        load_model_file(path) if from_file else model_from_proto(proto, "m")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_numbers_drawn_for_an_input_are_taken() -> None:
    nodes = [helper.make_node("RandomNormalLike", ["x"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])]
    assert [n.op_type for n in model_from_proto(proto_of(nodes), "m").proto.graph.node] == ["RandomNormalLike", "Add"]


@pytest.mark.parametrize("text", ["doc-string-", "node-name--", "graph-name-", "tensorname-", "input-name-"])
def test_names_must_be_text(text: str, tmp_path: Path) -> None:
    """protobuf takes any bytes for a string."""
    proto = proto_of(
        [helper.make_node("MatMul", ["input-name-", "tensorname-"], ["y"], name="node-name--")],
        inputs=[helper.make_tensor_value_info("input-name-", FLOAT, [1, 4])],
        weights=[dense("tensorname-")],
    )
    proto.graph.name, proto.doc_string = "graph-name-", "doc-string-"
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    load_model_file(path)
    path.write_bytes(proto.SerializeToString().replace(text.encode(), text[:-1].encode() + b"\xe9"))
    with pytest.raises(BadModel, match="is not text"):
        load_model_file(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="not there"):
        load_model_file(tmp_path / "absent.onnx")
    with pytest.raises(BadModel, match="a folder"):
        load_model_file(tmp_path)
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(BadModel, match="0 bytes"):
        load_model_file(tmp_path / "empty.onnx")
    (tmp_path / "text.onnx").write_text("not a model at all, but a sentence")
    with pytest.raises(BadModel, match="does not parse"):
        load_model_file(tmp_path / "text.onnx")
    with pytest.raises(BadModel, match=r"not there|cannot be read"):
        load_model_file("a\0b.onnx")


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(linear(), tmp_path)
    monkeypatch.setattr(onnx_file, "LIMITS", Limits(file_bytes=100))
    with pytest.raises(BadModel, match="a model has 1 to 100"):
        load_model_file(path)
    monkeypatch.setattr(onnx_file, "LIMITS", Limits(weight_bytes=1000))
    with pytest.raises(BadModel, match="more than 1,000 bytes together"):
        load_model_file(path)

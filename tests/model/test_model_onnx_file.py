"""Loading files: what comes out is converted, named and shaped; what cannot be cut is refused in one sentence."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from isthmus.errors import BadModel
from isthmus.model import Model, load_model, load_model_file, model_from_proto, onnx_file
from isthmus.model import initializers as store
from isthmus.model.limits import Limits

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


def test_a_batch_that_moves_is_refused() -> None:
    with pytest.raises(BadModel, match="dimension 1 of output 'y' is N"):
        model_from_proto(proto_of([helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0])]), "m")


def test_shapes_that_depend_on_the_data_are_refused() -> None:
    output = [helper.make_tensor_value_info("y", TensorProto.INT64, None)]
    proto = proto_of([helper.make_node("NonZero", ["x"], ["y"])], outputs=output)
    with pytest.raises(BadModel, match=r"'y' \(made by NonZero\) does not follow"):
        model_from_proto(proto, "m")


# what is refused


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


def plus_input() -> onnx.ModelProto:
    return proto_of(
        [helper.make_node("Relu", ["a+b"], ["y"])], inputs=[helper.make_tensor_value_info("a+b", FLOAT, [1])]
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
    input_as_output: "output 'x' is made by no node",
    plus_input: "must not contain '\\+'",
    empty: "nothing to run|0 bytes",
    lying_output: "contradict|another element type",
    no_opset: "0 times; once is right",
    functions_in_a_circle: "cannot be unfolded|custom domain",
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


# external data


def external(folder: Path) -> tuple[onnx.ModelProto, Path]:
    path = saved(linear(), folder, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return onnx.load_model(path, load_external_data=False), path


def redirected(folder: Path, **entries: str) -> Path:
    proto, path = external(folder)
    for entry in proto.graph.initializer[0].external_data:
        entry.value = entries.pop(entry.key, entry.value)
    for key, value in entries.items():
        proto.graph.initializer[0].external_data.add(key=key, value=value)
    path.write_bytes(proto.SerializeToString())
    return path


def test_external_data(tmp_path: Path) -> None:
    _, path = external(tmp_path)
    model = load_model_file(path)
    assert numpy_helper.to_array(model.proto.graph.initializer[0]).tolist() == numpy_helper.to_array(dense()).tolist()
    assert model.fingerprint == model_from_proto(linear(), "m").fingerprint
    (tmp_path / "weights.bin").rename(tmp_path / "other")
    with pytest.raises(BadModel, match="not there"):
        load_model_file(path)


@pytest.mark.parametrize(
    "location",
    [
        "../secret",
        "/etc/hostname",
        "a/../../secret",
        "..",
        ".",
        "",
        "link",
        "C:secret",
        "..\\secret",
        "linked/secret",
        "a\0b",
    ],
)
def test_external_data_stays_in_the_folder(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(4800))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "linked").symlink_to(tmp_path)
    with pytest.raises(BadModel, match="external file"):
        load_model_file(redirected(folder, location=location))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": "8"}, "at 8 of the 4,800"),
        ({"offset": "-8"}, "at -8"),
        ({"length": "100"}, "says 100 bytes"),
        ({"length": "9" * 30}, "says 9"),
        ({"offset": "many"}, "not a number"),
    ],
)
def test_external_sizes_are_checked(entries: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadModel, match=message):
        load_model_file(redirected(tmp_path, **entries))


def test_external_data_is_not_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadModel, match="must be a file"):
        load_model_file(redirected(tmp_path, location="pipe"))


def test_external_data_of_a_model_in_memory(tmp_path: Path) -> None:
    proto, _ = external(tmp_path)
    with pytest.raises(BadModel, match="has no folder"):
        model_from_proto(proto, "m")


def test_external_data_in_a_constant_node(tmp_path: Path) -> None:
    value = dense()
    value.ClearField("raw_data")
    value.data_location = TensorProto.EXTERNAL
    value.external_data.add(key="location", value="weights.bin")
    nodes = [helper.make_node("Constant", [], ["w"], value=value), helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = tmp_path / "m.onnx"
    path.write_bytes(proto_of(nodes).SerializeToString())
    (tmp_path / "weights.bin").write_bytes(bytes(4800))
    with pytest.raises(BadModel, match="external file; only initializers may"):
        load_model_file(path)


def test_sizes_are_counted_without_memory() -> None:
    assert store.tensor_bytes((1 << 30, 1 << 30), TensorProto.DOUBLE, "t") == 1 << 63
    assert store.tensor_bytes((3,), TensorProto.INT4, "t") == 2
    with pytest.raises(BadModel, match="unknown element type 999"):
        store.tensor_bytes((3,), 999, "t")
    with pytest.raises(BadModel, match="17 dimensions"):
        store.tensor_bytes((1,) * 17, FLOAT, "t")

"""Weights in files of their own: within the folder, within bounds, never followed elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import pytest
from model_protos import dense, linear, proto_of, saved
from onnx import TensorProto, helper, numpy_helper

from isthmus.errors import BadModel
from isthmus.model import initializers as store
from isthmus.model import load_model_file, model_from_proto

FLOAT = TensorProto.FLOAT


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

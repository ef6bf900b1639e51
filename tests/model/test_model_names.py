"""How models are called."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from isthmus.errors import BadModel, Missing
from isthmus.model import ZOO, light_models, load_model, zoo_names


def test_zoo_names() -> None:
    assert zoo_names() == tuple(f"zoo:{n}" for n in ZOO)


def test_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(BadModel, match="zoo:resnet50") as caught:
        load_model("zoo:resnet51")
    assert "vgg16" not in str(caught.value)
    with pytest.raises(BadModel, match="light:squeezenet"):
        load_model("light:squeezenett")
    with pytest.raises(BadModel, match="zoo:tiny"):
        load_model("zoo:")


def test_forgotten_scheme() -> None:
    with pytest.raises(BadModel, match="zoo:resnet50"):
        load_model("resnet50")


def test_a_file_of_a_zoo_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny").write_bytes(load_model("zoo:tiny").proto.SerializeToString())
    assert load_model("tiny").fingerprint == load_model("zoo:tiny").fingerprint


def test_a_path_that_looks_like_a_scheme(tmp_path: Path) -> None:
    path = tmp_path / "zoo:own.onnx"
    path.write_bytes(load_model("zoo:tiny").proto.SerializeToString())
    assert load_model(path).name == "zoo:own"


def test_shapes_are_for_files() -> None:
    with pytest.raises(BadModel, match="files only"):
        load_model("zoo:tiny", shapes={"input": (1, 1, 8, 8)})


@pytest.mark.parametrize("scheme", ["torchvision", "timm"])
def test_missing_library(scheme: str) -> None:
    if importlib.util.find_spec(scheme):
        pytest.skip(f"{scheme} is installed")
    with pytest.raises(Missing, match="not installed"):
        load_model(f"{scheme}:resnet18")


@pytest.mark.parametrize("name", light_models())
def test_light_models_have_shapes_without_weights(name: str) -> None:
    model = load_model(f"light:{name}", weights=False)
    assert model.inputs[0].shape == (1, 3, 224, 224)
    assert not model.has_weights
    assert "ConstantOfShape" not in {n.op_type for n in model.proto.graph.node}


def test_there_are_nine() -> None:
    assert len(light_models()) == 9

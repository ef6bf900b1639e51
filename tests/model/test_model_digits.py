"""The trained network's accuracies, measured on pictures it was not trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

import isthmus.model.zoo as zoo
from isthmus.model import digits_test, load_model

ACCURACY = {"exit1": 0.9220, "exit2": 0.9644, "exit3": 0.9978}
"""Of 449 test pictures; one picture is 0.0022."""


def test_accuracy_rises_from_exit_to_exit() -> None:
    model = load_model("zoo:digits")
    images, labels = digits_test()
    session = ort.InferenceSession(model.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [o.name for o in model.outputs]
    assert names == ["exit1", "exit2", "exit3"]
    for name, logits in zip(names, session.run(names, {model.inputs[0].name: images}), strict=True):
        right = (np.asarray(logits).argmax(axis=1) == labels).mean()
        assert abs(float(right) - ACCURACY[name]) <= 0.0023
    assert 0.85 <= ACCURACY["exit1"] < ACCURACY["exit2"] < ACCURACY["exit3"]
    assert ACCURACY["exit3"] >= 0.97


def test_pictures_and_labels() -> None:
    images, labels = digits_test()
    assert images.shape == (449, 1, 8, 8)
    assert images.dtype == np.float32
    assert labels.dtype == np.int64
    assert images.min() == 0.0
    assert images.max() == 1.0
    assert (np.bincount(labels) > 30).all()


def test_small_and_narrow_in_the_middle() -> None:
    model = load_model("zoo:digits")
    assert model.dynamic_batch
    assert model.inputs[0].shape == (None, 1, 8, 8)
    folder = Path(zoo.__file__).parent
    assert sum((folder / f).stat().st_size for f in ("digits.onnx", "digits.npz")) < 500_000
    convs = [n.output[0] for n in model.proto.graph.node if n.op_type == "Conv"]
    sizes = {
        v.name: np.prod([d.dim_value for d in v.type.tensor_type.shape.dim[1:]]) for v in model.proto.graph.value_info
    }
    assert len(convs) == 10
    assert [int(sizes[c]) for c in convs if sizes[c] < 64] == [48, 32]


def test_shapes_only() -> None:
    assert not load_model("zoo:digits", weights=False).has_weights

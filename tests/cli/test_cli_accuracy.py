"""`isthmus profile --accuracy` as a person types it: on digits, and on the trained networks of ISTHMUS_DATA."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import Call

from isthmus.model import digits_test

TRAINED = {
    "cifar10_resnet20": (("cifar10", "imagenet"), 0.8102),
    "cifar10_resnet56": (("cifar10", "imagenet"), 0.8302),
    "mlperf_tiny_resnet8": (("cifar10", "bytes"), 0.7644),
    "mobilenet_v1_0.5_160": (("imagenet", "centred", "--first-class", 1), 0.6754),
    "mobilenet_v2_1.0_224": (("imagenet", "centred", "--first-class", 1), 0.7877),
}
"""How each is fed, and the accuracy on the whole of these pictures."""


def test_digits_without_a_word_about_data(call: Call, tmp_path: Path) -> None:
    code, out, err = call("profile", "zoo:digits", "--accuracy", "--out", tmp_path / "a.json", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found == json.loads((tmp_path / "a.json").read_text())
    assert (found["samples"], found["classes"], found["data"]) == (449, 10, "digits")
    assert found["right"] == round(found["score"] * 449) > 435
    code, out, _ = call("profile", "zoo:digits", "--accuracy", "--out", tmp_path / "a.json")
    assert code == 0
    assert f"({found['right']} of 449)" in out


def test_classes_that_begin_later(call: Call, tmp_path: Path) -> None:
    """Labels one too low are right again with --first-class 1."""
    images, labels = digits_test()
    places = labels > 0
    np.savez(tmp_path / "low.npz", image=images[places], labels=labels[places] - 1)
    words = ("profile", "zoo:digits", "--accuracy", "--data", tmp_path / "low.npz", "--out", tmp_path / "a", "--json")
    scores = [json.loads(call(*words, *more)[1])["score"] for more in ((), ("--first-class", 1))]
    assert scores[0] < 0.2
    assert scores[1] > 0.97


def test_a_zip_file_that_lists_classes(call: Call, tmp_path: Path) -> None:
    """Pictures of 9 × 9 are cut to the model's 8 × 8, those of another size resized."""
    pytest.importorskip("PIL", reason="pillow is not installed")
    from PIL import Image

    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        lines = []
        for number, side in enumerate((8, 9, 40)):
            Image.new("RGB", (side, side), (10 * number, 0, 0)).save(tmp_path / "one.png")
            archive.write(tmp_path / "one.png", f"{number}.png")
            lines.append(f"{number}.png {number}")
        archive.writestr("labels.txt", "\n".join(lines))
    code, _, err = call("profile", "zoo:tiny", "--accuracy", "--data", tmp_path / "some.zip", "--out", tmp_path / "a")
    assert code == 2
    assert "takes input (1, 8, 8); the pictures of some are (3, 8, 8)" in err


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("", "lists 0 pictures"),
        ("a.png", "line 1 of labels.txt is no FILE CLASS"),
        ("a.png -1", "line 1 of labels.txt is no FILE CLASS"),
        ("a.png 3", "no item named 'a.png'"),
    ],
)
def test_lists_that_are_none(call: Call, tmp_path: Path, lines: str, sentence: str) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("labels.txt", lines)
    code, _, err = call("profile", "zoo:tiny", "--accuracy", "--data", tmp_path / "bad.zip")
    assert (code, sentence in err) == (2, True), err


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("zoo:tiny", "--accuracy"), 2, "the accuracy is measured on labelled data: give --data digits"),
        (("zoo:tiny", "--accuracy", "--data", "imagenet"), 6, "imagenet is not here"),
        (("zoo:tiny", "--accuracy", "--exits"), 2, "not both"),
        (("zoo:tiny", "--samples", 3), 2, "give --accuracy too"),
        (("zoo:tiny", "--accuracy", "--data", "digits"), 2, "do not fit tiny, whose 4 classes count from 0"),
        (("zoo:tiny", "--accuracy", "--data", "digits", "--scale", "1,2/3"), 2, "as many stds"),
        (("zoo:digits", "--accuracy", "--data", __file__), 2, "no zip file of pictures with a labels.txt"),
    ],
)
def test_what_cannot_be_judged(
    call: Call, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...], code: int, sentence: str
) -> None:
    monkeypatch.delenv("ISTHMUS_DATA", raising=False)
    found, _, err = call("profile", *words)
    assert (found, sentence in " ".join(err.split())) == (code, True), err


SLOW = ("cifar10_resnet56", "mobilenet_v2_1.0_224", "cifar10_resnet20")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in TRAINED])
def test_trained_networks(call: Call, tmp_path: Path, name: str) -> None:
    """A tenth of the pictures, within four standard errors."""
    root = os.environ.get("ISTHMUS_DATA")
    model = Path(root or ".") / "models" / f"{name}.onnx"
    if not root or not model.exists():
        pytest.skip("ISTHMUS_DATA names no folder of trained networks")
    (data, scale, *more), whole = TRAINED[name]
    few = ("--samples", 60 if data == "imagenet" else 500)
    words = ("--data", data, "--scale", scale, *more, *few, "--out", tmp_path / "a.json", "--json")
    code, out, err = call("profile", model, "--accuracy", *words)
    assert code == 0, err
    found = json.loads(out)
    assert found["samples"] == few[1]
    assert found["score"] == pytest.approx(whole, abs=4 * found["give_or_take"])


def test_codecs_judged_on_labelled_pictures(call: Call, tmp_path: Path) -> None:
    """`pack` takes the same pictures by the same words: which codecs keep the accuracy, Huffman-coded ones too."""
    root = os.environ.get("ISTHMUS_DATA")
    model = Path(root or ".") / "models" / "mlperf_tiny_resnet8.onnx"
    if not root or not model.exists():
        pytest.skip("ISTHMUS_DATA names no folder of trained networks")
    codecs = ("--codecs", "float32,int4+huffman,int1+huffman", "--up", "1Mbit", "--runs", 1)
    pictures = ("--data", "cifar10", "--picture", "bytes", "--samples", 60)
    code, out, err = call("pack", model, "--out", tmp_path / "bundle", *codecs, *pictures, "--json")
    assert code == 0, err
    manifest = json.loads(out)
    rows = {(row["cut"], row["codec"]): row for row in manifest["accuracy"]}
    assert all(row["labelled"] and row["samples"] == 30 for row in rows.values())
    lost = {codec: np.mean([r["loss"] for (_, c), r in rows.items() if c == codec]) for _, codec in rows}
    assert lost["int4+huffman"] < 0.05 < lost["int1+huffman"]

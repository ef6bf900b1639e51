"""`isthmus train-exits` and `isthmus profile --exits` as a person types them."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import Call

from isthmus.cli import train_exits as command
from isthmus.files import read_json
from isthmus.model import digits_test
from isthmus.profile import ExitTable


@pytest.fixture
def torch() -> None:
    pytest.importorskip("torch", reason="the torch extra is not installed")
    pytest.importorskip("onnxscript", reason="the torch extra is not installed")


@pytest.mark.usefixtures("torch")
def test_train_on_digits_then_judge_what_was_written(call: Call, tmp_path: Path) -> None:
    words = ("train-exits", "--data", "digits", "--out", tmp_path, "--epochs", 15, "--rate", 0.01, "--json")
    code, out, err = call(*words)
    assert code == 0, err
    result = json.loads(out)
    table = read_json(tmp_path / "exits.json", ExitTable)
    assert result["exits"] == table.model_dump(mode="json")
    assert "1123 pictures are few to learn from" in err
    assert result["export_difference"] < 1e-4
    assert [r.output for r in table.rows] == ["exit1", "exit2"]
    assert (table.samples, table.calibrated_on) == (449, 225)
    assert table.rows[-1].accuracy > 0.8
    assert {Path(p).name for p in result["files"].values()} == {p.name for p in tmp_path.iterdir()}
    code, out, err = call(
        "profile", tmp_path / "b_lenet.onnx", "--exits", "--data", "digits", "--out", tmp_path / "again.json", "--json"
    )
    assert code == 0, err
    again = json.loads(out)
    assert again["fingerprint"] == table.fingerprint
    assert again["samples"] == 225
    assert again["rows"][1]["accuracy"] == pytest.approx(table.rows[1].accuracy, abs=0.08)


@pytest.mark.usefixtures("torch")
def test_interrupted_then_resumed(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after the second epoch: the checkpoint stays, and going on gives what one go would have given."""
    words = ("--data", "digits", "--epochs", 3, "--rate", 0.01, "--batch", 128, "--json")

    @contextmanager
    def soon() -> Iterator[threading.Event]:
        stopped = threading.Event()
        left = iter(range(17))  # 8 steps an epoch
        stopped.is_set = lambda: next(left, None) is None  # type: ignore[method-assign]
        yield stopped

    with monkeypatch.context() as patched:
        patched.setattr(command, "interruptible", soon)
        code, out, err = call("train-exits", "--out", tmp_path / "a", *words)
    assert (code, out) == (130, "")
    assert "interrupted after 2 epochs; go on with --resume" in err
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["checkpoint.pt"]
    assert call("train-exits", "--out", tmp_path / "a", "--resume", *words)[0] == 0
    assert call("train-exits", "--out", tmp_path / "b", *words)[0] == 0
    one, other = ((tmp_path / name / "b_lenet.onnx").read_bytes() for name in "ab")
    assert one == other


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--data", "nowhere"), 6, "there is no folder nowhere"),
        (("--weights", "1,x"), 2, "'1,x' is no list of weights"),
        (("--weights", "1,1,1"), 2, "2 exits need 2 weights"),
        (("--rate", "-1"), 2, "rate: Input should be greater than 0"),
        (("--at", "nothing"), 2, "no module 'nothing'"),
        (("--net", "b_resnet", "--depth", "9"), 2, "6 n + 2 layers"),
        (("--net", "vgg"), 2, "'vgg' is not one of"),
    ],
)
def test_what_cannot_be_trained(call: Call, tmp_path: Path, words: tuple[str, ...], code: int, sentence: str) -> None:
    found, _, err = call("train-exits", "--out", tmp_path, *words)
    assert (found, sentence in err) == (code, True), err


@pytest.mark.usefixtures("torch")
def test_a_folder_without_pictures(call: Call, tmp_path: Path) -> None:
    code, _, err = call("train-exits", "--data", tmp_path, "--out", tmp_path)
    assert code == 2
    assert "holds no labelled pictures" in err


def test_without_torch_one_sentence_says_what_to_install(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    code, _, err = call("train-exits", "--out", tmp_path)
    assert code == 6
    assert "which is not installed: pip install 'isthmus[torch]'" in err


def test_exits_of_a_finished_model(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call("profile", "zoo:digits", "--exits", "--rule", "confidence", "--loss", 0.02)
    assert code == 0, err
    table = read_json(tmp_path / "exits.json", ExitTable)
    assert table.rule == "confidence"
    assert "leaving early:" in out
    assert f"{table.rows[0].share:.1%}" in out


def test_samples_from_a_file(call: Call, tmp_path: Path) -> None:
    images, labels = digits_test()
    np.savez(tmp_path / "some.npz", image=images, labels=labels)
    code, out, err = call(
        "profile", "zoo:digits", "--exits", "--data", tmp_path / "some.npz", "--out", tmp_path / "e.json", "--json"
    )
    assert code == 0, err
    assert json.loads(out)["data"] == "some"


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("zoo:tiny", "--exits", "--data", "digits"), 3, "no early exit among its outputs (logits (1, 4))"),
        (("zoo:b_lenet", "--exits", "--data", "digits"), 2, "takes input (1, 28, 28); the pictures of digits are"),
        (("zoo:b_lenet", "--exits"), 2, "give --data digits, mnist, cifar10"),
        (("zoo:digits", "--data", "digits"), 2, "give --accuracy, or --exits"),
        (("zoo:digits", "--exits", "--data", "mnist"), 6, "mnist is not here"),
        (("zoo:digits", "--exits", "--data", "x.npz", "--scale", "0/1"), 2, "--scale is for pictures"),
    ],
)
def test_what_cannot_be_judged(
    call: Call, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, sentence: str
) -> None:
    monkeypatch.delenv("ISTHMUS_DATA", raising=False)
    found, _, err = call("profile", *words)
    assert (found, sentence in err) == (code, True), err

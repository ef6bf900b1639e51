"""What answers are judged by where a model does not end in scores of classes: numbers, many rows, whole numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import Call
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from isthmus.codec import make_codec
from isthmus.engine import Engine
from isthmus.errors import BadInput, BadModel
from isthmus.model import load_model
from isthmus.profile.accuracy import measure_accuracy
from isthmus.profile.distortion import Widths, measure_distortions
from isthmus.profile.heads import HeadJudge
from isthmus.profile.judging import answers_of, kept
from isthmus.profile.samples import Samples
from isthmus.quant import BitPlan

WEIGHTS = np.random.default_rng(0).standard_normal((20, 12), np.float32)


def saved(folder: Path, columns: int, end: str, shape: tuple[int, ...]) -> Path:
    """x (N, 20) → relu `r` (N, 12) → (N, columns) → `end`, of this shape."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Relu", ["m"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["s"]),
        helper.make_node(end, ["s", "to"] if end == "Reshape" else ["s"], ["y"]),
    ]
    values: dict[str, NDArray[Any]] = {"w": WEIGHTS, "v": WEIGHTS[:12, :columns] / 4, "to": np.array([-1, *shape[1:]])}
    graph = helper.make_graph(
        nodes,
        "ending",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 20])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", *shape[1:]])],
        [numpy_helper.from_array(v, k) for k, v in values.items() if k != "to" or end == "Reshape"],
    )
    path = folder / "ending.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def inputs(count: int = 64) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((count, 20), np.float32)


ENDINGS = [(1, "Sigmoid", (1, 1)), (12, "Reshape", (1, 4, 3)), (6, "Reshape", (1, 6, 1))]


@pytest.mark.parametrize(("columns", "end", "shape"), ENDINGS)
def test_labels_judge_scores_of_classes_only(
    columns: int, end: str, shape: tuple[int, ...], tmp_path: Path, cache_dir: Path
) -> None:
    model = load_model(str(saved(tmp_path, columns, end, shape)))
    samples = Samples({"x": inputs()}, np.arange(64) % 2)
    engine = Engine.open(model, cache_dir=cache_dir)
    with pytest.raises(BadModel, match=r"ending cannot be judged by labels: its last output y .* without labels"):
        measure_accuracy(engine, samples, [("r", "int1")], lambda *_: make_codec("int1"))
    tables = measure_distortions(model, Samples(samples.inputs), Widths((1, 8)), source="x")
    with pytest.raises(BadModel, match="ending cannot be judged by labels"):
        HeadJudge(model, tables, samples)


@pytest.mark.parametrize(("columns", "end", "shape"), ENDINGS)
def test_without_labels_few_bits_are_not_lossless(
    columns: int, end: str, shape: tuple[int, ...], tmp_path: Path, cache_dir: Path
) -> None:
    model = load_model(str(saved(tmp_path, columns, end, shape)))
    samples = Samples({"x": inputs()})
    engine = Engine.open(model, cache_dir=cache_dir)
    names = ("int1", "int8", "float32")
    rows = measure_accuracy(engine, samples, [("r", n) for n in names], lambda _c, _t, name: make_codec(name))
    loss = {row.codec: row.loss for row in rows}
    assert loss["int1"] > 0.3
    assert loss["int8"] <= 0.25 * loss["int1"]
    assert loss["float32"] == 0
    tables = measure_distortions(model, samples, Widths((1, 8)), source="x")
    judge = HeadJudge(model, tables, samples)
    assert judge.score == 1
    assert (
        judge.loss("r", "int1", BitPlan(weights={n.name: 1 for n in engine.graph.nodes}, outputs={"r": 1})).loss > 0.3
    )


def test_labels_of_other_classes_do_not_judge_codecs(tmp_path: Path, cache_dir: Path) -> None:
    engine = Engine.open(load_model(str(saved(tmp_path, 3, "Softmax", (1, 3)))), cache_dir=cache_dir)
    with pytest.raises(BadInput, match="labels from 1 to 3 do not fit ending, whose 3 classes count from 0"):
        measure_accuracy(
            engine, Samples({"x": inputs(6)}, np.arange(6) % 3 + 1), [("r", "int8")], lambda *_: make_codec("int8")
        )


def test_numbers_are_kept_where_they_stay_near() -> None:
    whole = answers_of(np.array([[0.0], [10.0], [20.0], [30.0]], np.float32), 4)
    spread = float(np.std([0, 10, 20, 30]))
    moved = np.asarray(whole, np.float64) + np.array([[0.049], [-0.049], [0.051], [np.nan]]) * spread
    assert kept(moved, whole, whole).tolist() == [True, True, False, False]
    flat = answers_of(np.array([1.0, 2.0], np.float32), 2)
    assert flat.shape == (2, 1)


def test_whole_numbers_must_be_the_same() -> None:
    """As of a model that ends in its own argmax: class 3 is not near class 4."""
    for shape in ((4,), (4, 1)):
        whole = answers_of(np.array([0, 999, 3, 500]).reshape(shape), 4)
        found = answers_of(np.array([0, 999, 4, 500]).reshape(shape), 4)
        assert kept(found, whole, whole).tolist() == [True, True, False, True]


def test_pack_refuses_labels_for_one_number(call: Call, tmp_path: Path) -> None:
    model = saved(tmp_path, 1, "Sigmoid", (1, 1))
    np.savez(tmp_path / "labelled.npz", x=inputs(), labels=np.arange(64) % 2)
    np.savez(tmp_path / "bare.npz", x=inputs())
    words = ("pack", model, "--codecs", "float32,int8,int1", "--runs", 1, "--out", tmp_path / "b", "--data")
    code, _, err = call(*words, tmp_path / "labelled.npz")
    assert (code, "ending cannot be judged by labels" in " ".join(err.split())) == (3, True), err
    code, _, err = call(*words, tmp_path / "bare.npz")
    assert code == 0, err
    assert "codecs at cuts lose more than 1.0% and are left out" in " ".join(err.split())


def test_what_is_no_number_is_kept_where_it_stays_that() -> None:
    """And does not make everything else lost, nor the whole network's own answers."""
    whole = np.array([[1.0], [2.0], [3.0], [-np.inf], [np.nan]])
    assert kept(whole, whole, whole).all()
    moved = np.array([[1.01], [2.5], [np.nan], [-np.inf], [np.nan]])
    assert kept(moved, whole, whole).tolist() == [True, False, False, True, True]
    assert kept(-whole, whole, whole).tolist() == [False, False, False, False, True]
    one = np.array([[100.0]])
    assert kept(one + 1, one, one).all()
    assert not kept(one + 6, one, one).any()
    assert kept(one * np.nan, one * np.nan, one * np.nan).all()

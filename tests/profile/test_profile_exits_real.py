"""On real pictures: what exits cost the last one, and how many inputs they save the rest. Trains for two minutes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="the torch extra is not installed")
pytest.importorskip("onnxscript", reason="the torch extra is not installed")

from isthmus.graph import graph_of  # noqa: E402
from isthmus.model.exits.branches import Branched  # noqa: E402
from isthmus.model.exits.export import to_model  # noqa: E402
from isthmus.model.exits.recipe import Recipe, make  # noqa: E402
from isthmus.model.exits.train import Labelled, Training, answers_of, train  # noqa: E402
from isthmus.profile.datasets import Dataset, apart, load_dataset  # noqa: E402
from isthmus.profile.exit_table import Answers, exit_table  # noqa: E402


def mnist() -> Dataset:
    root = os.environ.get("ISTHMUS_DATA")
    if not root or not (Path(root) / "images" / "mnist").is_dir():
        pytest.skip("ISTHMUS_DATA with its MNIST images is not set")
    return load_dataset("mnist", data_folder=Path(root))


@pytest.mark.slow
def test_b_lenet_on_mnist() -> None:
    """The default weights of the exits: the last loses at most a point against the network alone and is 98 % right or
    better; four inputs in five leave at the first exit within half a point of that."""
    torch.set_num_threads(1)
    pictures = mnist()
    learn, validate = (Labelled(pictures.floats(p), p.labels) for p in apart(pictures.train, 1 / 6, 0))
    test = pictures.floats(pictures.test)
    recipe = Recipe(net="b_lenet", shape=pictures.shape, classes=10)
    how = Training(epochs=14, rate=4e-3, shift=2)
    net, alone = make(recipe), Branched(make(recipe).net, {})
    train(net, learn, validate, how)
    train(alone, learn, validate, how)
    answers = (
        Answers(answers_of(net, validate.pictures), validate.labels),
        Answers(answers_of(net, test), pictures.test.labels),
    )
    table = exit_table(
        graph_of(to_model(net, pictures.shape, name="b_lenet")), *answers, data="mnist", allowed_loss=0.002
    )
    (logits,) = answers_of(alone, test).values()
    without = float((logits.argmax(1) == pictures.test.labels).mean())
    last = table.rows[-1].accuracy
    assert last >= without - 0.01
    assert last >= 0.98
    assert table.rows[0].share >= 0.8
    assert table.accuracy >= last - 0.005

"""The training of the plate reader, on a handful of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import camera_rig  # noqa: F401 - makes the example importable
import torch
from plate_network import OUTPUTS, Plates
from plate_pictures import SIDE, scene
from train_plates import Pool, Training, export, loss, pool, row, symbols

from isthmus.engine import Engine
from isthmus.model import load_model


@pytest.fixture(scope="module")
def few() -> Pool:
    torch.set_num_threads(1)
    return pool(4, 900_000, lambda _: None)


def test_the_pool_holds_pictures_and_their_labels(few: Pool) -> None:
    for k in range(4):
        taken = scene(900_000 + k)
        assert np.array_equal(few.pixels[k], taken.pixels)
        assert few.there[k].sum() == len(taken.plates)
        for j, plate in enumerate(taken.plates):
            assert few.places[k, j].tolist() == row(plate).tolist()
            assert few.letters[k, j].tolist() == symbols(plate.text).tolist()


def test_a_few_steps_make_the_loss_smaller(few: Pool) -> None:
    training = Training(few, steps=30, size=2)
    training.network.train()
    lost = [training.step() for _ in range(18)]
    assert np.mean(lost[-4:]) < 0.7 * np.mean(lost[:4])


def test_each_part_of_the_loss_reaches_the_camera_s_layers(few: Pool) -> None:
    network = Plates().train()
    torch.autograd.backward(loss(network, few.batch(np.arange(2))))
    for name, value in network.named_parameters():
        assert value.grad is not None, name
        assert bool(torch.isfinite(value.grad).all()), name
        assert float(value.grad.abs().max()) > 0, name


def test_a_training_that_was_interrupted_ends_the_same(few: Pool, tmp_path: Path) -> None:
    straight, first, second = (Training(few, steps=10, size=2) for _ in range(3))
    for training in (straight, first, second):
        training.network.train()
    wanted = [straight.step() for _ in range(4)]
    found = [first.step() for _ in range(2)]
    first.keep(tmp_path / "checkpoint.pt")
    second.resume(tmp_path / "checkpoint.pt")
    assert second.done == 2
    assert [*found, second.step(), second.step()] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.slow
def test_the_exported_network_answers_as_the_trained_one(tmp_path: Path) -> None:
    network = Plates().eval()
    export(network, tmp_path / "plates.onnx")
    engine = Engine.open(load_model(str(tmp_path / "plates.onnx")), cuts="none")
    pictures = torch.rand(3, 3, SIDE, SIDE)
    with torch.no_grad():
        wanted = network(pictures)
    found = engine.whole({"image": pictures.numpy()})
    for name, value in zip(OUTPUTS, wanted, strict=True):
        assert np.allclose(found[name], value.numpy(), atol=1e-3), name

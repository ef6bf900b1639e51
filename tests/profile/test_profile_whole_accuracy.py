"""The share of right answers: against counting by hand, at any batch size, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.engine import Engine
from isthmus.errors import BadInput, BadModel
from isthmus.model import digits_test, load_model
from isthmus.profile.samples import Samples
from isthmus.profile.whole_accuracy import _ranks, whole_accuracy


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.open(load_model("zoo:digits"), cuts="none")


@pytest.fixture(scope="module")
def samples(engine: Engine) -> Samples:
    images, labels = digits_test()
    # a third of the labels wrong, so that the share is worth counting
    wrong = np.where(np.arange(len(labels)) % 3 == 0, (labels + 1) % 10, labels)
    return Samples({engine.model.inputs[0].name: images[:100]}, wrong[:100])


@pytest.mark.parametrize("batch", [1, 7, 100, 1000])
def test_counted_by_hand(engine: Engine, samples: Samples, batch: int) -> None:
    seen: list[int] = []
    found = whole_accuracy(engine, samples, data="d", batch=batch, progress=lambda done, of, _: seen.append(done))
    outputs = engine.whole(dict(samples.inputs))[engine.model.outputs[-1].name]
    labels = np.asarray(samples.labels)
    assert found.right == int((outputs.argmax(1) == labels).sum())
    best = np.argsort(-np.asarray(outputs, np.float64), axis=1, kind="stable")[:, :5]
    assert found.within_5 == pytest.approx((best == labels[:, None]).any(axis=1).mean())
    assert 0.5 < found.score == found.right / 100 < 0.8 < (found.within_5 or 0)
    assert found.give_or_take == pytest.approx(np.sqrt(found.score * (1 - found.score) / 100))
    assert seen[-1] == 100
    assert len(seen) == -(-100 // batch)


def test_what_cannot_be_judged(engine: Engine, samples: Samples) -> None:
    with pytest.raises(BadInput, match="only on labelled samples"):
        whole_accuracy(engine, Samples(samples.inputs), data="d")
    with pytest.raises(BadInput, match=r"labels from 1 to 10 do not fit digits, whose 10 classes"):
        whole_accuracy(engine, Samples(samples.inputs, np.arange(100) % 10 + 1), data="d")
    detector = Engine.open(load_model("zoo:yolov3_tiny"), cuts="none")
    inputs = detector.model.random_inputs(1)
    with pytest.raises(BadModel, match=r"last output boxes_26 has shape \(1, 255, 26, 26\)"):
        whole_accuracy(detector, Samples(inputs, np.zeros(1, np.int64)), data="d")


def test_an_answer_that_is_no_number_is_not_right() -> None:
    scores = np.array([[np.nan, np.nan, np.nan], [np.nan, 2.0, 1.0], [np.nan, 2.0, 1.0]])
    assert _ranks(scores, np.array([0, 0, 2])).tolist() == [3, 3, 1]

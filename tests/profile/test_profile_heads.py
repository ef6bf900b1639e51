"""Losses of quantised heads against counting answers the slow way, and heads that are given up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.codec import PictureScale, make_codec
from isthmus.engine import Engine
from isthmus.errors import BadInput
from isthmus.graph import INPUT, OUTPUT, fused_graph, graph_of
from isthmus.model import Model, digits_test, fused
from isthmus.profile.distortion import Widths, measure_distortions
from isthmus.profile.heads import FEWEST, HeadJudge, Sent
from isthmus.profile.samples import Samples
from isthmus.profile.uploads import measure_uploads
from isthmus.quant import BitPlan, quantised_head

Load = Callable[[str], Model]
SCALE = PictureScale((0.0,), (1.0,))
COUNT = 180


def digits(first: int, stop: int, *, labelled: bool = True) -> Samples:
    images, labels = digits_test()
    return Samples({"image": images[first:stop]}, labels[first:stop] if labelled else None)


@pytest.fixture(scope="module")
def judge(model_of: Load) -> HeadJudge:
    net = fused(model_of("zoo:digits"))
    tables = measure_distortions(net, digits(200, 240), Widths((1, 2, 4, 8)), source="digits", picture=SCALE)
    return HeadJudge(net, tables, digits(0, COUNT), SCALE, batch=32)


def plan(judge: HeadJudge, weights: int, outputs: int) -> BitPlan:
    nodes = fused_graph(graph_of(judge.net)).nodes
    return BitPlan(weights={n.name: weights for n in nodes}, outputs={t: outputs for n in nodes for t in n.outputs})


def one_by_one(judge: HeadJudge, cut: str, bits: BitPlan, cache: Path) -> float:
    """Right answers lost, a sample at a time: head, levels restored, tail."""
    engine = Engine.open(judge.net, cuts="none", cache_dir=cache)
    last = judge.net.outputs[-1].name
    head = quantised_head(judge.net, [last if cut == OUTPUT else cut], bits, judge.tables)
    first = Engine.open(head.model, cuts="none", cache_dir=cache)
    labels = judge.samples.labels
    assert labels is not None
    lost = 0
    for k in range(len(judge.samples)):
        one = {"image": judge.samples.inputs["image"][k : k + 1]}
        made = head.restored(first.whole(one))
        answer = made[last] if cut == OUTPUT else engine.tail(cut, made)[last]
        lost += int(engine.whole(one)[last].argmax() == labels[k]) - int(np.argmax(answer) == labels[k])
    return lost / len(judge.samples)


@pytest.mark.parametrize(("cut", "weights", "outputs"), [("relu_3", 2, 2), ("relu_8", 4, 1), (OUTPUT, 2, 4)])
def test_a_loss_is_answers_counted_one_by_one(
    cut: str, weights: int, outputs: int, judge: HeadJudge, cache_dir: Path
) -> None:
    bits = plan(judge, weights, outputs)
    found = judge.loss(cut, "int8", bits)
    assert found.loss == pytest.approx(one_by_one(judge, cut, bits, cache_dir))
    assert (found.samples, found.of, found.labelled) == (COUNT, COUNT, True)
    assert found.loss > 0.01
    assert 0 < found.give_or_take < 0.05


def test_eight_bits_lose_nothing_here(judge: HeadJudge) -> None:
    assert judge.loss("relu_3", "int8", plan(judge, 8, 8)).loss == 0
    assert judge.score > 0.98


def test_a_hopeless_head_is_given_up_and_a_good_one_is_not(judge: HeadJudge) -> None:
    seen: list[int] = []
    bad = judge.loss(OUTPUT, "float32", plan(judge, 1, 1), most=0.01, progress=lambda done, of, what: seen.append(done))
    assert FEWEST <= bad.samples < COUNT
    assert bad.loss > 0.3
    assert seen[-1] == bad.samples
    good = judge.loss("relu_3", "int8", plan(judge, 8, 8), most=0.0)
    assert good.samples == COUNT


def test_without_labels_the_whole_network_is_the_measure(judge: HeadJudge) -> None:
    blind = HeadJudge(judge.net, judge.tables, digits(0, COUNT, labelled=False), batch=32)
    bits = plan(judge, 2, 2)
    found, labelled = blind.loss("relu_3", "int8", bits), judge.loss("relu_3", "int8", bits)
    assert blind.score == 1.0
    assert not found.labelled
    assert found.loss >= labelled.loss > 0


def test_what_crosses_may_go_another_way(judge: HeadJudge) -> None:
    """Packed levels come back as they were; a codec that spoils them is noticed."""
    bits, sizes = plan(judge, 8, 4), []

    def packed(name: str, codec: str, value: NDArray[np.generic], head: object) -> NDArray[np.generic]:
        assert head is not None
        written = make_codec(codec, head.steps[name].clip)  # type: ignore[attr-defined]
        payload = memoryview(written.dump(value))
        sizes.append(payload.nbytes)
        return written.load(payload, value.shape, value.dtype.name)

    def judged(sent: Sent | None) -> list[bool]:
        found = judge.outcomes("relu_3", "int4", bits, judge.order, sent=sent)
        return [bool(right) for one in found for right in one.right]

    assert judged(packed) == judged(None)
    assert sizes
    found = judge.loss("relu_3", "int4", bits)
    assert found.loss == pytest.approx(np.mean(judge.base[judge.order]) - np.mean(judged(None)))
    coded = judge.loss("relu_3", "int4+huffman", bits)
    assert coded.loss == found.loss
    assert coded.sample_bytes is not None
    assert 0 < coded.sample_bytes < sum(sizes) / COUNT
    spoiled = judged(lambda name, codec, value, head: np.zeros_like(value))
    assert np.mean(spoiled) < judge.score - 0.5


def test_uploads_are_judged_by_what_the_codec_gives_back(judge: HeadJudge) -> None:
    codec = make_codec("jpeg:1", picture=SCALE)
    engine = judge.engine
    last = judge.net.outputs[-1].name
    labels = judge.samples.labels
    assert labels is not None
    lost = 0
    for one, label in zip(np.split(judge.samples.inputs["image"], COUNT), labels, strict=True):
        arrived = codec.load(memoryview(codec.dump(one)), one.shape, "float32")
        lost += int(engine.whole({"image": one})[last].argmax() == label)
        lost -= int(engine.whole({"image": arrived})[last].argmax() == label)
    found = judge.loss(INPUT, "jpeg:1", None)
    assert found.loss == pytest.approx(lost / COUNT)
    assert found.loss > 0.02
    assert judge.loss(INPUT, "float32", None).loss == 0


def test_uploads_are_measured(judge: HeadJudge) -> None:
    found = judge.tables.uploads
    assert set(found) >= {"jpeg:75", "webp:75"}
    assert found["jpeg:50"].error > found["jpeg:95"].error > 0
    assert found["webp:50"].sample_bytes < found["webp:90"].sample_bytes
    samples = digits(200, 240).inputs["image"]
    codec = make_codec("webp:75", picture=SCALE)
    payloads = [memoryview(codec.dump(one)) for one in np.split(samples, 40)]
    arrived = np.concatenate([codec.load(p, (1, *samples.shape[1:]), "float32") for p in payloads])
    assert found["webp:75"].sample_bytes == sum(p.nbytes for p in payloads) / 40
    assert found["webp:75"].error == pytest.approx(float(np.mean(np.subtract(arrived, samples, dtype=np.float64) ** 2)))


def test_what_is_no_picture_is_not_measured_as_one() -> None:
    flat = Samples({"x": np.zeros((3, 7), np.float32)})
    assert measure_uploads(flat, SCALE) == {}
    assert measure_uploads(digits(0, 2), PictureScale((0.0,) * 3, (1.0,) * 3)) == {}
    two = Samples({"a": np.zeros((2, 1, 8, 8), np.float32), "b": np.zeros((2, 1, 8, 8), np.float32)})
    assert measure_uploads(two, SCALE) == {}


def test_widths_that_were_not_measured_are_refused(judge: HeadJudge) -> None:
    with pytest.raises(BadInput, match="the distortions were measured at 1, 2, 4, 8"):
        judge.loss("relu_3", "int3", BitPlan(outputs={"relu_3": 3}))

"""Exits of finished models: found among the outputs, judged on labelled samples by running them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isthmus.engine import Engine
from isthmus.errors import BadInput, BadModel
from isthmus.graph import at_exit, exits_of, graph_of
from isthmus.model import Model, digits_test, load_model, load_model_file
from isthmus.profile import ExitTable, cascade
from isthmus.profile.exit_measure import measure_exits, run_exits
from isthmus.profile.exit_table import Answers, early_exits, exit_macs, exit_table
from isthmus.profile.samples import Samples

EngineOf = Callable[[str], Engine]


def digits(engine: Engine) -> Samples:
    images, labels = digits_test()
    return Samples({engine.model.inputs[0].name: images}, labels)


@pytest.fixture(scope="module")
def measured(engine_of: EngineOf) -> ExitTable:
    engine = engine_of("zoo:digits")
    return measure_exits(engine, digits(engine), data="digits", allowed_loss=0.01)


def test_exits_are_found_in_running_order() -> None:
    graph = graph_of(load_model("zoo:b_alexnet", weights=False))
    assert exits_of(graph) == ("exit1", "exit2", "exit3", "exit4", "exit5")
    shuffled = replace(graph, outputs=graph.outputs[::-1])
    assert exits_of(shuffled) == exits_of(graph)


@pytest.mark.parametrize("name", ["zoo:tiny", "zoo:resnet18"])
def test_a_model_without_exits(name: str) -> None:
    with pytest.raises(BadModel, match=r"has no early exit among its outputs .*isthmus train-exits"):
        early_exits(graph_of(load_model(name, weights=False)))


def test_outputs_of_other_shapes_are_no_exits(model_of: Callable[[str], Model]) -> None:
    graph = graph_of(model_of("zoo:digits"))
    inner = graph.nodes[3].outputs[0]
    assert exits_of(replace(graph, outputs=(inner, *graph.outputs))) == graph.outputs
    assert exits_of(replace(graph, outputs=(inner,))) == ()


def test_work_to_each_exit(model_of: Callable[[str], Model]) -> None:
    graph = graph_of(model_of("zoo:b_alexnet"), 3)
    macs = exit_macs(graph, graph.outputs)
    assert [alone for alone, _ in macs] == [at_exit(graph, o).macs // 3 for o in graph.outputs]
    assert macs[0][0] == macs[0][1]
    assert macs[-1][1] == graph.macs // 3
    assert all(on_the_way > alone for alone, on_the_way in macs[1:])


def test_the_digits_table(measured: ExitTable, engine_of: EngineOf) -> None:
    """Every number again, by hand, from the logits of the half that was reported."""
    engine = engine_of("zoo:digits")
    order = np.random.default_rng(0).permutation(449)
    test = digits(engine).pick(np.sort(order[224:]))
    logits = engine.whole(test.inputs)
    at = cascade(logits, measured.rows)
    right = [np.argmax(logits[r.output], axis=1) == test.labels for r in measured.rows]
    assert [r.output for r in measured.rows] == ["exit1", "exit2", "exit3"]
    assert measured.samples == 225
    assert measured.calibrated_on == 224
    assert measured.fingerprint == engine.model.fingerprint
    assert measured.accuracy == np.mean([right[e][i] for i, e in enumerate(at)])
    for index, row in enumerate(measured.rows):
        assert row.accuracy == right[index].mean()
        assert row.share == np.mean(at == index)
    assert sum(r.share for r in measured.rows) == pytest.approx(1)
    assert measured.rows[0].share > 0.5
    assert measured.mean_macs < measured.rows[-1].macs / 2


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_the_batch_makes_no_difference(batch: int, measured: ExitTable, engine_of: EngineOf) -> None:
    engine = engine_of("zoo:digits")
    again = measure_exits(engine, digits(engine), data="digits", allowed_loss=0.01, batch=batch)
    assert [(r.output, r.accuracy, r.share, r.macs) for r in again.rows] == [
        (r.output, r.accuracy, r.share, r.macs) for r in measured.rows
    ]


def test_both_rules_keep_the_accuracy_where_it_was_chosen(engine_of: EngineOf) -> None:
    engine = engine_of("zoo:digits")
    answers = run_exits(engine, digits(engine), engine.graph.outputs)
    for rule in ("entropy", "confidence"):
        for loss in (0.0, 0.01, 0.05):
            found = exit_table(engine.graph, answers, answers, data="d", rule=rule, allowed_loss=loss)
            assert found.accuracy >= found.rows[-1].accuracy - loss - 1e-9
            assert found.rows[0].share > 0.4


def test_exits_whose_accuracy_does_not_grow(engine_of: EngineOf) -> None:
    """The logits of the exits in reverse: the table says so, and everyone leaves at the best one."""
    engine = engine_of("zoo:digits")
    answers = run_exits(engine, digits(engine), engine.graph.outputs)
    names = list(answers.logits)
    turned = Answers(dict(zip(names, reversed(list(answers.logits.values())), strict=True)), answers.labels)
    found = exit_table(engine.graph, turned, turned, data="d", allowed_loss=0.0)
    assert found.idle == ("exit2", "exit3")
    assert found.rows[0].share == 1
    assert found.accuracy == found.rows[0].accuracy


def test_samples_that_cannot_judge(engine_of: EngineOf) -> None:
    engine = engine_of("zoo:digits")
    whole = digits(engine)
    with pytest.raises(BadInput, match=r"only on labelled samples"):
        run_exits(engine, Samples(whole.inputs), engine.graph.outputs)
    with pytest.raises(BadInput, match=r"10 samples are too few to choose thresholds and judge them; give 20"):
        measure_exits(engine, whole.part(0, 10), data="d")
    assert whole.labels is not None
    with pytest.raises(BadInput, match=r"labels from 100 to 109 do not fit a network of 10 classes"):
        measure_exits(engine, Samples(whole.inputs, whole.labels + 100), data="d")
    answers = run_exits(engine, whole, ("exit1", "exit3"))
    other = run_exits(engine, whole, ("exit2", "exit3"))
    with pytest.raises(BadInput, match=r"other exits"):
        exit_table(engine.graph, answers, other, data="d")
    with pytest.raises(BadInput, match=r"between 0 and 1, not at 2"):
        exit_table(engine.graph, answers, answers, data="d", allowed_loss=2)


def test_ten_exits_of_a_published_network(tmp_path: Path) -> None:
    """On the first pictures of each class; all 10,000 give 38 … 76 % (38.4 55.8 60.2 60.9 67.6 72.1 73.8 75.6 76.7)."""
    root = os.environ.get("ISTHMUS_DATA")
    if not root:
        pytest.skip("ISTHMUS_DATA with its models and images is not set")
    pytest.importorskip("PIL", reason="pillow is not installed")
    from isthmus.profile.datasets import load_dataset

    model = load_model_file(Path(root) / "models" / "portend_resnet20_10exits_joint.onnx")
    found = load_dataset("cifar10", data_folder=Path(root))
    some = found.test.pick(np.arange(0, len(found.test), 5))
    samples = Samples({model.inputs[0].name: found.floats(some)}, some.labels)
    table = measure_exits(Engine.open(model, cuts="none", cache_dir=tmp_path), samples, data="cifar10", batch=50)
    assert [r.output for r in table.rows] == [f"exit{i}" for i in range(1, 11)]
    assert 0.3 < table.rows[0].accuracy < 0.47
    assert 0.7 < table.rows[-1].accuracy < 0.83
    assert table.mean_macs < 0.9 * table.rows[-1].macs

"""The rule of leaving, the table of exits as a file, and how thresholds and temperatures are chosen."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import entropy as scipy_entropy

from isthmus.errors import BadInput
from isthmus.files import read_json, write_json
from isthmus.profile import ExitRow, ExitTable, cascade, leaves
from isthmus.profile.exit_choice import (
    Cascade,
    choose_limits,
    doubts_of,
    fit_temperature,
    threshold_of,
)
from isthmus.profile.exits import Rule, confidence, entropy

LOGITS = np.array([[9.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, 0.0, 0.0]])


def table(**changes: object) -> dict[str, object]:
    rows = [
        {"output": "a", "accuracy": 0.8, "threshold": 0.3, "share": 0.75, "macs": 10, "cascade_macs": 10},
        {"output": "b", "accuracy": 0.9, "share": 0.25, "macs": 90, "cascade_macs": 100},
    ]
    plain = {"model": "m", "rows": rows, "classes": 3, "data": "made up", "samples": 4, "accuracy": 0.85}
    return plain | changes


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_entropy_and_confidence_are_scipys(temperature: float) -> None:
    logits = np.random.default_rng(0).normal(0, 4, (50, 7)).astype(np.float32)
    p = softmax(logits.astype(float) / temperature, axis=1)
    np.testing.assert_allclose(entropy(logits, temperature), scipy_entropy(p, axis=1) / np.log(7), atol=1e-12)
    np.testing.assert_allclose(confidence(logits, temperature), p.max(axis=1), atol=1e-12)


def test_leaving_by_entropy_and_by_confidence() -> None:
    by_entropy = ExitRow(output="a", accuracy=0.5, threshold=0.5)
    by_confidence = ExitRow(output="a", accuracy=0.5, threshold=0.45, rule="confidence")
    assert leaves(LOGITS, by_entropy).tolist() == [True, False, False]
    assert leaves(LOGITS, by_confidence).tolist() == [True, True, False]
    assert leaves(LOGITS, by_confidence.model_copy(update={"temperature": 9.0})).tolist() == [True, False, False]


def test_the_last_exit_answers_always_and_nothing_passes_the_closed_thresholds() -> None:
    assert leaves(LOGITS, ExitRow(output="a", accuracy=0.5)).all()
    sure = np.array([[1e6, 0.0, 0.0]])
    assert not leaves(sure, ExitRow(output="a", accuracy=1, threshold=threshold_of(-np.inf, "entropy"))).any()
    never = ExitRow(output="a", accuracy=1, threshold=threshold_of(-np.inf, "confidence"), rule="confidence")
    assert not leaves(sure, never).any()


@pytest.mark.parametrize("rule", ["entropy", "confidence"])
def test_logits_that_are_no_numbers_are_never_sure(rule: Rule) -> None:
    broken = np.array([[np.nan, 0, 0], [np.inf, 0, 0], [5.0, 0, 0]])
    threshold = 0.9 if rule == "entropy" else 0.4
    assert leaves(broken, ExitRow(output="a", accuracy=1, threshold=threshold, rule=rule)).tolist() == [0, 0, 1]


def test_inputs_leave_at_the_first_exit_that_is_sure() -> None:
    rows = [ExitRow(output=o, accuracy=0.5, threshold=t) for o, t in (("a", 0.5), ("b", 0.99), ("c", None))]
    logits = {"a": LOGITS, "b": LOGITS, "c": LOGITS}
    assert cascade(logits, rows).tolist() == [0, 1, 2]


def test_a_table_is_a_file(tmp_path: Path) -> None:
    made = ExitTable.model_validate(table())
    write_json(tmp_path / "exits.json", made)
    assert read_json(tmp_path / "exits.json", ExitTable) == made
    assert json.loads((tmp_path / "exits.json").read_text())["kind"] == "isthmus-exits"
    assert made.mean_macs == pytest.approx(0.75 * 10 + 0.25 * 100)
    assert made.idle == ()
    assert made.row("b").threshold is None
    with pytest.raises(BadInput, match=r"no exit 'c'; its exits are a, b"):
        made.row("c")


def test_exits_that_gain_nothing_are_named() -> None:
    rows = [{"output": o, "accuracy": a, "threshold": 0.1} for o, a in (("a", 0.8), ("b", 0.8), ("c", 0.7), ("d", 0.9))]
    rows[-1]["threshold"] = None
    assert ExitTable.model_validate(table(rows=rows)).idle == ("b", "c")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": [{"output": "a", "accuracy": 0.5, "threshold": 0.1}]}, "every exit but the last"),
        ({"rows": [{"output": "a", "accuracy": 0.5}, {"output": "b", "accuracy": 0.5}]}, "every exit but the last"),
        ({"rows": [{"output": "a", "accuracy": 0.5, "threshold": 0.1}, {"output": "a", "accuracy": 1}]}, "same output"),
        ({"rule": "confidence"}, "the rule of the table"),
        ({"rows": []}, "at least 1"),
        ({"accuracy": 1.5}, "less than or equal to 1"),
        ({"version": 2}, "Input should be 1"),
    ],
)
def test_tables_that_cannot_be_meant(changes: dict[str, object], words: str, tmp_path: Path) -> None:
    (tmp_path / "exits.json").write_text(json.dumps(table(**changes)))
    with pytest.raises(BadInput, match=words):
        read_json(tmp_path / "exits.json", ExitTable)


@pytest.mark.parametrize("wanted", [0.4, 1.0, 2.5])
def test_temperature_is_that_of_the_likelihood(wanted: float) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (4000, 5))
    labels = np.array([rng.choice(5, p=p) for p in softmax(logits, axis=1)])
    found = fit_temperature(logits * wanted, labels)
    loss = lambda t: -log_softmax(logits * wanted / t, axis=1)[np.arange(4000), labels].mean()  # noqa: E731
    best = minimize_scalar(loss, bounds=(0.05, 20), method="bounded").x
    assert found == pytest.approx(best, rel=0.01)
    assert found == pytest.approx(wanted, rel=0.08)


def test_an_exit_without_an_error_is_not_infinitely_sure() -> None:
    labels = np.arange(30) % 3
    logits = 4.0 * np.eye(3)[labels]
    found = fit_temperature(logits, labels)
    assert 0.2 < found < 2
    assert confidence(logits, found)[0] == pytest.approx(1 - 2 / 3 / 31, rel=1e-3)


def cascades(exits: int, samples: int, seed: int) -> Cascade:
    """Exits that know more about easy samples, and later ones more about all; few different doubts, so many ties."""
    rng = np.random.default_rng(seed)
    ease = rng.random(samples)
    right = np.stack([rng.random(samples) < 0.2 + 0.5 * ease + 0.5 * e / exits for e in range(exits)])
    doubts = np.stack([np.round(1 - ease + 0.3 * rng.random(samples), 2) for _ in range(exits - 1)])
    return Cascade(doubts, right, tuple(float(c) for c in np.cumsum(1 + rng.random(exits))))


def every_limit(doubts: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float]:
    known = np.unique(doubts)
    return [-np.inf, *((known[1:] + known[:-1]) / 2), float(known[-1]) + 1]


@pytest.mark.parametrize(("exits", "samples"), [(2, 60), (3, 20)])
def test_thresholds_against_all_there_are(exits: int, samples: int) -> None:
    """Two exits: the optimum. Three: as good as the best of all combinations, here where all fit into the grid."""
    hard = 0
    for seed in range(12):
        problem = cascades(exits, samples, seed)
        alone, least = problem.score((-np.inf,) * (exits - 1))
        least -= 0.02
        combinations = list(product(*(every_limit(d) for d in problem.doubts)))
        allowed = [(c, a) for c, a in map(problem.score, combinations) if a >= least - 1e-9]
        cost, accuracy = problem.score(choose_limits(problem, least))
        assert accuracy >= least - 1e-9
        assert cost == pytest.approx(min(c for c, _ in allowed))
        hard += len(allowed) < len(combinations) and min(problem.costs) < cost < alone
    assert hard >= 8, "too few cases have their optimum between leaving at once and never"


@pytest.mark.parametrize(("exits", "levels"), [(4, 6), (5, 5), (10, 2)])
def test_many_exits_are_never_worse_than_a_grid(exits: int, levels: int) -> None:
    problem = cascades(exits, 200, exits)
    least = problem.score((-np.inf,) * (exits - 1))[1] - 0.03
    grid = [[-np.inf, *np.quantile(d, np.linspace(0, 1, levels)[1:])] for d in problem.doubts]
    scores = [problem.score(limits) for limits in product(*grid)]
    best = min(c for c, a in scores if a >= least - 1e-9)
    cost, accuracy = problem.score(choose_limits(problem, least))
    assert accuracy >= least - 1e-9
    assert cost <= best + 1e-9
    assert best < max(problem.costs)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 4), st.integers(1, 40), st.integers(0, 10_000), st.floats(0, 0.5))
def test_the_stated_accuracy_is_kept(exits: int, samples: int, seed: int, loss: float) -> None:
    problem = cascades(exits, samples, seed)
    last = problem.score((-np.inf,) * (exits - 1))
    cost, accuracy = problem.score(choose_limits(problem, last[1] - loss))
    assert accuracy >= last[1] - loss - 1e-9
    assert cost <= last[0]


def test_samples_of_equal_doubt_leave_together_or_not_at_all() -> None:
    right = np.array([[True, False, True], [True, True, True]])
    problem = Cascade(np.array([[0.2, 0.2, 0.1]]), right, (1.0, 5.0))
    assert problem.score(choose_limits(problem, 1.0)) == pytest.approx((11 / 3, 1.0))
    assert problem.score(choose_limits(problem, 0.6)) == pytest.approx((1.0, 2 / 3))


def test_a_better_early_exit_is_used() -> None:
    right = np.array([[True, True, True, True], [True, False, True, False]])
    problem = Cascade(np.array([[0.1, 0.2, 0.3, 0.4]]), right, (1.0, 5.0))
    assert problem.score(choose_limits(problem, 0.5)) == (1.0, 1.0)


@pytest.mark.parametrize("rule", ["entropy", "confidence"])
def test_thresholds_say_the_same_as_limits(rule: Rule) -> None:
    logits = [np.random.default_rng(i).normal(0, 2, (100, 4)) for i in range(2)]
    doubts = doubts_of(logits, [1.3, 1.0], rule)
    limit = float(np.median(doubts[0]))
    threshold = threshold_of(limit, rule)
    assert threshold == (limit if rule == "entropy" else -limit)
    row = ExitRow(output="a", accuracy=0, threshold=threshold, temperature=1.3, rule=rule)
    np.testing.assert_array_equal(leaves(logits[0], row), doubts[0] < limit)


def test_cascades_that_do_not_fit() -> None:
    with pytest.raises(BadInput, match=r"2 exits and 3 samples do not fit"):
        Cascade(np.zeros((2, 3)), np.zeros((2, 3), bool), (1.0, 2.0))


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_no_number_says_nothing_of_the_others(odd: float) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 500)
    logits = rng.normal(size=(500, 4))
    logits[np.arange(500), labels] += 2
    spoilt = logits.copy()
    spoilt[7, 2] = odd
    assert fit_temperature(spoilt, labels) == pytest.approx(
        fit_temperature(np.delete(logits, 7, 0), np.delete(labels, 7))
    )
    assert fit_temperature(np.full((3, 4), odd), np.zeros(3, np.int64)) == 1.0
    for exits in (2, 3):
        right = np.ones((exits, 500), bool)
        doubts = rng.random((exits - 1, 500))
        doubts[:, 3] = np.nan if odd < 0 else odd
        limits = choose_limits(Cascade(doubts, right, tuple(range(1, exits + 1))), 0.9)
        assert np.isfinite(limits[0])
        assert (doubts[0] < limits[0]).sum() >= 499

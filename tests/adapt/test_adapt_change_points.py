"""The detector against an exact, unbounded twin, and what it must and must not take for a change."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import t as student

from isthmus.adapt import ChangePoints, Prior
from isthmus.errors import BadInput

ENDLESS = Prior(memory=1e9, longest=1000)


def exact(samples: list[float], prior: Prior) -> tuple[list[int], list[float]]:
    """Adams & MacKay's recursion over every run length in log space with scipy's densities: the most probable run
    length after each sample and the mean of its segment; no run is ever dropped."""
    fresh = [prior.mu, prior.kappa, prior.alpha, prior.beta, 0.0]
    log_p, runs = np.zeros(1), np.array([fresh])
    lengths, means = [], []
    for x in samples:
        mu, kappa, alpha, beta, length = runs.T
        inside = (1 - prior.outliers) * student.pdf(x, 2 * alpha, mu, np.sqrt(beta * (kappa + 1) / (alpha * kappa)))
        density = inside + prior.outliers / prior.span
        w = inside / density
        beta = beta + w * kappa * (x - mu) ** 2 / (2 * (kappa + w))
        mu = (kappa * mu + w * x) / (kappa + w)
        runs = np.stack([mu, kappa + w, alpha + w / 2, beta, length + 1], axis=1)
        log_p = log_p + np.log(density)
        log_p -= logsumexp(log_p)
        best = int(np.argmax(log_p))
        lengths.append(int(runs[best, 4]))
        means.append(float(runs[best, 0]))
        log_p = np.append(log_p + math.log(1 - prior.hazard), math.log(prior.hazard))
        runs = np.vstack([runs, fresh])
    return lengths, means


def posterior(found: ChangePoints) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Samples since the last change, and the probability of each."""
    return found._count - found._born[: found._n], found._state[0, : found._n].copy()


def walk(seed: int, count: int) -> list[float]:
    """Steps, noise and stalls."""
    rng = np.random.default_rng(seed)
    level, samples = 16.0, []
    for _ in range(count):
        if rng.random() < 0.06:
            level = rng.uniform(12, 18)
        samples.append(level + 0.1 * rng.standard_normal() - (3.0 if rng.random() < 0.03 else 0.0))
    return samples


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_it_equals_the_exact_recursion(seed: int) -> None:
    samples = walk(seed, 70)
    found = ChangePoints(ENDLESS)
    lengths, means = exact(samples, ENDLESS)
    agree = 0
    for x, length, mean in zip(samples, lengths, means, strict=True):
        found.update(x)
        run_lengths, probability = posterior(found)
        assert probability.sum() == pytest.approx(1.0)
        agree += int(run_lengths[int(np.argmax(probability[:-1]))] == length and abs(found.mean - mean) < 1e-3)
    assert agree >= 69  # two runs that are equally probable may be told apart by the last digits of a density


def test_the_twin_is_a_hard_one() -> None:
    """The walks hold changes: their most probable run lengths fall often."""
    lengths = [exact(walk(seed, 70), ENDLESS)[0] for seed in range(5)]
    falls = sum(b < a for one in lengths for a, b in pairwise(one))
    assert falls >= 10


def test_few_runs_are_nearly_as_good_as_all() -> None:
    samples = walk(3, 500)
    few, all_ = ChangePoints(Prior(longest=60)), ChangePoints(Prior(longest=1000))
    off = []
    for x in samples:
        few.update(x)
        all_.update(x)
        off.append(abs(few.mean - all_.mean))
    assert len(posterior(few)[0]) == 60
    assert float(np.mean(off)) < 0.01


@pytest.mark.parametrize("factor", [0.5, 2.0, 0.1, 10.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_step_is_found_within_two_samples(factor: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = ChangePoints()
    for noise in rng.standard_normal(30):
        found.update(math.log(20e6) + 0.05 * noise)
    flags = [found.update(math.log(20e6 * factor) + 0.05 * noise) for noise in rng.standard_normal(2)]
    assert any(flags)
    assert math.exp(found.mean) == pytest.approx(20e6 * factor, rel=0.2)


@pytest.mark.parametrize("factor", [0.5, 0.01, 3.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_lone_stall_is_no_change_but_raises_doubt(factor: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = ChangePoints()
    for noise in rng.standard_normal(30):
        found.update(math.log(20e6) + 0.05 * noise)
    calm = found.doubt
    assert not found.update(math.log(20e6 * factor))
    assert found.doubt > max(0.1, 5 * calm)
    assert not any(found.update(math.log(20e6) + 0.05 * noise) for noise in rng.standard_normal(5))
    assert math.exp(found.mean) == pytest.approx(20e6, rel=0.05)


def test_a_steady_link_raises_no_alarm() -> None:
    found = ChangePoints()
    flags = [found.update(16 + 0.1 * x) for x in np.random.default_rng(0).standard_normal(2000)]
    assert sum(flags) <= 2
    assert found.mean == pytest.approx(16, abs=0.05)


def test_memory_is_bounded() -> None:
    found = ChangePoints()
    for x in np.random.default_rng(1).standard_normal(400):
        found.update(16 + 0.1 * x)
    assert 50 < found.samples <= 60
    assert found.sd == pytest.approx(0.1, rel=0.3)


def test_a_slow_drift_is_followed() -> None:
    found = ChangePoints()
    for i in range(600):
        found.update(16 - i * 0.004)
    assert found.mean == pytest.approx(16 - 600 * 0.004, abs=0.2)


def test_nonsense_is_refused() -> None:
    with pytest.raises(BadInput, match="finite"):
        ChangePoints().update(math.nan)
    for prior in ({"hazard": 0}, {"kappa": 0}, {"beta": -1}, {"outliers": 1}, {"longest": 1}, {"mu": math.inf}):
        with pytest.raises(BadInput):
            Prior(**prior)

"""Widths under a budget: the assignment against trying everything, and what it promises."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from isthmus.errors import BadInput
from isthmus.quant.assign import Choices, assign

BITS = (2, 4, 6, 8)


def made(rng: np.random.Generator, count: int) -> Choices:
    """Layers of sizes over two orders, errors that fall by about 4 a bit and differ by orders between layers."""
    sizes = np.exp(rng.uniform(np.log(50), np.log(5000), count)).astype(np.int64)
    power = np.exp(rng.normal(0, 1.5, count))
    fall = np.exp(rng.normal(0, 0.4, (count, len(BITS))))
    return Choices(sizes, BITS, power[:, np.newaxis] * 4.0 ** -np.array(BITS) * fall)


def exact(choices: Choices, budget: float) -> float:
    """The least error of all assignments, by trying each."""
    places = np.array(list(product(range(len(choices.bits)), repeat=len(choices.sizes))))
    used = (choices.sizes * np.array(choices.bits)[places]).sum(axis=1)
    errors = choices.errors[np.arange(len(choices.sizes)), places].sum(axis=1)
    return float(errors[used <= budget].min())


def test_within_two_per_cent_of_the_exact_optimum_on_200_hard_problems() -> None:
    gaps, plain, mixed, uniform = [], [], 0, []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        choices = made(rng, int(rng.integers(4, 8)))
        budget = float(choices.sizes.sum()) * rng.uniform(2.4, 6.8)
        best = exact(choices, budget)
        found = assign(choices, budget)
        assert found.bound <= best * (1 + 1e-9), seed
        assert found.used_bits <= budget, seed
        gaps.append(found.error / best - 1)
        plain.append(assign(choices, budget, branches=0).error / best - 1)
        mixed += len(set(found.places.tolist())) > 1
        width = max(b for b in BITS if b * choices.sizes.sum() <= budget)
        uniform.append(float(choices.errors[:, BITS.index(width)].sum()) / best - 1)
    assert max(gaps) <= 0.02, max(gaps)
    # the cases are hard: one width is far off, the answers mix widths, and the plain Lagrangian misses 2 % in many
    assert np.median(uniform) > 0.5
    assert mixed > 190
    assert sum(g > 0.02 for g in plain) > 30
    assert np.mean(plain) < 0.2


def test_many_layers_are_within_the_tolerance_of_their_bound() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        choices = made(rng, 60)
        found = assign(choices, float(choices.sizes.sum()) * rng.uniform(2.5, 7), tolerance=0.02)
        assert found.bound <= found.error <= found.bound / 0.98


def test_breakpoints_by_hand() -> None:
    """Two layers of 10 and 100 elements; the first bit pairs cost 20 and 200 bits."""
    choices = Choices(np.array([10, 100]), (2, 4), np.array([[5.0, 1.0], [9.0, 2.0]]))
    assert assign(choices, 220).places.tolist() == [0, 0]
    assert assign(choices, 240).places.tolist() == [1, 0]
    assert assign(choices, 420).places.tolist() == [0, 1]
    full = assign(choices, 440)
    assert full.places.tolist() == [1, 1]
    assert full.error == full.bound == 3.0
    assert full.price == 0.0
    near = assign(choices, 430)
    assert near.error == 7.0
    assert near.bound == pytest.approx(7.0, rel=2e-3)
    assert assign(choices, 430, branches=0).bound == pytest.approx(14 - 4 - 7 * 190 / 200)


def test_a_part_of_the_layers_and_errors_that_rise() -> None:
    choices = Choices(np.array([10, 20, 30]), (2, 4, 8), np.array([[3.0, 1.0, 2.0], [1.0, 1.0, 1.0], [9.0, 5.0, 0.0]]))
    found = assign(choices, 10 * 8 + 30 * 8, [0, 2])
    assert found.places.tolist() == [1, 2]  # 8 bits are worse than 4 in the first
    assert found.used_bits == 10 * 4 + 30 * 8
    assert assign(choices, 1000, [1]).places.tolist() == [0]  # nothing gained by more


@pytest.mark.parametrize(
    ("sizes", "bits", "errors", "said"),
    [
        ([1], (2, 4), [[1.0]], r"1 layers at 2 widths"),
        ([1], (4, 2), [[1.0, 2.0]], r"widths rise"),
        ([1], (2, 4), [[1.0, float("nan")]], r"finite"),
        ([1], (2, 4), [[1.0, -1.0]], r"at least 0"),
    ],
)
def test_nonsense_is_refused(sizes: list[int], bits: tuple[int, ...], errors: list[list[float]], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Choices(np.array(sizes), bits, np.array(errors))


def test_too_little_is_said() -> None:
    choices = Choices(np.array([10]), (2, 4), np.array([[5.0, 1.0]]))
    with pytest.raises(BadInput, match=r"at 2 bits the weights take 20 bits, more than 19"):
        assign(choices, 19)


def test_nothing_to_assign() -> None:
    found = assign(Choices(np.array([], dtype=np.int64), BITS, np.zeros((0, 4))), 0)
    assert found.places.tolist() == []
    assert found.error == found.bound == 0.0

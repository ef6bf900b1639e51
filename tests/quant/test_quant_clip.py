"""Quantisers of activations: levels, zero, ranges found four ways, each against what the slow way finds."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from isthmus.errors import BadInput
from isthmus.quant import Histogram, RangeName, Steps, steps_for
from isthmus.quant.aciq import clip_at, gauss_clip, laplace_clip
from isthmus.quant.clip import METHODS
from isthmus.quant.histogram import BINS

Floats = NDArray[np.float32]
RNG = np.random.default_rng(11)
SHAPES: dict[str, Floats] = {
    "laplace": RNG.laplace(size=40_000).astype(np.float32),
    "gauss": RNG.normal(0.3, 2.0, 40_000).astype(np.float32),
    "rectified": np.maximum(RNG.normal(0, 1, 40_000), 0).astype(np.float32),
    "bounded": np.clip(RNG.normal(2, 4, 40_000), 0, 6).astype(np.float32),
    "negative": -RNG.exponential(3.0, 40_000).astype(np.float32),
    "far from zero": RNG.uniform(5, 6, 40_000).astype(np.float32),
}


def seen(x: Floats) -> Histogram:
    made = Histogram()
    made.update(x)
    return made


def restored_slowly(x: Floats, steps: Steps) -> NDArray[np.float64]:
    level = np.clip(np.floor(x.astype(np.float64) / steps.scale + 0.5) + steps.zero_point, 0, steps.levels)
    return np.asarray((level - steps.zero_point) * steps.scale)


finite = st.floats(-1e6, 1e6, width=32)


@given(finite, finite, st.integers(1, 8))
def test_zero_is_always_a_level_and_limits_give_the_same_steps(a: float, b: float, bits: int) -> None:
    steps = Steps.between(min(a, b), max(a, b), bits)
    assert steps.restored(np.zeros(3, np.float32)).tolist() == [0.0, 0.0, 0.0]
    assert Steps.between(*steps.limits, bits) == steps
    low, high = steps.limits
    reach = max(a, b, 0.0) - min(a, b, 0.0)
    assert abs(low - min(a, b, 0.0)) <= 0.51 * steps.scale or reach < 1e-30
    assert abs(high - max(a, b, 0.0)) <= 0.51 * steps.scale or reach < 1e-30


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("shape", SHAPES)
def test_errors_are_those_of_the_levels(shape: str, bits: int) -> None:
    x = SHAPES[shape]
    steps = Steps.between(float(np.quantile(x, 0.01)), float(np.quantile(x, 0.99)), bits)
    slow = restored_slowly(x, steps)
    apart = np.abs(steps.restored(x) - slow)
    assert (apart > 1e-4 * steps.scale).mean() < 2e-3  # but for values half-way between two levels
    assert apart.max() <= 1.001 * steps.scale
    assert steps.square_error(x) == pytest.approx(float(np.square(slow - x).sum()), rel=1e-3)
    assert int(steps.symbols(x).max()) <= steps.levels


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_search_comes_near_the_best_range_there_is(shape: str, bits: int) -> None:
    x = SHAPES[shape]
    found = steps_for(seen(x), bits, "mse").square_error(x)
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    lows = [low * f for f in np.linspace(0, 1, 25)] if low < 0 else [0.0]
    highs = [high * f for f in np.linspace(0, 1, 25)] if high > 0 else [0.0]
    best = min(Steps.between(a, b, bits).square_error(x) for a in lows for b in highs if b > a)
    assert found <= 1.02 * best
    if shape in ("laplace", "gauss") and bits < 8:  # the case is hard: all that was seen is far from the best
        assert found < 0.6 * steps_for(seen(x), bits, "minmax").square_error(x)


@pytest.mark.parametrize("shape", ["laplace", "gauss", "rectified"])
@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_the_worked_out_clip_is_nearly_as_good_as_the_search(shape: str, bits: int) -> None:
    x = SHAPES[shape]
    ways: dict[RangeName, float] = {m: steps_for(seen(x), bits, m).square_error(x) for m in METHODS}
    assert ways["mse"] <= 1.01 * ways["aciq"] <= 1.1 * ways["mse"]
    assert ways["aciq"] < 0.9 * ways["minmax"]


def test_the_clip_of_a_bell_is_the_one_of_the_paper() -> None:
    laplace = {2: 2.83, 3: 3.89, 4: 5.03, 5: 6.20, 6: 7.41, 7: 8.64, 8: 9.89}
    gauss = {2: 1.71, 3: 2.15, 4: 2.55, 5: 2.93, 6: 3.28, 7: 3.61, 8: 3.92}
    for bits in laplace:
        assert laplace_clip(2**bits) == pytest.approx(laplace[bits], abs=0.02)
        assert gauss_clip(2**bits) == pytest.approx(gauss[bits], abs=0.02)
    assert clip_at(1.0, 2**0.5, 16) == laplace_clip(16)
    assert clip_at((2 / np.pi) ** 0.5, 1.0, 16) == gauss_clip(16)


def test_percentile_leaves_the_outermost_out() -> None:
    x = np.append(SHAPES["gauss"], [np.float32(1000.0), np.float32(-500.0)]).astype(np.float32)
    low, high = steps_for(seen(x), 8, "percentile").limits
    wanted = np.quantile(x, [1e-4, 1 - 1e-4])
    assert low == pytest.approx(wanted[0], abs=1.0)
    assert high == pytest.approx(wanted[1], abs=1.0)
    assert steps_for(seen(x), 8, "minmax").limits[1] == pytest.approx(1000, abs=6)


# numbers so small that they vanish when divided by a bin's width belong to either bin at zero
counted = finite.map(lambda v: 0.0 if abs(v) < 1e-20 else v)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(counted, min_size=1, max_size=30), min_size=1, max_size=6), st.randoms())
def test_counts_do_not_depend_on_batches_or_their_order(batches: list[list[float]], order: Random) -> None:
    arrays = [np.array(b, np.float32) for b in batches]
    together, apart = Histogram(), Histogram()
    together.update(np.concatenate(arrays))
    order.shuffle(arrays)
    for array in arrays:
        apart.update(array)
    assert together.width == apart.width
    for one, other in zip(together.points(), apart.points(), strict=True):
        assert np.array_equal(one, other)
    counts = together.points()[1]
    assert counts.sum() == together.count
    assert counts.min() >= 0


def test_bins_are_fine_enough_for_eight_bits() -> None:
    found = seen(SHAPES["laplace"])
    reach = max(found.high, -found.low)
    assert BINS // 2 * found.width <= reach < BINS * found.width
    assert found.power == pytest.approx(float(np.square(SHAPES["laplace"]).mean()), rel=1e-4)


def test_a_tensor_of_zeros_and_one_that_is_not_finite() -> None:
    found = seen(np.zeros(8, np.float32))
    for method in METHODS:
        assert steps_for(found, 4, method) == Steps(1.0, 0, 4)
    with pytest.raises(BadInput, match=r"not finite"):
        seen(np.array([1, np.inf], np.float32))
    with pytest.raises(BadInput, match=r"1 to 8 bits, not 9"):
        Steps.between(0, 1, 9)

"""The fast quantiser against its slow twin in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.quant import SLAB, Grid, Range, quantise, restore


def slow_indices(x: NDArray[Any], low: NDArray[Any], high: NDArray[Any], levels: int) -> Any:
    step = (high - low) / levels
    with np.errstate(invalid="ignore", divide="ignore"):
        index = np.floor((x.astype(np.float64) - low[:, None]) / step[:, None] + 0.5)
    return np.clip(np.nan_to_num(index), 0, levels)


@pytest.mark.parametrize("written_out", [False, True])
@pytest.mark.parametrize(
    ("samples", "channels", "plane"),
    [(1, 1, 10), (2, 5, 49), (1, 3, SLAB + 7), (2, SLAB // 50, 51), (1, 1, 2 * SLAB + 1)],
)
def test_indices_and_values_are_those_of_exact_arithmetic(
    samples: int, channels: int, plane: int, written_out: bool
) -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(-5, 0, channels)
    high = low + rng.uniform(0, 9, channels)
    high[0] = low[0] if channels > 1 else high[0]
    x = rng.uniform(-7, 10, (samples, channels, plane)).astype(np.float32)
    grid = Grid.between(low, high, 15)
    if written_out:
        grid = grid.spread(plane)
    symbols = np.empty(x.shape, np.uint8)
    quantise(x, grid, symbols, saturate=True)
    expected = slow_indices(x, low, high, 15)
    varied = high > low
    differ = np.abs(symbols.astype(int) - expected)[:, varied]
    # a value on the edge between two levels may fall either way in float32
    assert differ.max() <= 1
    assert differ.mean() < 1e-5
    back = np.empty(x.shape, np.float32)
    restore(symbols, grid, back)
    step = ((high - low) / 15)[:, None]
    np.testing.assert_allclose(back, low[:, None] + step * symbols, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("low", "high"), [(-3.4e38, 3.4e38), (0.0, 1e-44), (1e-40, 2e-40), (1e35, 1.5e35)])
def test_extreme_ranges_keep_their_levels(low: float, high: float) -> None:
    ends = np.array([low]), np.array([high])
    grid = Grid.between(*ends, 3)
    assert grid.low.dtype == np.float64
    x = np.linspace(low, high, 4).astype(np.float32).reshape(1, 1, 4)
    symbols = np.empty(x.shape, np.uint8)
    quantise(x, grid, symbols, saturate=False)
    assert symbols.reshape(-1).tolist() == [0, 1, 2, 3]
    back = np.empty(x.shape, np.float32)
    restore(symbols, grid, back)
    np.testing.assert_array_equal(back, x)


def test_extreme_ranges_take_every_slab() -> None:
    """float64 needs twice the scratch of float32; a slab must still fit."""
    low, high = np.full(3, -3e38), np.full(3, 3e38)
    plane = SLAB // 2 + 1
    x = np.random.default_rng(0).uniform(-3e38, 3e38, (1, 3, plane)).astype(np.float32)
    grid = Grid.between(low, high, 255)
    symbols = np.empty(x.shape, np.uint8)
    quantise(x, grid, symbols, saturate=True)
    np.testing.assert_array_equal(symbols, slow_indices(x, low, high, 255))


@pytest.mark.parametrize("low", [1.0, 1.0 + 2.0**-23, 3.3, 1e6, -7.7, -1.0, 2.0**-60])
@pytest.mark.parametrize("flat", [True, False])
def test_ranges_of_a_few_units_in_the_last_place_stay_within_their_levels(low: float, flat: bool) -> None:
    """Half a step below the least value is no float32 then: rounded down, the greatest would come out as 256, a 0."""
    least = np.float32(low)
    unit = np.abs(np.spacing(least))
    for units in range(1, 1200):
        x = np.array([least, least + unit * np.float32(units)], np.float32)
        ends = float(x[0]), float(x[1])
        symbols, back = np.empty(2, np.uint8), np.empty(2, np.float32)
        if flat:
            ours = Range.between(*ends, 255)
            grid = ours.grid
            ours.quantise(x, symbols, saturate=False)
            ours.restore(symbols, back)
        else:
            grid = Grid.between(np.array(ends[:1]), np.array(ends[1:]), 255)
            quantise(x.reshape(1, 1, 2), grid, symbols.reshape(1, 1, 2), saturate=False)
            restore(symbols.reshape(1, 1, 2), grid, back.reshape(1, 1, 2))
        assert symbols[0] <= 1
        assert symbols[1] >= 254
        assert np.abs(back.astype(float) - x).max() <= grid.error(x[:1], x[1:])

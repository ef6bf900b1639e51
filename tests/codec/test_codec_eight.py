"""The straight way through eight bits says, byte for byte and bit for bit, what the general way says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from isthmus.codec import eight
from isthmus.codec.planar import PlanarRange
from isthmus.errors import BadInput
from isthmus.quant import SLAB

CODEC = PlanarRange(8)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


def general(x: NDArray[np.float32]) -> bytes:
    ahead, symbols = CODEC.symbols(x)
    return ahead + symbols.tobytes()


def back(payload: bytes, shape: tuple[int, ...]) -> NDArray[Any]:
    data = np.frombuffer(payload, np.uint8)
    return CODEC.values(data, data[8:], shape)


def the_same_both_ways(x: NDArray[np.float32]) -> bool:
    """Whether the straight way was taken; where it was, both ways agree."""
    straight = eight.dump(x)
    if straight is None:
        return False
    assert bytes(straight) == general(x)
    read = eight.load(memoryview(bytes(straight)), x.size, x.shape)
    assert read is not None
    assert read.shape == x.shape
    assert read.tobytes() == back(bytes(straight), x.shape).tobytes()
    return True


@settings(max_examples=200, deadline=None)
@given(arrays(np.float32, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=7), elements=floats))
@example(np.array([1.0, 1.0000001], np.float32))
@example(np.array([16777216.0, 16777218.0, 16777220.0], np.float32))
@example(np.array([-0.0, 0.0, 1.0], np.float32))
@example(np.array([2.0**100, -(2.0**100), 3.0], np.float32))
@example(np.array([0.0, 2.0**-100, 2.0**-101], np.float32))
def test_any_tensor(x: NDArray[np.float32]) -> None:
    the_same_both_ways(x)


@pytest.mark.parametrize("size", [1 << 10, SLAB, SLAB + 1, 3 * SLAB - 5])
@pytest.mark.parametrize(("middle", "spread"), [(0.0, 1.0), (1e3, 1e-3), (-7.0, 0.01), (0.3, 1e20), (0.0, 1e-25)])
def test_ordinary_tensors_go_straight(size: int, middle: float, spread: float) -> None:
    rng = np.random.default_rng(size)
    x = (middle + spread * rng.standard_normal((1, size))).astype(np.float32)
    assert the_same_both_ways(x)
    assert the_same_both_ways(np.maximum(x, 0) + np.float32(spread) * (np.arange(size) == 3))
    assert bytes(CODEC.dump(x)) == general(x)
    assert np.array_equal(CODEC.load(CODEC.dump(x), x.shape, "float32"), back(general(x), x.shape))


@pytest.mark.parametrize(
    "x",
    [
        np.zeros(0, np.float32),
        np.full(5, 3.0, np.float32),
        np.array([1.0, np.nan, 2.0], np.float32),
        np.array([np.inf, 2.0], np.float32),
        np.array([3e38, -3e38], np.float32),
        np.arange(8, dtype=np.float32)[::2],
        np.arange(8, dtype=np.float64),
    ],
)
def test_what_is_not_ordinary_goes_the_general_way(x: NDArray[Any]) -> None:
    assert eight.dump(x) is None


def test_the_general_way_still_says_what_is_wrong() -> None:
    with pytest.raises(BadInput, match="finite"):
        CODEC.dump(np.array([1.0, np.nan, 2.0], np.float32))
    with pytest.raises(BadInput, match="float32 tensors only"):
        CODEC.dump(np.arange(8, dtype=np.float64))

"""Calibration does not depend on how data are batched; a clip is checked when it is made and survives a file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from isthmus.errors import BadInput
from isthmus.quant import Calibrator, ChannelClip

GOOD: dict[str, Any] = {"mean": [0.0, 1.0], "std": [1.0, 0.0], "low": [-1.0, 1.0], "high": [2.0, 1.0]}


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from([(12, 3), (12, 2, 5), (12, 4, 3, 2)]),
    ends=st.lists(st.integers(1, 12), max_size=4).map(sorted),
    offset=st.sampled_from([0.0, 1e4, -1e-3]),
    seed=st.integers(0, 999),
)
def test_any_batching_gives_the_statistics_of_the_whole(
    shape: tuple[int, ...], ends: list[int], offset: float, seed: int
) -> None:
    x = (np.random.default_rng(seed).standard_normal(shape) + offset).astype(np.float32)
    seen = Calibrator(per_channel=True)
    for first, last in zip([0, *ends], [*ends, 12], strict=True):
        seen.update(x[first:last])
    clip = seen.get()
    axes = (0, *range(2, x.ndim))
    exact = x.astype(np.float64)
    np.testing.assert_allclose(clip.mean, exact.mean(axes), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(clip.std, exact.std(axes), rtol=1e-9)
    np.testing.assert_array_equal(clip.low, x.min(axes))
    np.testing.assert_array_equal(clip.high, x.max(axes))


def test_a_whole_tensor_can_be_one_channel() -> None:
    seen = Calibrator(per_channel=False)
    seen.update(np.arange(6, dtype=np.float32))
    seen.update(np.array(9, np.float32))
    clip = seen.get()
    assert (clip.channels, clip.low, clip.high) == (1, (0.0,), (9.0,))


@pytest.mark.parametrize(
    ("shape", "entries"), [((4, 3, 2, 2), 3), ((4, 3, 5), 3), ((4, 3), 1), ((4, 3, 1, 1), 1), ((4,), 1), ((), 1)]
)
def test_vectors_of_features_share_one_range(shape: tuple[int, ...], entries: int) -> None:
    seen = Calibrator()
    seen.update(np.zeros((0, *shape[1:]), np.float32))
    for _ in range(2):
        seen.update(np.random.default_rng(0).standard_normal(shape).astype(np.float32).reshape(shape))
    assert seen.get().channels == entries


def test_the_clip_narrows_as_bits_go_down_and_stays_in_what_was_seen() -> None:
    clip = ChannelClip(mean=(0.0, 1.0), std=(1.0, 1.0), low=(-10.0, 0.0), high=(10.0, 10.0))
    for bits, expected in (
        (8, ([-10, 0], [10, 10])),
        (6, ([-10, 0], [10, 10])),
        (4, ([-3, 0], [3, 4])),
        (3, ([-3, 0], [3, 4])),
        (2, ([-2, 0], [2, 3])),
    ):
        low, high = clip.limits(bits)
        assert (low.tolist(), high.tolist()) == expected


def test_the_narrow_clip_beats_the_whole_range_at_two_bits() -> None:
    """Heavy tails: the reason the clip exists. Mean squared error of nearest-level quantising, both ways."""
    x = np.random.default_rng(0).laplace(size=20_000)
    seen = Calibrator(per_channel=False)
    seen.update(x)

    def loss(bits: int, of: int) -> float:
        low, high = seen.get().limits(of)
        levels = np.linspace(low[0], high[0], 1 << bits)
        return float(np.square(np.abs(x[:, None] - levels).min(axis=1)).mean())

    assert loss(2, of=2) < 0.3 * loss(2, of=8)


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_a_file_gives_the_same_clip_back(values: list[float]) -> None:
    seen = Calibrator(per_channel=True)
    seen.update(np.array([values, values[::-1]], np.float32))
    clip = seen.get()
    assert ChannelClip.model_validate_json(clip.model_dump_json()) == clip


@pytest.mark.parametrize(
    "change",
    [
        {"mean": [0.0]},
        {"mean": [0.0, float("nan")]},
        {"high": [float("inf"), 1.0]},
        {"high": [1e39, 1.0]},
        {"high": [10**400, 1.0]},
        {"std": [-1.0, 0.0]},
        {"low": [1.0, 1.0]},
        {"high": [-0.5, 1.0]},
        {"low": [True, 1.0]},
        {"low": ["-1", 1.0]},
        {"low": None},
        {"low": {"0": 1.0}},
        {"mean": [], "std": [], "low": [], "high": []},
        {"extra": 1},
    ],
)
def test_a_file_that_says_nonsense_is_refused(change: dict[str, Any]) -> None:
    assert ChannelClip.model_validate(GOOD).channels == 2
    with pytest.raises((ValidationError, BadInput)):
        ChannelClip.model_validate({**GOOD, **change})


def test_a_file_without_a_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="high"):
        ChannelClip.model_validate({k: v for k, v in GOOD.items() if k != "high"})


def test_data_that_cannot_calibrate_are_refused() -> None:
    seen = Calibrator(per_channel=True)
    with pytest.raises(BadInput, match="no calibration data"):
        seen.get()
    seen.update(np.zeros((0, 3), np.float32))
    with pytest.raises(BadInput, match="no calibration data"):
        seen.get()
    with pytest.raises(BadInput, match="finite"):
        seen.update(np.array([[1.0, np.nan]], np.float32))
    with pytest.raises(BadInput, match="int64"):
        seen.update(np.zeros((2, 3), np.int64))
    with pytest.raises(BadInput, match="axis 1"):
        seen.update(np.zeros(3, np.float32))
    seen.update(np.ones((1, 2), np.float32))
    with pytest.raises(BadInput, match="2 channels"):
        seen.update(np.ones((1, 3), np.float32))
    assert seen.get().mean == (1.0, 1.0)

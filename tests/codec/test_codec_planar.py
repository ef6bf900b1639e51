"""What is particular to the quantised codecs: ranges on the wire, saturation, channels, threads."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.codec import make_codec
from isthmus.errors import BadFrame, BadInput
from isthmus.quant import SLAB, ChannelClip


@pytest.mark.parametrize(("low", "high"), [(np.nan, 1.0), (0.0, np.nan), (-np.inf, 0.0), (0.0, np.inf), (1.0, 0.0)])
def test_a_range_that_is_none_is_refused(low: float, high: float) -> None:
    with pytest.raises(BadFrame, match="range"):
        make_codec("int8").load(memoryview(struct.pack("<ff", low, high) + bytes(4)), (4,), "float32")


@pytest.mark.parametrize("bits", [4, 3, 2])
def test_an_outlier_does_not_take_the_levels_of_the_rest(bits: int) -> None:
    x = np.random.default_rng(0).standard_normal(3 * SLAB + 5).astype(np.float32)
    x[7] = 1e4
    codec = make_codec(f"int{bits}")
    back: NDArray[Any] = codec.load(memoryview(codec.dump(x)), x.shape, "float32")
    # the outlier alone makes σ about 16, so some levels are lost; by its own range all the rest would be one value
    assert len(np.unique(back)) > 1 << (bits - 1)
    assert codec.bound(x) == pytest.approx(1e4 - back.max(), rel=1e-5)
    calm: NDArray[Any] = codec.load(memoryview(codec.dump(x[8:])), x[8:].shape, "float32")
    assert calm.max() == pytest.approx({4: 3, 3: 3, 2: 2}[bits], rel=0.02)


@pytest.mark.parametrize("x", [[-3e38, 3e38, 1e38], [1e-30, 1.1e-30, 0], [1.0, 1.0000001, 1.0], [5e19, -5e19, 0]])
def test_where_no_deviation_can_be_measured_the_whole_range_is_sent(x: list[float]) -> None:
    values = np.array(x, np.float32)
    codec = make_codec("int4")
    span = float(values.max()) - float(values.min())
    assert codec.bound(values) <= span / 29 + 2.0**-22 * abs(float(values.max()))


def test_the_ends_of_the_range_come_back_exactly() -> None:
    x = np.array([-1.5, 0.25, 3.0], np.float32)
    codec = make_codec("int6")
    back: NDArray[Any] = codec.load(memoryview(codec.dump(x)), (3,), "float32")
    assert back[0] == x[0]
    assert back[2] == x[2]


def test_what_lies_outside_saturates_to_the_limits_of_its_channel() -> None:
    clip = ChannelClip(mean=(0.0, 10.0), std=(1.0, 1.0), low=(-1.0, 9.0), high=(1.0, 11.0))
    x = np.array([[[-50.0, 3e38], [-3e38, 50.0]]], np.float32)
    codec = make_codec("int8", clip)
    back: NDArray[Any] = codec.load(memoryview(codec.dump(x)), x.shape, "float32")
    np.testing.assert_allclose(back, [[[-1, 1], [9, 11]]], rtol=1e-6)
    assert codec.bound(x) == pytest.approx(3e38)


def test_a_constant_channel_costs_nothing_and_loses_nothing() -> None:
    clip = ChannelClip(mean=(2.5, 0.0), std=(0.0, 1.0), low=(2.5, -1.0), high=(2.5, 1.0))
    x = np.array([[[2.5, 2.5], [1.0, -1.0]]], np.float32)
    codec = make_codec("int2", clip)
    back: NDArray[Any] = codec.load(memoryview(codec.dump(x)), x.shape, "float32")
    np.testing.assert_array_equal(back[0, 0], [2.5, 2.5])


def test_each_channel_has_its_own_range() -> None:
    """A per-tensor range of ±1000 would round the small channel to a single value."""
    rng = np.random.default_rng(0)
    x = (rng.uniform(-1, 1, (2, 2, 50)) * np.array([1e-3, 1e3])[None, :, None]).astype(np.float32)
    clip = ChannelClip(mean=(0.0, 0.0), std=(1e-3, 1e3), low=(-1e-3, -1e3), high=(1e-3, 1e3))
    codec = make_codec("int8", clip)
    back: NDArray[Any] = codec.load(memoryview(codec.dump(x)), x.shape, "float32")
    assert np.abs(back - x)[:, 0].max() < 5e-6
    assert np.abs(back - x)[:, 1].max() < 5


def test_other_channels_than_calibrated_are_refused() -> None:
    clip = ChannelClip(mean=(0.0,) * 3, std=(1.0,) * 3, low=(-1.0,) * 3, high=(1.0,) * 3)
    codec = make_codec("int8", clip)
    for shape in ((1, 4, 3), (3,), (12,)):
        count = int(np.prod(shape))
        with pytest.raises(BadInput, match="3 channels"):
            codec.dump(np.zeros(shape, np.float32))
        with pytest.raises(BadFrame, match="3 channels"):
            codec.load(memoryview(bytes(count)), shape, "float32")


def test_a_clip_of_one_entry_fits_any_shape() -> None:
    codec = make_codec("int4", ChannelClip(mean=(0.0,), std=(1.0,), low=(-2.0,), high=(2.0,)))
    for shape in ((), (5,), (2, 3), (1, 2, 3, 4)):
        x = np.linspace(-2, 2, int(np.prod(shape))).astype(np.float32).reshape(shape)
        back: NDArray[Any] = codec.load(memoryview(codec.dump(x)), shape, "float32")
        assert np.abs(back - x).max() <= codec.bound(x)


def test_both_ends_of_a_plan_may_differ_in_calibration_only_loudly() -> None:
    clip = ChannelClip(mean=(0.0,), std=(1.0,), low=(-2.0,), high=(2.0,))
    x = np.zeros((1, 4), np.float32)
    with pytest.raises(BadFrame):
        make_codec("int8").load(memoryview(make_codec("int8", clip).dump(x)), x.shape, "float32")


def test_one_codec_takes_planes_of_any_size() -> None:
    """The picture size may change between requests; the grid that was written out for one must not serve another."""
    clip = ChannelClip(mean=(0.0, 0.0), std=(1.0, 9.0), low=(-1.0, -9.0), high=(1.0, 9.0))
    codec = make_codec("int8", clip)
    for side in (3, 4, 3, 1, 7):
        x = np.random.default_rng(side).uniform(-1, 1, (2, 2, side, side)).astype(np.float32)
        x[:, 1] *= 9
        back: NDArray[Any] = codec.load(memoryview(codec.dump(x)), x.shape, "float32")
        assert np.abs(back - x).max() <= codec.bound(x)


def test_threads_share_a_codec() -> None:
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((1, 64, 30, 30)).astype(np.float32) for _ in range(60)]
    clip = ChannelClip(mean=(0.0,) * 64, std=(1.0,) * 64, low=(-4.0,) * 64, high=(4.0,) * 64)
    for codec in (make_codec("int3"), make_codec("int3", clip)):
        alone = [bytes(codec.dump(x)) for x in inputs]
        with ThreadPoolExecutor(4) as pool:
            assert [bytes(p) for p in pool.map(codec.dump, inputs)] == alone

"""Quantisers of weights: symmetric, one scale a channel, ranges against a search over the weights themselves."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from isthmus.errors import BadInput
from isthmus.quant import Channels, RangeName, channel_axis, quantise_weight
from isthmus.quant.clip import METHODS

RNG = np.random.default_rng(5)
SIZES = np.geomspace(0.01, 10, 12)
WEIGHT: NDArray[np.float32] = (RNG.laplace(size=(12, 20, 3, 3)) * SIZES[:, None, None, None]).astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", range(1, 9))
def test_levels_are_symmetric_and_their_error_is_the_one_that_is_said(method: RangeName, bits: int) -> None:
    made = quantise_weight(WEIGHT, 0, bits, method)
    top = max(1, 2 ** (bits - 1) - 1)
    assert set(np.unique(made.symbols)) <= ({-1, 1} if bits == 1 else set(range(-top, top + 1)))
    assert made.scales.shape == (12,)
    lost = float(np.square(made.restored - WEIGHT, dtype=np.float64).mean())
    assert Channels(WEIGHT, 0).error(bits, method) == pytest.approx(lost, rel=1e-5)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6])
def test_every_channel_has_nearly_its_best_scale(bits: int) -> None:
    made = quantise_weight(WEIGHT, 0, bits, "mse")
    top = max(1, 2 ** (bits - 1) - 1)
    for row, back in zip(WEIGHT.reshape(12, -1), made.restored.reshape(12, -1), strict=True):
        found = float(np.square(back - row).sum())
        tried = []
        for scale in np.abs(row).max() * np.linspace(0.02, 1, 200) / top:
            level = np.sign(row) if bits == 1 else np.clip(np.rint(row / scale), -top, top)
            tried.append(float(np.square(level * scale - row).sum()))
        assert found <= 1.05 * min(tried)
        assert min(tried) < 0.8 * tried[-1] or bits > 3  # clipping is worth it: the case is hard


def test_a_range_of_its_own_for_every_channel_is_what_saves_the_small_ones() -> None:
    together = quantise_weight(WEIGHT.reshape(1, -1), 0, 4, "mse").restored.reshape(WEIGHT.shape)
    apart = quantise_weight(WEIGHT, 0, 4, "mse").restored
    small = np.square(WEIGHT[0]).mean()
    assert np.square(apart[0] - WEIGHT[0]).mean() < 0.1 * small < 0.9 * np.square(together[0] - WEIGHT[0]).mean()


@pytest.mark.parametrize("axis", [0, 1, 3])
def test_the_axis_of_the_channels_may_be_any(axis: int) -> None:
    made = quantise_weight(WEIGHT, axis, 8, "minmax")
    assert made.scales.shape == (WEIGHT.shape[axis],)
    shape = [1] * 4
    shape[axis] = -1
    assert (np.abs(made.restored - WEIGHT) <= made.scales.reshape(shape) * 0.5001).all()


def test_a_channel_of_zeros_stays_zero() -> None:
    weight = WEIGHT.copy()
    weight[3] = 0
    for bits in (1, 2, 8):
        for method in METHODS:
            assert not quantise_weight(weight, 0, bits, method).restored[3].any()


def test_axes_of_layers() -> None:
    def node(kind: str, **options: int) -> int:
        return channel_axis(helper.make_node(kind, ["x", "w"], ["y"], **options), 4 if "Conv" in kind else 2)  # type: ignore[arg-type]

    assert (node("Conv"), node("ConvTranspose"), node("Gemm"), node("Gemm", transB=1), node("MatMul")) == (
        0,
        1,
        1,
        0,
        1,
    )


def test_impossible_widths_and_values_are_refused() -> None:
    with pytest.raises(BadInput, match=r"1 to 8 bits, not 0"):
        quantise_weight(WEIGHT, 0, 0, "mse")
    with pytest.raises(BadInput, match=r"not finite"):
        Channels(np.array([[1.0, np.nan]], np.float32), 0)

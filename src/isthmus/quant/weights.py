"""The uniform quantiser of weights: symmetric around zero, one scale an output channel.

w ≈ q·scale with q in -(2^(bits-1) - 1) … 2^(bits-1) - 1, zero in the middle and the same reach on both sides: what
integer kernels multiply without a correction term (Krishnamoorthi, "Quantizing deep convolutional networks for
efficient inference", 2018, section 3.1.2). One bit is -scale or +scale (Rastegari et al., XNOR-Net, ECCV 2016).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from isthmus.errors import BadInput
from isthmus.quant.aciq import SHAPE_BORDER, gauss_clip, laplace_clip
from isthmus.quant.clip import FRACTIONS, OUTERMOST
from isthmus.quant.types import RangeName

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators whose second operand, where it is stored, is a weight that takes few bits."""
_BINS = 512
"""Of every channel's magnitudes, for finding a clip: four to a step of 8 bits."""
_PIECE = 1 << 20


@dataclass(frozen=True)
class Levels:
    """A weight as small whole numbers: `symbols` (int8) of its shape, `scales` (float32) one an entry of `axis`."""

    symbols: NDArray[np.int8]
    scales: Floats
    axis: int
    bits: int

    @property
    def restored(self) -> Floats:
        """The weight again, float32."""
        shape = [1] * self.symbols.ndim
        shape[self.axis] = -1
        made: Floats = self.symbols.astype(np.float32) * self.scales.reshape(shape)
        return made


def channel_axis(node: onnx.NodeProto, rank: int) -> int:
    """The axis of a layer's weight that counts its outputs: each entry has a scale of its own."""
    match node.op_type:
        case "Conv":
            return 0
        case "ConvTranspose":
            return 1
        case "Gemm":
            across = any(a.name == "transB" and helper.get_attribute_value(a) for a in node.attribute)
            return 0 if across else 1
    return rank - 1


def quantise_weight(weight: Floats, axis: int, bits: int, method: RangeName) -> Levels:
    """A weight's levels at 1 to 8 bits, each channel's range found by `method`. Raises BadInput for other widths and
    for values that are not finite."""
    if not 1 <= bits <= 8:
        raise BadInput(f"weights take 1 to 8 bits, not {bits}")
    return Channels(weight, axis).levels(bits, method)


class Channels:
    """One weight, channel by channel, looked at once and quantised at as many widths as are wanted."""

    def __init__(self, weight: Floats, axis: int) -> None:
        self._shape, self._axis = weight.shape, axis
        moved = np.moveaxis(weight, axis, 0)
        self._moved_shape = moved.shape
        self._rows: Floats = np.ascontiguousarray(moved.reshape(moved.shape[0], -1), np.float32)
        self._most = np.abs(self._rows).max(axis=1, initial=0.0).astype(np.float64)
        if not np.isfinite(self._most).all():
            raise BadInput("a weight holds a value that is not finite")
        self._counted: Doubles | None = None

    @property
    def power(self) -> float:
        """The mean square of the weight."""
        flat = self._rows.reshape(-1)
        return float(np.dot(flat, flat)) / max(1, flat.size)

    def levels(self, bits: int, method: RangeName) -> Levels:
        """The weight at one width."""
        scales = self._scales(bits, method)
        symbols = np.empty(self._rows.shape, np.int8)
        for rows in self._pieces():
            symbols[rows] = _symbols(self._rows[rows], scales[rows], bits)
        back = np.moveaxis(symbols.reshape(self._moved_shape), 0, self._axis)
        return Levels(np.ascontiguousarray(back), scales, self._axis, bits)

    def error(self, bits: int, method: RangeName) -> float:
        """D_w: the mean square error of the weight at one width."""
        scales, total = self._scales(bits, method), 0.0
        for rows in self._pieces():
            lost = _symbols(self._rows[rows], scales[rows], bits) * scales[rows, None]
            lost -= self._rows[rows]
            flat = lost.reshape(-1)
            total += float(np.dot(flat, flat))
        return total / max(1, self._rows.size)

    def _pieces(self) -> list[slice]:
        """A million values at a time."""
        rows = max(1, _PIECE // max(1, self._rows.shape[1]))
        return [slice(first, first + rows) for first in range(0, self._rows.shape[0], rows)]

    def _scales(self, bits: int, method: RangeName) -> Floats:
        top = max(1, (1 << (bits - 1)) - 1)
        reach = np.minimum(self._reach(bits, method), self._most)
        scales = (reach / top).astype(np.float32)
        # a channel of nothing but zeros: any step will do
        return np.where(scales >= np.finfo(np.float32).tiny, scales, np.float32(1.0)).astype(np.float32)

    def _reach(self, bits: int, method: RangeName) -> Doubles:
        """The greatest magnitude worth a level, one a channel."""
        most: Doubles = self._most
        if method == "minmax":
            return most
        if method == "percentile":
            inside = np.cumsum(self._histogram, axis=1) <= (1 - OUTERMOST) * self._histogram.sum(axis=1, keepdims=True)
            return np.asarray(most * np.minimum(1.0, (inside.sum(axis=1) + 1) / _BINS))
        mean: Doubles = np.abs(self._rows).mean(axis=1, dtype=np.float64)
        if bits == 1:
            return mean  # exactly the least error of two levels
        if method == "mse":
            return most * self._searched(bits)
        deviation = np.sqrt(np.square(self._rows).mean(axis=1, dtype=np.float64))
        steps = (1 << bits) - 2
        peaked = mean < SHAPE_BORDER * deviation
        return np.asarray(np.where(peaked, laplace_clip(steps) * mean, gauss_clip(steps) * deviation), np.float64)

    def _searched(self, bits: int) -> Doubles:
        """The fraction of each channel's greatest magnitude that leaves the least error on its histogram."""
        top = (1 << (bits - 1)) - 1
        tried = np.append(1.0, FRACTIONS)
        middle = (np.arange(_BINS)[:, None] + 0.5) / _BINS
        step = tried / top
        lost = np.minimum(np.rint(middle / step), top) * step - middle
        return np.asarray(tried[np.argmin(self._histogram @ (lost * lost), axis=1)], np.float64)

    @property
    def _histogram(self) -> Doubles:
        """Counts of |w| / max |w|, (channels, bins)."""
        if self._counted is None:
            channels = self._rows.shape[0]
            self._counted = np.zeros((channels, _BINS))
            per = np.divide(_BINS, self._most, out=np.zeros(channels), where=self._most > 0)
            for rows in self._pieces():
                share = np.abs(self._rows[rows])
                share *= per[rows, None].astype(np.float32)
                at = np.minimum(share, np.float32(_BINS - 1)).astype(np.intp)
                at += np.arange(len(at))[:, None] * _BINS
                found = np.bincount(at.reshape(-1), minlength=len(at) * _BINS)
                self._counted[rows] = found.reshape(len(at), _BINS)
        return self._counted


def _symbols(rows: Floats, scales: Floats, bits: int) -> Floats:
    """Levels of some channels, still as float32."""
    if bits == 1:
        made: Floats = np.where(rows >= 0, np.float32(1), np.float32(-1))
        made[~rows.any(axis=1)] = 0
        return made
    top = np.float32((1 << (bits - 1)) - 1)
    made = rows / scales[:, None]
    np.rint(made, out=made)
    return made.clip(-top, top, out=made)

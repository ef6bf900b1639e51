"""The uniform quantiser: floats to small whole numbers on an evenly spaced grid, and back.

All arithmetic is numpy ufuncs writing in place, a slab of the tensor at a time so that the scratch stays in the cache.
Measured on 100,352 elements (AVX2): a pass costs 10-20 µs, a lookup table for the way back 105 µs, numpy's broadcast of
one value a channel 20-30 µs more than the same values written out; so small grids are written out (`spread`). Right
after a network has streamed its weights through the caches, each further function of Python's or numpy's costs 5-30 µs
however small the tensor: one range for a whole tensor has a way of its own (`Range`) with few of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.quant.scratch import SLAB, scratch

Floats = NDArray[np.float64]
Symbols = NDArray[np.uint8]

_FLOAT32 = np.dtype(np.float32)
_COMFORT = 2.0**100
"""Beyond this (or with spans below its inverse) float32 could overflow or vanish on the way; float64 is used."""


@dataclass(frozen=True, eq=False)
class Grid:
    """`levels + 1` evenly spaced values from `low` up. The arrays are (1, 1), (channels, 1) or, written out,
    (channels, plane). Their dtype is the one to compute in: float32, or float64 for extreme ranges.

    `start` lies half a step below `low`, so that the index of x is the whole part of (x - start)·scale. It is rounded
    upwards: the greatest value cannot come out a level too high, nor the least below zero.
    """

    low: NDArray[Any]
    step: NDArray[Any]
    scale: NDArray[Any]
    start: NDArray[Any]
    levels: int

    @classmethod
    def between(cls, low: Floats, high: Floats, levels: int) -> Grid:
        """Grid with `low` and `high` as its ends, (channels,) each, finite, low <= high. Equal ends make a constant."""
        span = high - low
        reach, least = max(high.max(), -low.min()), span.min(initial=math.inf, where=span > 0)
        dtype = _comfortable(float(reach), float(least))
        step: NDArray[Any] = (span / levels).astype(dtype)
        scale = np.divide(1, step, out=np.zeros_like(step), where=step > 0)
        first = low.astype(dtype)
        exact = first.astype(np.float64) - step.astype(np.float64) / 2
        start: NDArray[Any] = exact.astype(dtype)
        start = np.where(start >= exact, start, np.nextafter(start, first))
        return cls(first[:, None], step[:, None], scale[:, None], start[:, None], levels)

    def spread(self, plane: int) -> Grid:
        """The same grid written out for `plane` values a channel."""
        shape = (self.low.shape[0], plane)
        arrays = (self.low, self.step, self.scale, self.start)
        low, step, scale, start = (np.ascontiguousarray(np.broadcast_to(a, shape)) for a in arrays)
        return Grid(low, step, scale, start, self.levels)

    def error(self, least: NDArray[Any], greatest: NDArray[Any]) -> float:
        """Greatest absolute error for values between `least` and `greatest`, (channels,) each: half a step inside the
        grid, the distance to its end outside, and the rounding of the arithmetic itself."""
        low, step = self.low[:, 0].astype(np.float64), self.step[:, 0].astype(np.float64)
        top = low + step * self.levels
        outside = np.maximum(low - least, greatest - top)
        # (x-start)·scale and back round by 6 half-ulps of the span and 3 of the value (two of them `start`); taken as
        # 8 and 4
        rounding = (top - low) * 2.0**-21 + np.maximum(np.abs(low), np.abs(top)) * 2.0**-22 + 2.0**-149
        return float(np.max(np.maximum(step / 2, outside) + rounding * (step > 0), initial=0.0))


def _comfortable(reach: float, least_span: float) -> type[np.float32 | np.float64]:
    """What to compute in, for values up to `reach` and ranges from `least_span` up."""
    return np.float32 if reach <= _COMFORT and least_span >= 1 / _COMFORT else np.float64


class Range(NamedTuple):
    """A `Grid` of one range for a whole tensor, as plain numbers: made anew for every tensor."""

    low: Any
    step: Any
    levels: int

    @classmethod
    def between(cls, low: float, high: float, levels: int) -> Range:
        """`low` and `high` are its ends, finite, low <= high. Equal ends make a constant."""
        span = high - low
        dtype = _comfortable(max(high, -low), span if span > 0 else math.inf)
        return cls(dtype(low), dtype(span / levels), levels)

    @property
    def grid(self) -> Grid:
        """The same as arrays."""
        low, step, scale, start = (np.array([[v]]) for v in (self.low, self.step, *self._scale_and_start()))
        return Grid(low, step, scale, start, self.levels)

    def quantise(self, x: NDArray[np.float32], out: Symbols, *, saturate: bool) -> None:
        """As `quantise`, for flat arrays."""
        most = self.levels + 0.5 if saturate else None
        scale, start = self._scale_and_start()
        with np.errstate(over="ignore"):
            for first in range(0, x.size, SLAB):
                last = first + SLAB
                _indices(x[first:last], start, scale, most, out[first:last])

    def restore(self, symbols: Symbols, out: NDArray[np.float32]) -> None:
        """As `restore`, for flat arrays."""
        for first in range(0, symbols.size, SLAB):
            last = first + SLAB
            _values(symbols[first:last], self.step, self.low, out[first:last])

    def _scale_and_start(self) -> tuple[Any, Any]:
        """See `Grid`."""
        dtype, step = type(self.low), float(self.step)
        exact = float(self.low) - step / 2
        start = dtype(exact)
        if float(start) < exact:
            start = np.nextafter(start, self.low)
        return dtype(1 / step if step > 0 else 0.0), start


def quantise(x: NDArray[np.float32], grid: Grid, out: Symbols, *, saturate: bool) -> None:
    """Nearest grid index of every value of x, (samples, channels, plane) float32, finite, into `out` of that shape.

    `saturate` maps what lies outside to the ends; without it the caller promises that nothing does.
    """
    most = grid.levels + 0.5 if saturate else None
    with np.errstate(over="ignore"):
        for where, part in _slabs(x.shape):
            _indices(x[where], _piece(grid.start, part), _piece(grid.scale, part), most, out[where])


def restore(symbols: Symbols, grid: Grid, out: NDArray[np.float32]) -> None:
    """Grid values of the symbols, (samples, channels, plane), into `out` of that shape."""
    for where, part in _slabs(symbols.shape):
        _values(symbols[where], _piece(grid.step, part), _piece(grid.low, part), out[where])


def _indices(x: NDArray[np.float32], start: Any, scale: Any, most: float | None, out: Symbols) -> None:
    """One slab of indices: the whole part of (x - start)·scale, not above `most` nor below 0 where that is given. A
    value far outside may overflow to infinity, which saturates as it should: the caller lets it."""
    work = scratch(x.shape, start.dtype)
    np.subtract(x, start, out=work)
    np.multiply(work, scale, out=work)
    if most is not None:
        work.clip(0, most, out=work)
    np.copyto(out, work, casting="unsafe")


def _values(symbols: Symbols, step: Any, low: Any, out: NDArray[np.float32]) -> None:
    """One slab of grid values."""
    direct = low.dtype == _FLOAT32
    work = out if direct else scratch(out.shape, low.dtype)
    np.copyto(work, symbols)
    np.multiply(work, step, out=work)
    np.add(work, low, out=work)
    if not direct:
        np.copyto(out, work, casting="same_kind")


Slices = tuple[slice, slice]


def _slabs(shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, slice, slice], Slices]]:
    """Contiguous slabs of at most SLAB elements: where they lie in the tensor, and in a grid."""
    samples, channels, plane = shape
    rows = max(1, SLAB // max(1, plane))
    for sample in range(samples):
        for row in range(0, channels, rows):
            for column in range(0, plane, SLAB):
                part = slice(row, row + rows), slice(column, column + SLAB)
                yield (sample, *part), part


def _piece(a: NDArray[Any], part: Slices) -> Any:
    """What of a grid's array belongs to a slab; one value as a scalar, which numpy's loops take at twice the speed."""
    if a.size == 1:
        return a[0, 0]
    rows, columns = part
    return a[rows, columns if a.shape[1] > 1 else slice(None)]

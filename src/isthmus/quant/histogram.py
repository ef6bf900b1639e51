"""How often an activation takes which values, from any number of batches in one pass and constant memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import BadInput
from isthmus.quant.ranges import Calibrator, ChannelClip

BINS = 2048
"""On either side of zero. At least half of the larger side's are in use: four to a step of 8 bits."""
_PIECE = 1 << 17


class Histogram:
    """Counts in bins that begin at zero and are a power of two wide; they double when a value lies outside.

    So merging two neighbours loses nothing, and the counts do not depend on the order of the batches. Zeros, of which
    a rectified tensor is full, are counted apart.

    >>> seen = Histogram()
    >>> seen.update(np.array([0, 0, 1, 3], np.float32))
    >>> seen.low, seen.high, seen.zeros, seen.count
    (0.0, 3.0, 2, 4)
    """

    def __init__(self) -> None:
        self.width = 0.0
        self.zeros = 0
        self.count = 0
        self._counts: NDArray[np.int64] = np.zeros(2 * BINS, np.int64)
        self._moments = Calibrator(per_channel=False)

    def update(self, x: NDArray[Any]) -> None:
        """Take in one batch of any float dtype. Raises BadInput for values that are not finite."""
        self._moments.update(x)  # finds what is not finite
        flat = np.ascontiguousarray(x, np.float32).reshape(-1)
        self._widen(flat)
        for first in range(0, flat.size, _PIECE):
            piece = flat[first : first + _PIECE]
            zeros = piece.size - int(np.count_nonzero(piece))
            self.zeros += zeros
            if self.width:
                at = np.multiply(piece, np.float32(1 / self.width))
                np.floor(at, out=at)
                self._counts += np.bincount(at.astype(np.intp) + BINS, minlength=2 * BINS)
                self._counts[BINS] -= zeros
        self.count += flat.size

    @property
    def low(self) -> float:
        """The least value seen."""
        return self._seen.low[0]

    @property
    def high(self) -> float:
        """The greatest value seen."""
        return self._seen.high[0]

    @property
    def mean(self) -> float:
        """The mean of all values."""
        return self._seen.mean[0]

    @property
    def power(self) -> float:
        """The mean of their squares."""
        return self._seen.std[0] ** 2 + self._seen.mean[0] ** 2

    @property
    def std(self) -> float:
        """Their standard deviation."""
        return self._seen.std[0]

    def points(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """(values, counts): the middle of every bin that holds something, never outside what was seen, and zero."""
        held = np.flatnonzero(self._counts)
        middle = np.clip((held - BINS + 0.5) * self.width, self.low, self.high)
        return np.append(middle, 0.0), np.append(self._counts[held], self.zeros)

    @property
    def _seen(self) -> ChannelClip:
        return self._moments.get()

    def _widen(self, x: NDArray[np.float32]) -> None:
        reach = float(max(x.max(initial=0.0), -x.min(initial=0.0)))
        if reach == 0.0:
            return
        if not self.width:
            self.width = 2.0 ** (math.floor(math.log2(reach)) + 1) / BINS
            if self.width < 2.0**-120:
                raise BadInput(f"values up to {reach:g} are too small to be quantised")
        while reach >= BINS * self.width:
            pairs = self._counts.reshape(-1, 2).sum(axis=1)
            self._counts[:] = 0
            self._counts[BINS // 2 : BINS // 2 + BINS] = pairs
            self.width *= 2

"""Numbers that came from levels and still know them, so that nobody has to find the levels again to send them.

A quantised head ends in levels; what the rest of isthmus handles are the float32 numbers they stand for. Finding the
levels of 200,000 such numbers again takes a codec 0.2 to 0.4 ms, packing known ones 0.01 to 0.1 ms, and devices are
slower still.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.quant.ranges import ChannelClip
from isthmus.quant.steps import Steps


class Levelled(np.ndarray[Any, np.dtype[np.float32]]):
    """A float32 array that cannot be written to, made by `levelled`; what is derived from it knows no levels."""

    levels: NDArray[np.uint8] | None
    steps: Steps | None

    def __array_finalize__(self, obj: Any) -> None:
        self.levels = self.steps = None


def levelled(levels: NDArray[np.uint8], steps: Steps) -> Levelled:
    """The numbers that these levels stand for, of their shape."""
    values = levels.astype(np.float32)
    values -= np.float32(steps.zero_point)  # in place: a device has no room for three copies
    values *= np.float32(steps.scale)
    made = values.view(Levelled)
    made.levels, made.steps = levels, steps
    made.flags.writeable = False
    return made


def levels_of(x: object, bits: int, clip: ChannelClip) -> NDArray[np.uint8] | None:
    """The levels of x, where it knows them and they are those of a quantiser of this width and range."""
    if not isinstance(x, Levelled) or x.levels is None or x.steps is None or x.steps.bits != bits:
        return None
    return np.ascontiguousarray(x.levels) if x.steps.clip == clip else None

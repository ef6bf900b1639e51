"""One piece of memory a thread for intermediate values, reused: fresh memory costs a page fault every 4 KiB."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

SLAB = 1 << 15
"""Elements worked on at a time, so that what lies in the scratch (128 kB as float32) stays in a cache of 512 kB: four
times as many cost a third more where other work has just emptied it."""
_kept = threading.local()


def scratch(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """This thread's memory, uninitialised, as an array of at most 256 KiB (`SLAB` times eight bytes).

    The next call in the same thread hands out the same memory again.
    """
    views: dict[DTypeLike, NDArray[Any]] | None = getattr(_kept, "views", None)
    if views is None:
        views = _kept.views = {np.float64: np.empty(SLAB, np.float64)}
    view = views.get(dtype)
    if view is None:
        view = views[dtype] = views[np.float64].view(dtype)
    return view[: shape[0]] if len(shape) == 1 else view[: math.prod(shape)].reshape(shape)

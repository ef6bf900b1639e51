"""One piece of memory a thread for intermediate values, reused: fresh memory costs a page fault every 4 KiB."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

SLAB = 1 << 17
"""Elements worked on at a time, so that what lies in the scratch stays in the cache."""
_kept = threading.local()


def scratch(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """This thread's memory, uninitialised, as an array of at most 1 MiB (`SLAB` times eight bytes).

    The next call in the same thread hands out the same memory again.
    """
    memory: NDArray[np.float64] | None = getattr(_kept, "memory", None)
    if memory is None:
        memory = _kept.memory = np.empty(SLAB, np.float64)
    return memory.view(dtype)[: math.prod(shape)].reshape(shape)

"""Whether the cores that this process may run on are left to it: what others need must not be spent on waiting."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

_STAT = Path("/proc/stat")
_EVERY_S = 0.15
"""The system counts idle time in hundredths of a second."""
_OURS = 0.9
"""So much of one core must be idle or used by this process."""


def idle_s() -> float | None:
    """Seconds for which cores that this process may use had nothing to do, all together, since some moment long ago;
    None where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, AttributeError, IndexError):
        allowed = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        rows = [line.split() for line in _STAT.read_text().splitlines() if line.startswith("cpu")]
        ticks = [int(row[4]) + int(row[5]) for row in rows if row[0] in allowed]
        return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None
    return None


class Cores:
    """What became of the time since it was last looked. May be asked by several threads."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        own: Callable[[], float] = time.process_time,
        idle: Callable[[], float | None] = idle_s,
    ) -> None:
        self._clock, self._own, self._idle = clock, own, idle
        self._lock = threading.Lock()
        self._seen: tuple[float, float, float] | None = None
        self._left = False

    def left_to_us(self) -> bool:
        """Whether, of at least 0.15 s before, one core was idle or ours for nine tenths. False where that is not
        known."""
        with self._lock:
            now = self._clock()
            if self._seen is not None and now - self._seen[0] < _EVERY_S:
                return self._left
            idle = self._idle()
            if idle is None:
                return False
            seen, self._seen = self._seen, (now, self._own(), idle)
            if seen is not None:
                spent = [b - a for a, b in zip(seen, self._seen, strict=True)]
                self._left = spent[1] + spent[2] >= _OURS * spent[0]
            return self._left


CORES = Cores()
"""Of this process."""

"""What the host of a virtual machine took from it: the time its processors were ready to run and did not."""

from __future__ import annotations

import os
import time
from pathlib import Path

_STAT = Path("/proc/stat")
_STEAL = 8


class Stolen:
    """Counts from when it is made. On a machine that does not say (no Linux, no virtual machine) nothing is stolen."""

    def __init__(self) -> None:
        self._begun_s, self._stolen_s = time.monotonic(), _stolen_s()

    @property
    def share(self) -> float:
        """Of all processors' time since then: 0.02 is 2 %."""
        passed_s = (time.monotonic() - self._begun_s) * (os.cpu_count() or 1)
        return (_stolen_s() - self._stolen_s) / max(passed_s, 1e-9)


def _stolen_s() -> float:
    if not _STAT.exists():
        return 0.0
    fields = _STAT.read_text().split("\n", 1)[0].split()
    return int(fields[_STEAL]) / os.sysconf("SC_CLK_TCK") if len(fields) > _STEAL else 0.0

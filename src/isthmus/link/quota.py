"""A slow device out of a fast one: a share of the processor for some commands, by a Linux control group (root only)."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from isthmus.errors import BadInput, Missing

PERIOD_S = 0.005
"""With the kernel's 100 ms a job of 10 ms under a 20 % quota runs through its first share unhindered (13 ms instead of
50); with 5 ms it feels the quota. 1 ms is the kernel's least, and mostly overhead."""
_ROOT = Path("/sys/fs/cgroup")
_numbers = itertools.count()


class CpuQuota:
    """`with CpuQuota(0.2) as slow: subprocess.run(slow.wrap(["python", "device.py"]))`

    share: processors that all commands together may use (0.2 is a fifth of one). Works with control groups v1 and v2;
    raises Missing, with the reason, where neither may be written.
    """

    def __init__(self, share: float, *, period_s: float = PERIOD_S, root: Path = _ROOT) -> None:
        if not 0.01 <= share <= 1024:
            raise BadInput(f"a processor share lies between 0.01 and 1024, not {share}")
        if not 0.001 <= period_s <= 1:
            raise BadInput(f"a quota's period lies between 1 ms and 1 s, not {period_s} s")
        period_us = round(period_s * 1e6)
        quota_us = max(1000, round(share * period_us))
        if quota_us > share * period_us:  # the kernel takes no quota below 1 ms: stretch the period instead
            period_us = round(quota_us / share)
        name = f"isthmus-{os.getpid()}-{next(_numbers)}"
        parent, files = _hierarchy(root, quota_us, period_us)
        self.folder = parent / name
        try:
            self.folder.mkdir()
            for file, text in files:
                (self.folder / file).write_text(text)
        except OSError as error:
            self.close()
            raise Missing(f"cannot limit the processor: {error.strerror} at {error.filename}; run as root") from error

    def wrap(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` under the quota (it joins before it starts, so nothing escapes)."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.folder / "cgroup.procs"), *command]

    def close(self) -> None:
        """Remove the group once its processes have ended; waits two seconds for them."""
        for _ in range(20):
            with contextlib.suppress(FileNotFoundError):
                try:
                    self.folder.rmdir()
                except OSError:
                    time.sleep(0.1)
                    continue
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _hierarchy(root: Path, quota_us: int, period_us: int) -> tuple[Path, list[tuple[str, str]]]:
    """Where groups with a processor quota are made here, and what to write into them."""
    v1 = root / "cpu"
    if (v1 / "cpu.cfs_quota_us").exists():
        return v1, [("cpu.cfs_period_us", str(period_us)), ("cpu.cfs_quota_us", str(quota_us))]
    controllers = root / "cgroup.controllers"
    if controllers.exists() and "cpu" in controllers.read_text().split():
        with contextlib.suppress(OSError):
            (root / "cgroup.subtree_control").write_text("+cpu")
        return root, [("cpu.max", f"{quota_us} {period_us}")]
    raise Missing(f"no control group with a processor quota under {root}")

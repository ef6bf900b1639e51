"""A server in a process of its own, that can be killed and started again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from isthmus.errors import Unreachable


class ServerProcess:
    """`isthmus serve` on a bundle; kept off the first core where there is a second one for it."""

    def __init__(self, bundle: Path) -> None:
        self._bundle = bundle
        self._process: subprocess.Popen[str] | None = None
        self.address = ""
        self.start()

    def start(self) -> None:
        """Start, on the port it had before. Raises Unreachable when it does not come up."""
        port = self.address.rpartition(":")[2] or "0"
        command = [sys.executable, "-m", "isthmus", "serve", str(self._bundle), "--port", port, "--json"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        use_core(1, self._process.pid)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Unreachable(f"the server process ended with exit code {self._process.wait()}")
        self.address = json.loads(line)["address"]

    def kill(self) -> None:
        """kill -9: no goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.kill()


_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
"""The cores this process may use, before it pins itself to one."""


def use_core(index: int, pid: int = 0) -> None:
    """Pin a process (0: this one) to one of the cores, where there are several and the system can do it."""
    if len(_CORES) > 1:
        os.sched_setaffinity(pid, {_CORES[index % len(_CORES)]})

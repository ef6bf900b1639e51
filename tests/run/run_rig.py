"""What the tests of a run share: a chooser that does as it is told, and a server in a process that can be killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from isthmus.record.types import Choice, Step

SERVE = """
import sys
from pathlib import Path
from isthmus.engine import Engine
from isthmus.model import load_model
from isthmus.run import serve
server = serve(Engine.open(load_model("zoo:tiny"), cache_dir=Path(sys.argv[1])), port=int(sys.argv[2]))
print(server.port, flush=True)
server.wait()
"""


class Told:
    """A chooser that always answers `choice`, probes once with `probe`, and keeps what it observes."""

    def __init__(self, cut: str, codec: str = "float32") -> None:
        self.choice = Choice(cut=cut, codec=codec)
        self.steps: list[Step] = []
        self.probe = 0
        self.beliefs: tuple[float | None, float | None] = (None, None)

    def choose(self, now_s: float, batch: int = 1) -> Choice:
        return self.choice

    def observe(self, step: Step) -> None:
        self.steps.append(step)

    def probe_bytes(self, now_s: float) -> int:
        size, self.probe = self.probe, 0
        return size


class Kept:
    """A journal that keeps its lines."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def write(self, step: Step) -> None:
        self.steps.append(step)


@contextmanager
def server_process(cache_dir: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`zoo:tiny` served by another process, and its port."""
    command = [sys.executable, "-c", SERVE, str(cache_dir), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def until(true: Callable[[], bool], at_most_s: float = 10.0) -> bool:
    """Waits for something to become true; False when it has not after so long."""
    end = time.monotonic() + at_most_s
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True

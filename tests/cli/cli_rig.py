"""What the tests of the command line share: a bundle served by a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path


class Serving:
    """`isthmus serve` as its own process."""

    def __init__(self, bundle: Path, port: int = 0) -> None:
        command = [sys.executable, "-m", "isthmus", "serve", str(bundle), "--port", str(port), "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read() if self.process.stderr else ""
        self.address: str = json.loads(line)["address"]
        self.port = int(self.address.rpartition(":")[2])

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        code = self.process.wait(timeout=20)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return code

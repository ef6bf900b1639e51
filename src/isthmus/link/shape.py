"""A link of chosen rate between two programs of one machine, without privileges: `ShapedLink`.

A TCP proxy in a process of its own. Bytes leave in packet-sized steps at exactly the rate asked for (payload bits: what
`Link` calls goodput), wait `delay_s` each way, and a rate of 0 stalls them. Unlike a shaped network device
(`isthmus.link.testbed`) it splits the connection: opening one costs no round trip and congestion control sees none.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from types import TracebackType
from typing import Any, Literal, Self

from isthmus.errors import BadInput, IsthmusError
from isthmus.link.address import host_and_port
from isthmus.link.generate import constant
from isthmus.link.pipe import RateSchedule
from isthmus.link.trace import Trace
from isthmus.link.types import Link

Rate = Trace | float | str
Direction = Literal["up", "down"]


class ShapedLink:
    """`with ShapedLink("127.0.0.1:8001", "20Mbit") as link:` connect to `link.address` instead of the target.

    target: `host:port` of the server. up: rate from those who connect to the target, a trace (it starts when the link
    does) or a constant; down: the other way, the same if left out. delay_s: one way, so the round trip is twice that.
    All connections share the link. Raises BadInput when the port is taken or an argument is absurd.
    """

    def __init__(
        self,
        target: str,
        up: Rate,
        *,
        down: Rate | None = None,
        delay_s: float = 0.0,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        up_trace, address = _trace(up), host_and_port(target)
        self.delay_s = delay_s
        self.started_s = time.monotonic()
        """when the traces began, on `time.monotonic()`"""
        self._traces = {"up": up_trace, "down": up_trace if down is None else _trace(down)}
        self._log = {name: RateSchedule(self.started_s, trace) for name, trace in self._traces.items()}
        self._lock = threading.Lock()
        self.host = host
        self._process = _start()
        first = {"host": host, "port": port, "target": address, "delay_s": delay_s, "at_s": self.started_s}
        try:
            self.port: int = self._ask(first | {name: trace.row() for name, trace in self._traces.items()})["port"]
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """`host:port` to connect to."""
        return f"{self.host}:{self.port}"

    def set_rate(self, up: Rate, down: Rate | None = None) -> None:
        """From now on this rate (or trace, from its beginning). Bytes that have not left yet leave at the new rate."""
        new = {"up": _trace(up), "down": _trace(up if down is None else down)}
        now = time.monotonic()
        with self._lock:
            for name, trace in new.items():
                self._log[name].put(now, trace)
        self._ask({"at_s": now} | {name: trace.row() for name, trace in new.items()})

    def cut(self) -> None:
        """Break every open connection (reset); what was under way is lost. New ones are taken at once."""
        self._ask({"cut": True})

    def true_bps(self, at_s: float | None = None, direction: Direction = "up") -> float:
        """The link's real rate at a moment of `time.monotonic()`, now by default."""
        with self._lock:
            return self._log[direction].rate_at(time.monotonic() if at_s is None else at_s)

    def link_at(self, at_s: float | None = None) -> Link:
        """The hop as the cost function sees it at that moment. Raises BadInput during an outage."""
        return Link(self.true_bps(at_s, "up"), self.true_bps(at_s, "down"), rtt_s=2 * self.delay_s)

    def passed(self) -> dict[str, int]:
        """`up_bytes` and `down_bytes` that have crossed so far, and how many connections are `open`."""
        return {name: int(value) for name, value in self._ask({}).items()}

    def close(self) -> None:
        """Break the connections and end the process. May be called twice."""
        process = self._process
        if process.stdin is not None:
            with contextlib.suppress(OSError):  # it may have ended with our last order unread
                process.stdin.close()
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise BadInput("the shaped link has no process")
        try:
            with self._lock:
                process.stdin.write(json.dumps(order).encode() + b"\n")
                process.stdin.flush()
                line = process.stdout.readline()
        except (OSError, ValueError) as error:
            raise IsthmusError(f"the shaped link is closed: {error}") from error
        if not line:
            raise IsthmusError(f"the process of the shaped link has ended (exit code {process.poll()})")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BadInput(f"cannot shape a link at port {order.get('port')}: {answer['error']}")
        return answer


def _start() -> subprocess.Popen[bytes]:
    here = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-m", "isthmus.link.proxy"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": here},
        start_new_session=True,  # Ctrl-C is the parent's to handle; the proxy ends with its standard input
    )


def _trace(rate: Rate) -> Trace:
    return rate if isinstance(rate, Trace) else constant(rate)

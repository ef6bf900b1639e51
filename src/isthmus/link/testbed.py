"""A real network on one machine: two namespaces joined by a shaped link (Linux, root only).

veth between them, a token bucket (`tbf`) on either side; with a delay, two TUN devices and a relay process instead of
veth. Unlike `ShapedLink` everything is real: the handshake, congestion control, loss in a full queue. Addresses exist
only in the namespaces made here. Needs `ip` and `tc`; needs no netem, which many kernels lack.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from isthmus.errors import BadInput, IsthmusError, Missing
from isthmus.link.generate import constant
from isthmus.link.pipe import RateSchedule
from isthmus.link.quota import CpuQuota
from isthmus.link.relay import enter
from isthmus.link.trace import Trace

GOODPUT = 1448 / 1514
"""Payload share of an Ethernet packet with TCP time stamps: what a transfer can reach of the rate asked for."""
MTU = 1500
BURST_BYTES = 3200
"""Two packets. Never changed while running: tbf stalls for good when its burst falls below a packet it holds."""
QUEUE_S = 0.2
OUTAGE_BPS = 1000
"""tbf knows no zero: one packet in 12 s comes close."""
LEAST_STEP_S = 0.02
Place = Literal["device", "server"]
PLACES: tuple[Place, Place] = ("device", "server")
_ADDRESS = {"device": "10.213.77.1", "server": "10.213.77.2"}
_DEVICE = "hop0"
_numbers = itertools.count()


def goodput(mtu: int = MTU) -> float:
    """Payload share of a full Ethernet packet with TCP time stamps."""
    return (mtu - 52) / (mtu + 14)


def missing() -> str:
    """Why there can be no testbed here, in a few words; empty when there can."""
    if not sys.platform.startswith("linux"):
        return "network namespaces exist on Linux only"
    if os.geteuid() != 0:
        return "network namespaces need root"
    absent = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    return f"{' and '.join(absent)} not found (package iproute2)" if absent else ""


class ShapedNetwork:
    """`with ShapedNetwork("20Mbit", delay_s=0.01) as net: net.start("server", ["python", "server.py"])`

    up, down: wire rates away from the device and towards it, constant or traces; a transfer gets `GOODPUT` of them.
    delay_s: one way. mtu: bytes of the largest packet; after a pause two packets pass at once, so that small payloads
    on a slow link are nearer to the truth with 576. Raises Missing where it cannot be (with the reason). Everything
    goes away with `close`, which is also called when the program ends.
    """

    def __init__(
        self, up: Trace | float | str, *, down: Trace | float | str | None = None, delay_s: float = 0.0, mtu: int = MTU
    ) -> None:
        if reason := missing():
            raise Missing(f"no shaped network here: {reason}")
        if not 0 <= delay_s < 10:
            raise BadInput(f"a one-way delay lies between 0 and 10 s, not {delay_s}")
        if not 576 <= mtu <= MTU:
            raise BadInput(f"a packet holds 576 to {MTU} bytes, not {mtu}")
        self.mtu = mtu
        self.goodput = goodput(mtu)
        number = f"isthmus-{os.getpid()}-{next(_numbers)}"
        self.namespaces: dict[Place, str] = {"device": f"{number}-d", "server": f"{number}-s"}
        self.delay_s = delay_s
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._relay: subprocess.Popen[str] | None = None
        self._replay: threading.Thread | None = None
        self._started: list[subprocess.Popen[Any]] = []
        self._quotas: list[CpuQuota] = []
        self._kicks: dict[Place, socket.socket] = {}
        atexit.register(self.close)
        first = _trace(up), _trace(up if down is None else down)
        now = time.monotonic()
        self._log = {"device": RateSchedule(now, first[0]), "server": RateSchedule(now, first[1])}
        try:
            self._build()
            self._follow(*first)
        except BaseException:
            self.close()
            raise

    def address(self, place: Place) -> str:
        """The IPv4 address of that side, valid inside the two namespaces only."""
        return _ADDRESS[place]

    def set_rate(self, up: Trace | float | str, down: Trace | float | str | None = None) -> None:
        """From now on these wire rates; a trace is replayed from its beginning by a thread."""
        traces = _trace(up), _trace(up if down is None else down)
        self._halt_replay()
        now = time.monotonic()
        with self._lock:
            for place, trace in zip(PLACES, traces, strict=True):
                self._log[place].put(now, trace)
        self._follow(*traces)

    def true_bps(self, at_s: float | None = None, direction: Literal["up", "down"] = "up") -> float:
        """The payload rate (goodput) at a moment of `time.monotonic()`, now by default."""
        with self._lock:
            log = self._log["device" if direction == "up" else "server"]
            return self.goodput * log.rate_at(time.monotonic() if at_s is None else at_s)

    def start(
        self, place: Place, command: Sequence[str], *, cpu_share: float | None = None, **popen: Any
    ) -> subprocess.Popen[Any]:
        """Run a command on that side; it is ended by `close` at the latest. cpu_share: see `CpuQuota`."""
        line = ["ip", "netns", "exec", self.namespaces[place], *command]
        if cpu_share is not None:
            quota = CpuQuota(cpu_share)
            self._quotas.append(quota)
            line = quota.wrap(line)
        process = subprocess.Popen(line, **popen)
        self._started.append(process)
        return process

    def socket(self, place: Place, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """An IPv4 socket of this process that lives on that side."""
        made: list[socket.socket] = []
        failed: list[OSError] = []

        def make() -> None:  # a thread of its own: entering a namespace concerns the thread that does it
            try:
                enter(self.namespaces[place])
                made.append(socket.socket(socket.AF_INET, kind))
            except OSError as error:
                failed.append(error)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if failed:
            raise Missing(f"cannot open a socket in {self.namespaces[place]}: {failed[0]}") from failed[0]
        return made[0]

    def close(self) -> None:
        """End what was started here and remove namespaces, devices and groups. May be called twice."""
        atexit.unregister(self.close)
        self._halt_replay()
        for process in self._started:
            _end(process)
        if self._relay is not None:
            _end(self._relay)
            for pipe in (self._relay.stdin, self._relay.stdout):
                if pipe is not None:
                    pipe.close()
        for kick in self._kicks.values():
            kick.close()
        for quota in self._quotas:
            quota.close()
        known = _namespaces()
        for name in self.namespaces.values():
            if name in known:
                _run("ip", "netns", "delete", name)
        self._started, self._quotas, self._kicks, self._relay = [], [], {}, None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _build(self) -> None:
        _sweep()
        device, server = (self.namespaces[place] for place in PLACES)
        _run("ip", "netns", "add", device)
        _run("ip", "netns", "add", server)
        if self.delay_s:
            self._start_relay()
        else:
            _run(
                "ip", "link", "add", _DEVICE, "netns", device, "type", "veth", "peer", "name", _DEVICE, "netns", server
            )
        for place, other in ((PLACES[0], PLACES[1]), (PLACES[1], PLACES[0])):
            self._configure(place, other)
            self._kicks[place] = self.socket(place, socket.SOCK_DGRAM)

    def _configure(self, place: Place, other: Place) -> None:
        name, near, far = self.namespaces[place], _ADDRESS[place], _ADDRESS[other]
        _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "-n", name, "address", "add", near, "peer", far, "dev", _DEVICE)
        _run("ip", "-n", name, "link", "set", _DEVICE, "mtu", str(self.mtu), "up")
        # cubic: the default may be bbr, which needs several transfers to reach the rate of the link
        _run("ip", "-n", name, "route", "replace", far, "dev", _DEVICE, "src", near, "congctl", "cubic")
        for setting, value in (("tcp_slow_start_after_idle", 0), ("tcp_no_metrics_save", 1)):
            _run("ip", "netns", "exec", name, "sh", "-c", f"echo {value} > /proc/sys/net/ipv4/{setting}")
        rate_bps = self._log[place].rate_at(time.monotonic())
        _run("tc", "-n", name, "qdisc", "add", "dev", _DEVICE, "root", *self._bucket(rate_bps))

    def _start_relay(self) -> None:
        self._relay = subprocess.Popen(
            [sys.executable, "-m", "isthmus.link.relay"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            start_new_session=True,
        )
        if self._relay.stdin is None or self._relay.stdout is None:
            raise IsthmusError("the relay has no pipes")
        order = {"device": _DEVICE, "namespaces": list(self.namespaces.values()), "delay_s": self.delay_s}
        self._relay.stdin.write(json.dumps(order) + "\n")
        self._relay.stdin.flush()
        answer = json.loads(self._relay.stdout.readline() or '{"error": "it ended"}')
        if "error" in answer:
            raise Missing(f"no delay here: {answer['error']}")

    def _bucket(self, rate_bps: float) -> list[str]:
        rate = str(max(OUTAGE_BPS, round(rate_bps)))
        ethernet = ["overhead", "14"] if self.delay_s else []  # TUN packets have no Ethernet header: count one
        burst = str(BURST_BYTES * self.mtu // MTU)
        return ["tbf", "rate", f"{rate}bit", "burst", burst, "latency", f"{QUEUE_S * 1e3:.0f}ms", *ethernet]

    def _shape(self, place: Place, rate_bps: float) -> None:
        _run("tc", "-n", self.namespaces[place], "qdisc", "change", "dev", _DEVICE, "root", *self._bucket(rate_bps))
        # tbf looks at its clock when the next packet comes: without one, traffic came back 1.6 s after an outage of 2 s
        # (when TCP tried again), with it after 0.08 s
        far = _ADDRESS["server" if place == "device" else "device"]
        with contextlib.suppress(OSError):
            self._kicks[place].sendto(b"", socket.MSG_DONTWAIT, (far, 9))

    def _follow(self, up: Trace, down: Trace) -> None:
        """Shape both directions now, and keep doing so while a trace has more to say."""
        start = time.monotonic()
        for place, trace in zip(PLACES, (up, down), strict=True):
            self._shape(place, trace.rate_at(0.0))
        if len(up.rates_bps) > 1 or len(down.rates_bps) > 1:
            self._stop.clear()
            self._replay = threading.Thread(target=self._play, args=(start, up, down), daemon=True)
            self._replay.start()

    def _play(self, start_s: float, up: Trace, down: Trace) -> None:
        now = {place: trace.rate_at(0.0) for place, trace in zip(PLACES, (up, down), strict=True)}
        while True:
            t = time.monotonic() - start_s
            following = min(_next_change(trace, t) for trace in (up, down))
            if math.isinf(following) or self._stop.wait(max(LEAST_STEP_S, following - t)):
                return
            t = time.monotonic() - start_s
            for place, trace in zip(PLACES, (up, down), strict=True):
                rate = trace.rate_at(t)
                if rate != now[place]:
                    now[place] = rate
                    self._shape(place, rate)

    def _halt_replay(self) -> None:
        self._stop.set()
        if self._replay is not None:
            self._replay.join()
            self._replay = None


def _next_change(trace: Trace, t_s: float) -> float:
    """When the trace next has a new time stamp, after t; inf when it has ended."""
    base = 0.0
    if trace.loop:
        base = t_s // trace.duration_s * trace.duration_s
    later = trace.times_s[trace.times_s > t_s - base]
    if later.size:
        return base + float(later[0])
    return base + trace.duration_s if trace.loop else math.inf


def _trace(rate: Trace | float | str) -> Trace:
    return rate if isinstance(rate, Trace) else constant(rate)


def _end(process: subprocess.Popen[Any]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _namespaces() -> list[str]:
    """Names of the network namespaces there are."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    return [line.split()[0] for line in listed.splitlines() if line.strip()]


def _sweep() -> None:
    """Remove what a process that was killed has left behind: namespaces of ours whose maker no longer lives."""
    for name in _namespaces():
        prefix, _, rest = name.partition("-")
        pid = rest.partition("-")[0]
        if prefix == "isthmus" and pid.isdigit() and not Path("/proc", pid).exists():
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"`{' '.join(command)}` was refused: {done.stderr.strip() or done.returncode}")

"""The process behind `ShapedLink`: a TCP proxy whose two directions are `Pipe`s. Run as `python -m isthmus.link.proxy`.

It is driven by JSON lines on its standard input and ends when that closes. A process of its own, because a thread would
wait for the interpreter lock of the very program whose link it imitates; `select`, because it alone sleeps for
microseconds (epoll rounds to milliseconds, which at 100 Mbit/s are 12 kB).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from isthmus.errors import BadInput
from isthmus.link.pipe import STEP_BYTES, Parcel, Pipe, RateSchedule
from isthmus.link.trace import Trace

SOCKET_BYTES = 32_768
"""Kernel buffers on both sides of the proxy: what lies in them is neither with the sender nor on the link."""
OUT_BYTES = 262_144
"""A receiver that does not read stops its own connection after this much, not the link."""
READ_BYTES = 65_536
MAX_CONNECTIONS = 400  # two descriptors each; select takes 1024
IDLE_S = 0.5
_RESET = struct.pack("ii", 1, 0)


class Side:
    """One socket of a proxied connection and what waits to be written to it."""

    def __init__(self, sock: socket.socket, pipe: Pipe) -> None:
        self.sock = sock
        self.pipe = pipe  # where what is read here goes
        self.out: deque[memoryview] = deque()
        self.out_bytes = 0
        self.reading = True  # false after end of file
        self.closing = False  # the other side has ended: shut down when `out` is empty
        self.connecting = False
        self.key = -1
        self.peer: Side

    def flush(self) -> None:
        """Write what the receiver takes."""
        while self.out:
            try:
                sent = self.sock.send(self.out[0])
            except BlockingIOError:
                return
            self.out_bytes -= sent
            if sent < len(self.out[0]):
                self.out[0] = self.out[0][sent:]
                return
            self.out.popleft()
        if self.closing:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)


class Proxy:
    """All connections of one shaped link."""

    def __init__(self, listener: socket.socket, target: tuple[str, int], up: Pipe, down: Pipe) -> None:
        self.listener = listener
        self.target = target
        self.up = up
        self.down = down
        self.sides: dict[int, Side] = {}
        self._keys = 0

    def wait_s(self, now_s: float) -> float:
        """Seconds to sleep unless a socket wakes us."""
        return min(IDLE_S, max(0.0, min(self.up.next_s(), self.down.next_s()) - now_s))

    def turn(self, control: int) -> bool:
        """Sleep, then move everything that is due. True when the control line has something to say."""
        now = time.monotonic()
        room = {id(pipe): pipe.room_bytes(now) > 0 for pipe in (self.up, self.down)}
        reads: list[Any] = [side.sock for side in self.sides.values() if self._reads(side) and room[id(side.pipe)]]
        waiting = [side for side in self.sides.values() if self._reads(side) and not room[id(side.pipe)]]
        writes = [s.sock for s in self.sides.values() if s.out or s.connecting]
        ready, writable, _ = select.select([control, self.listener, *reads], writes, [], self.wait_s(now))
        now = time.monotonic()
        self._deliver(now)
        by_socket = {side.sock: side for side in self.sides.values()}
        for side in [by_socket[s] for s in ready if s in by_socket] + waiting:
            self._take(side, now)
        for sock in writable:
            self._write(by_socket[sock])
        if self.listener in ready:
            self._accept()
        self._sweep()
        return control in ready

    def cut(self) -> None:
        """Drop every connection as a broken link would: reset, and what was under way is gone."""
        for side in list(self.sides.values()):
            self._drop(side)
        self.up.forget()
        self.down.forget()

    def _reads(self, side: Side) -> bool:
        return side.reading and not side.connecting and side.peer.out_bytes < OUT_BYTES

    def _accept(self) -> None:
        client, _ = self.listener.accept()
        if len(self.sides) >= 2 * MAX_CONNECTIONS:
            client.close()
            return
        server = socket.socket(socket.AF_INET6 if ":" in self.target[0] else socket.AF_INET)
        tame(server)
        near, far = Side(client, self.up), Side(server, self.down)
        near.peer, far.peer = far, near
        for side in (near, far):
            side.sock.setblocking(False)
            side.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            side.key, self._keys = self._keys, self._keys + 1
            self.sides[side.key] = side
        far.connecting = True
        if server.connect_ex(self.target) not in (0, 36, 115):  # EINPROGRESS on macOS and Linux
            self._drop(far)

    def _take(self, side: Side, now_s: float) -> None:
        """Read what fits into the pipe. A connection that breaks ends like one that closes: after what it had sent."""
        if side.key not in self.sides or not (room := side.pipe.room_bytes(now_s)):
            return
        try:
            data = side.sock.recv(min(room, READ_BYTES))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        side.reading = bool(data)
        side.pipe.push(now_s, side.peer.key, memoryview(data) if data else None)

    def _deliver(self, now_s: float) -> None:
        touched = {}
        for key, data in self._arrived(now_s):
            side = self.sides.get(key)
            if side is None:
                continue
            touched[key] = side
            if data is None:
                side.closing = True
            else:
                side.out.append(data)
                side.out_bytes += len(data)
        for side in touched.values():
            if not side.connecting:
                self._write(side)

    def _arrived(self, now_s: float) -> list[Parcel]:
        return self.up.pop(now_s) + self.down.pop(now_s)

    def _write(self, side: Side) -> None:
        if side.key not in self.sides:
            return
        if side.connecting:
            if side.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._drop(side)
                return
            side.connecting = False
        if len(side.out) > 1:
            side.out = deque([memoryview(b"".join(side.out))])
        try:
            side.flush()
        except OSError:
            self._drop(side)

    def _drop(self, side: Side) -> None:
        """Reset both ends of a connection."""
        for one in (side, side.peer):
            if self.sides.pop(one.key, None) is not None:
                with contextlib.suppress(OSError):
                    one.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                one.sock.close()

    def _sweep(self) -> None:
        """Close connections that have ended in both directions."""
        for side in list(self.sides.values()):
            peer = side.peer
            if all(not s.reading and s.closing and not s.out for s in (side, peer)) and side.key in self.sides:
                for one in (side, peer):
                    del self.sides[one.key]
                    one.sock.close()


def tame(sock: socket.socket) -> None:
    """Small buffers, packets of Ethernet's size, plain congestion control. Over loopback a segment may hold 64 kB, so
    a full small buffer is less than one segment, and its acknowledgement is held back for 40 ms: 13 Mbit/s at most."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, STEP_BYTES)
    if hasattr(socket, "TCP_CONGESTION"):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")


def obey(proxy: Proxy, order: dict[str, Any]) -> dict[str, Any]:
    """One line from the parent; the answer goes back."""
    for name, pipe in (("up", proxy.up), ("down", proxy.down)):
        if name in order:
            pipe.advance(order["at_s"])
            pipe.schedule.put(order["at_s"], Trace.from_row(order[name]))
            pipe.changed()
    if order.get("cut"):
        proxy.cut()
    return {"up_bytes": proxy.up.passed_bytes, "down_bytes": proxy.down.passed_bytes, "open": len(proxy.sides) // 2}


def open_proxy(order: dict[str, Any]) -> Proxy:
    """The proxy that the first line describes, listening."""
    family = socket.AF_INET6 if ":" in order["host"] else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tame(listener)  # before listen: accepted connections inherit it, and the handshake fixes the window's scale
    listener.bind((order["host"], order["port"]))
    listener.listen(64)
    up, down = (Pipe(RateSchedule(order["at_s"], Trace.from_row(order[n])), order["delay_s"]) for n in ("up", "down"))
    return Proxy(listener, (order["target"][0], order["target"][1]), up, down)


def be_punctual() -> None:
    """Ask for the processor before others, where we may. A process in a session of its own is in a scheduling group of
    its own, within which niceness counts for nothing: the group has one too."""
    with contextlib.suppress(OSError):
        os.nice(-10)
        Path("/proc/self/autogroup").write_text("-10")


def main() -> int:
    """Serve one shaped link until standard input closes."""
    be_punctual()
    control = sys.stdin.fileno()
    rest = bytearray()
    while b"\n" not in rest:
        if not (got := os.read(control, READ_BYTES)):
            return 0
        rest += got
    line, _, rest = rest.partition(b"\n")
    try:
        proxy = open_proxy(json.loads(line))
    except (OSError, BadInput) as error:
        _say({"error": str(error)})
        return 1
    _say({"port": proxy.listener.getsockname()[1]})
    while True:
        if not proxy.turn(control):
            continue
        if not (got := os.read(control, READ_BYTES)):
            proxy.cut()
            return 0
        rest += got
        while b"\n" in rest:
            line, _, rest = rest.partition(b"\n")
            _say(obey(proxy, json.loads(line)))


def _say(row: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

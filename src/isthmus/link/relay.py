"""One-way delay between two network namespaces: packets read from one TUN device are written to the other later.

Run as `python -m isthmus.link.relay` with one JSON line on standard input; ends when that closes. Root only. netem does
the same inside the kernel, where a kernel has it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import struct
import sys
import time
from collections import deque

from isthmus.link.proxy import be_punctual

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x0001 | 0x1000
PACKET_BYTES = 2048
IDLE_S = 0.5
MOST_HELD = 100_000


def enter(namespace: str) -> None:
    """Put the calling thread into a named network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(handle, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {namespace}")
    finally:
        os.close(handle)


def open_tun(namespace: str, device: str) -> int:
    """A new TUN device in that namespace; it lives as long as the descriptor."""
    enter(namespace)
    handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(handle, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN_NO_PI))
    return handle


def relay(first: int, second: int, delay_s: float, control: int) -> None:
    """Carry packets both ways until `control` closes."""
    other = {first: second, second: first}
    held: deque[tuple[float, int, bytes]] = deque()
    while True:
        wait = max(0.0, held[0][0] - time.monotonic()) if held else IDLE_S
        ready, _, _ = select.select([first, second, control], [], [], min(wait, IDLE_S))
        now = time.monotonic()
        while held and held[0][0] <= now:
            _, device, packet = held.popleft()
            with contextlib.suppress(OSError):  # a device that is down drops, as a network does
                os.write(device, packet)
        if control in ready and not os.read(control, 1 << 16):
            return
        for device in ready:
            if device != control:
                _collect(device, now + delay_s, other[device], held)


def _collect(device: int, due_s: float, target: int, held: deque[tuple[float, int, bytes]]) -> None:
    with contextlib.suppress(OSError):
        for _ in range(64):
            packet = os.read(device, PACKET_BYTES)
            if len(held) < MOST_HELD:
                held.append((due_s, target, packet))


def main() -> int:
    """Open both devices, say so, relay."""
    order = json.loads(sys.stdin.readline())
    try:
        first, second = (open_tun(namespace, order["device"]) for namespace in order["namespaces"])
    except OSError as error:
        sys.stdout.write(json.dumps({"error": str(error)}) + "\n")
        return 1
    be_punctual()
    sys.stdout.write(json.dumps({"ready": True}) + "\n")
    sys.stdout.flush()
    relay(first, second, order["delay_s"], sys.stdin.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How true is a shaped link? Goodput over the rate asked for, transfer time over the ideal, dispersion over the truth.

At 1, 5, 20 and 100 Mbit/s, for the unprivileged proxy (`ShapedLink`) and, as root, for two namespaces (`ShapedNetwork`,
veth, and with 10 ms of delay). Aim: goodput within 5 % of the rate (of 0.956 of it in the namespaces: headers),
transfers of 50 and 200 kB within 5 % of bytes · 8 / rate + round trip, dispersion from 50 kB in 8 kB chunks within 5 %.
The floor is the rate itself; medians, and the quartiles in --json, because other work on the machine makes single
transfers late. Namespaces with a delay come out up to 5 % fast at 1 Mbit/s: after each pause their bucket lets 3.2 kB
pass at once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import struct
import threading
import time
from collections.abc import Callable, Iterator

from isthmus.errors import Missing
from isthmus.link import ShapedLink, dispersion_bps
from isthmus.link.testbed import ShapedNetwork, missing

CHUNK_BYTES = 8192
RATES_BPS = (1e6, 5e6, 20e6, 100e6)
REPLY = struct.Struct("!d")


def read_exactly(sock: socket.socket, size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        data = sock.recv(size - len(got))
        if not data:
            raise ConnectionError("the other side has gone")
        got += data
    return bytes(got)


def serve(listener: socket.socket) -> None:
    """Answer every message (4 bytes of length, then as many) with the dispersion of its 8 kB chunks."""
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            with client, contextlib.suppress(ConnectionError):
                while True:
                    client.sendall(REPLY.pack(receive(client)))


def receive(client: socket.socket) -> float:
    """Take one message; its dispersion."""
    size = struct.unpack("!I", read_exactly(client, 4))[0]
    arrivals, sizes = [], []
    while size:
        sizes.append(min(size, CHUNK_BYTES))
        read_exactly(client, sizes[-1])
        arrivals.append(time.monotonic())
        size -= sizes[-1]
    return dispersion_bps(arrivals, sizes) or 0.0


def send(sock: socket.socket, size: int) -> tuple[float, float]:
    """Seconds until the answer came, and the dispersion it told."""
    start = time.monotonic()
    sock.sendall(struct.pack("!I", size) + bytes(size))
    told = REPLY.unpack(read_exactly(sock, REPLY.size))[0]
    return time.monotonic() - start, told


def quartiles(values: list[float]) -> list[float]:
    if len(values) < 2:
        return values * 3
    return [round(v, 4) for v in statistics.quantiles(values, n=4, method="inclusive")]


def measure(connect: Callable[[], socket.socket], bps: float, rtt_s: float, seconds: float) -> dict[str, list[float]]:
    """Ratios at one rate of payload; each as lower quartile, median, upper quartile."""
    results: dict[str, list[float]] = {}
    with connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        send(sock, 30_000)  # lets congestion control find the rate
        for size in (50_000, 200_000):
            ideal_s = size * 8 / bps + rtt_s
            rounds = max(3, min(20, int(seconds / ideal_s)))
            seen = [send(sock, size) for _ in range(rounds)]
            results[f"time_{size // 1000}kB"] = quartiles([spent / ideal_s for spent, _ in seen])
            results[f"dispersion_{size // 1000}kB"] = quartiles([told / bps for _, told in seen])
        size = int(bps * seconds / 8)
        spent, _ = send(sock, size)
        results["goodput"] = [round(size * 8 / (spent - rtt_s) / bps, 4)] * 3
    return results


@contextlib.contextmanager
def listening(listener: socket.socket) -> Iterator[None]:
    thread = threading.Thread(target=serve, args=(listener,), daemon=True)
    thread.start()
    yield
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(timeout=5)


def proxy(seconds: float) -> dict[str, dict[str, list[float]]]:
    listener = socket.create_server(("127.0.0.1", 0))
    results = {}
    with listening(listener), ShapedLink(f"127.0.0.1:{listener.getsockname()[1]}", "1Mbit", delay_s=0.005) as link:
        for bps in RATES_BPS:
            link.set_rate(bps)
            results[f"{bps / 1e6:g} Mbit/s"] = measure(
                lambda: socket.create_connection((link.host, link.port), timeout=60), bps, 0.01, seconds
            )
    return results


def namespaces(delay_s: float, seconds: float) -> dict[str, dict[str, list[float]]]:
    results = {}
    with ShapedNetwork("1Mbit", delay_s=delay_s) as net:
        listener = net.socket("server")
        listener.bind((net.address("server"), 5000))
        listener.listen(8)

        def connect() -> socket.socket:
            sock = net.socket("device")
            sock.settimeout(60)
            sock.connect((net.address("server"), 5000))
            return sock

        with listening(listener):
            for bps in RATES_BPS:
                net.set_rate(bps)
                results[f"{bps / 1e6:g} Mbit/s"] = measure(connect, net.true_bps(), 2 * delay_s, seconds)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long one figure may take")
    asked = parser.parse_args()
    results = {"proxy": proxy(asked.seconds)}
    if reason := missing():
        results["namespaces"] = {}
    else:
        with contextlib.suppress(Missing):
            results["namespaces"] = namespaces(0.0, asked.seconds)
            results["namespaces, 10 ms"] = namespaces(0.01, asked.seconds)
    load = os.getloadavg()[0]
    if asked.json:
        print(json.dumps({"load_average": load, "skipped": reason, "results": results}))
        return
    print(f"load average {load:.1f} {reason}")
    for name, rates in results.items():
        for rate, row in rates.items():
            shown = "  ".join(f"{what} {quarters[1]:.3f}" for what, quarters in row.items())
            print(f"{name:18s} {rate:>11s}  {shown}")


if __name__ == "__main__":
    main()

"""The unprivileged shaped link with real sockets: bytes, stalls, breaks. Rates are checked by counting, not by timing:
what crossed never exceeds what the true rate allows (late is the machine's fault, early is ours)."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from isthmus.errors import BadInput, IsthmusError
from isthmus.link import ShapedLink, Trace, steps


class Echo:
    """A server that sends everything back; `fresh` counts its connections."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.fresh = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.fresh += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            while data := client.recv(65_536):
                client.sendall(data)


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.listener.close()


def read_all(sock: socket.socket, size: int) -> bytes:
    got = bytearray()
    while len(got) < size and (data := sock.recv(65_536)):
        got += data
    return bytes(got)


def test_bytes_survive_both_ways_on_several_connections_and_end_with_the_connection(echo: Echo) -> None:
    sent = [bytes([n]) + bytes(range(256)) * 500 for n in range(3)]
    with ShapedLink(echo.address, "100Mbit", delay_s=0.002) as link:
        socks = [socket.create_connection((link.host, link.port), timeout=10) for _ in sent]
        for sock, data in zip(socks, sent, strict=True):
            threading.Thread(target=sock.sendall, args=(data,), daemon=True).start()
        assert [read_all(s, len(d)) for s, d in zip(socks, sent, strict=True)] == sent
        for sock in socks:
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""  # the end travels there and back
            sock.close()
        told = link.passed()
        assert told["up_bytes"] == told["down_bytes"] == sum(map(len, sent))
    assert echo.fresh == 3


def test_nothing_is_faster_than_the_link(echo: Echo) -> None:
    """50 kB up at 2 Mbit/s and back at 8 Mbit/s, 20 ms each way: not before the last bit can have crossed."""
    with ShapedLink(echo.address, "2Mbit", down="8Mbit", delay_s=0.02) as link:
        with socket.create_connection((link.host, link.port), timeout=10) as sock:
            begin = time.monotonic()
            sock.sendall(bytes(50_000))
            assert read_all(sock, 50_000) == bytes(50_000)
            end = time.monotonic()
        assert link.true_bps() * (end - begin - 2 * 0.02) >= 50_000 * 8
        assert link.link_at().rtt_s == 0.04
        assert link.link_at().down_bps == 8e6


def test_an_outage_stalls_and_a_new_rate_resumes(echo: Echo) -> None:
    with ShapedLink(echo.address, 0) as link, socket.create_connection((link.host, link.port), timeout=10) as sock:
        sock.sendall(b"patience")
        sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            sock.recv(8)
        assert link.true_bps() == 0
        with pytest.raises(BadInput):
            link.link_at()
        link.set_rate("10Mbit")
        sock.settimeout(10)
        assert read_all(sock, 8) == b"patience"
        assert link.true_bps(direction="down") == 10e6


def test_both_directions_may_be_given_new_rates_of_their_own(echo: Echo) -> None:
    with ShapedLink(echo.address, "10Mbit") as link:
        link.set_rate("20Mbit", "5Mbit")
        assert (link.true_bps(), link.true_bps(direction="down")) == (20e6, 5e6)
        with socket.create_connection((link.host, link.port), timeout=10) as sock:
            begin = time.monotonic()
            sock.sendall(bytes(50_000))
            assert read_all(sock, 50_000) == bytes(50_000)
            end = time.monotonic()
        assert link.true_bps(direction="down") * (end - begin) >= 50_000 * 8


def test_a_trace_is_followed(echo: Echo) -> None:
    trace = steps("8Mbit:100s,1Mbit:100s")
    with ShapedLink(echo.address, trace, down=Trace.of([0], [5e6])) as link:
        assert link.true_bps(link.started_s + 50) == 8e6
        assert link.true_bps(link.started_s + 150) == 1e6
        assert link.true_bps(link.started_s + 150, "down") == 5e6


def test_a_cut_breaks_connections_and_new_ones_work(echo: Echo) -> None:
    with ShapedLink(echo.address, "10Mbit") as link:
        old = socket.create_connection((link.host, link.port), timeout=10)
        old.sendall(b"x")
        assert old.recv(1) == b"x"
        link.cut()
        with pytest.raises(ConnectionResetError):  # not an orderly end
            old.recv(1)
        old.close()
        with socket.create_connection((link.host, link.port), timeout=10) as new:
            new.sendall(b"y")
            assert new.recv(1) == b"y"
        assert echo.fresh == 2


def test_a_server_that_is_away_looks_away(echo: Echo) -> None:
    free = socket.create_server(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    with ShapedLink(f"127.0.0.1:{port}", "10Mbit") as link:
        # The reset may come before connect has returned, or after.
        with (
            pytest.raises(ConnectionResetError),
            socket.create_connection((link.host, link.port), timeout=10) as sock,
        ):
            sock.recv(1)
        assert link.passed()["open"] == 0


def test_what_is_wrong_is_said_at_once(echo: Echo) -> None:
    with pytest.raises(BadInput, match="already in use"):
        ShapedLink(echo.address, "1Mbit", port=int(echo.address.split(":")[1]))
    with pytest.raises(BadInput, match="host:port"):
        ShapedLink("localhost", "1Mbit")
    with pytest.raises(BadInput, match="delay"):
        ShapedLink(echo.address, "1Mbit", delay_s=-1)
    with pytest.raises(BadInput):
        ShapedLink(echo.address, "fast")


def test_a_closed_link_refuses_orders_and_can_be_closed_again(echo: Echo) -> None:
    link = ShapedLink(echo.address, "1Mbit")
    link.close()
    link.close()
    with pytest.raises(IsthmusError, match="closed"):
        link.set_rate("2Mbit")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((link.host, link.port), timeout=1)


def test_many_connections_share_one_link(echo: Echo) -> None:
    """Three connections push at once; together they get no more than the one rate."""
    with ShapedLink(echo.address, "4Mbit", down="100Mbit") as link:
        begin = time.monotonic()
        socks = [socket.create_connection((link.host, link.port), timeout=10) for _ in range(3)]
        for sock in socks:
            sock.sendall(bytes(20_000))
        for sock in socks:
            assert len(read_all(sock, 20_000)) == 20_000
            sock.close()
        assert link.true_bps() * (time.monotonic() - begin) >= 3 * 20_000 * 8

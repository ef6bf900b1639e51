"""The real shaped network: namespaces, rates, delay, outage, quota; and that nothing of it stays behind."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from isthmus.errors import BadInput, Missing
from isthmus.link import steps, testbed
from isthmus.link.testbed import GOODPUT, ShapedNetwork

_WHY = testbed.missing()
pytestmark = [pytest.mark.network, pytest.mark.skipif(bool(_WHY), reason=f"no shaped network: {_WHY}")]


@contextlib.contextmanager
def transfer(net: ShapedNetwork) -> Iterator[tuple[socket.socket, list[tuple[float, int]]]]:
    """A connection from device to server, and the arrivals at the server (moment, bytes)."""
    arrivals: list[tuple[float, int]] = []
    with net.socket("server") as listener, net.socket("device") as sender:
        listener.bind((net.address("server"), 5000))
        listener.listen(1)
        sender.settimeout(20)
        sender.connect((net.address("server"), 5000))
        receiver, _ = listener.accept()

        def receive() -> None:
            with receiver:
                while data := receiver.recv(65_536):
                    arrivals.append((time.monotonic(), len(data)))

        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        yield sender, arrivals
        sender.shutdown(socket.SHUT_WR)
        thread.join(timeout=20)
        assert not thread.is_alive()


def names() -> set[str]:
    """The namespaces of this process: tests in another one make and remove theirs meanwhile."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.split()
    return {name for name in listed if name.startswith(f"isthmus-{os.getpid()}-")}


@pytest.mark.parametrize(("delay_s", "mtu"), [(0.0, 1500), (0.01, 1500), (0.0, 576), (0.01, 576)])
def test_everything_arrives_no_faster_than_the_link_and_nothing_stays_behind(delay_s: float, mtu: int) -> None:
    with ShapedNetwork("8Mbit", delay_s=delay_s, mtu=mtu) as net:
        here = set(net.namespaces.values())
        assert here <= names()
        begin = time.monotonic()
        with transfer(net) as (sender, arrivals):
            assert time.monotonic() - begin >= 2 * delay_s  # the handshake is a real one
            sender.sendall(bytes(200_000))
        assert sum(size for _, size in arrivals) == 200_000
        spent_s = arrivals[-1][0] - begin
        free = 2 * testbed.BURST_BYTES * mtu / 1500  # what a full bucket lets through at once
        share = {1500: GOODPUT, 576: 524 / 590}[mtu]
        assert (200_000 - free) * 8 <= 8e6 * share * (spent_s - 2 * delay_s)
        assert net.true_bps() == 8e6 * share
    assert not here & names()
    net.close()


def test_packets_of_a_size_that_cannot_be_are_refused() -> None:
    for mtu in (575, 1501):
        with pytest.raises(BadInput, match=rf"576 to 1500 bytes, not {mtu}"):
            ShapedNetwork("8Mbit", mtu=mtu)


def test_an_outage_holds_and_the_next_rate_releases() -> None:
    with ShapedNetwork("20Mbit") as net, transfer(net) as (sender, arrivals):
        sender.sendall(bytes(20_000))
        while sum(size for _, size in arrivals) < 20_000:
            time.sleep(0.005)
        net.set_rate(0)
        threading.Timer(0.5, net.set_rate, args=("50Mbit",)).start()
        silent_from = time.monotonic()
        sender.sendall(bytes(100_000))
        while sum(size for _, size in arrivals) < 120_000:
            time.sleep(0.005)
        late = [t - silent_from for t, _ in arrivals if t - silent_from > 0]
        crept = sum(size for t, size in arrivals if 0 < t - silent_from < 0.45)
        assert crept <= 2 * testbed.BURST_BYTES  # what the bucket still held
        assert max(late) >= 0.45


def test_a_trace_is_replayed_by_itself() -> None:
    with ShapedNetwork(steps("20Mbit:300ms,2Mbit:100s")) as net:
        show = ["tc", "-n", net.namespaces["device"], "qdisc", "show", "dev", "hop0"]
        seen = set()
        until = time.monotonic() + 20
        while "2Mbit" not in seen and time.monotonic() < until:
            seen.add(
                subprocess.run(show, capture_output=True, text=True, check=True).stdout.split("rate ")[1].split()[0]
            )
        assert "2Mbit" in seen
        assert net.true_bps() == 2e6 * GOODPUT
        net.set_rate("5Mbit")
        assert "rate 5Mbit" in subprocess.run(show, capture_output=True, text=True, check=True).stdout


def test_commands_run_on_their_side_with_their_share_of_the_processor() -> None:
    burn = "import time\nt = time.monotonic()\nwhile time.monotonic() - t < 1.0: pass\nprint(time.process_time())"
    with ShapedNetwork("20Mbit") as net:
        addresses = net.start("server", ["ip", "-o", "address"], stdout=subprocess.PIPE, text=True).communicate()[0]
        assert net.address("server") in addresses
        slow = net.start("device", [sys.executable, "-c", burn], cpu_share=0.2, stdout=subprocess.PIPE, text=True)
        used_s = float(slow.communicate()[0])
        assert used_s < 0.35
        net.start("device", ["sleep", "1000"])  # ended by close
        last = net._started[-1]
    assert last.poll() is not None


def test_absurd_arguments_and_missing_privileges_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="delay"):
        ShapedNetwork("1Mbit", delay_s=-1)
    before = names()
    with pytest.raises(BadInput):
        ShapedNetwork("fast")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(Missing, match="root"):
        ShapedNetwork("1Mbit")
    assert names() == before


def test_what_a_killed_process_left_behind_is_removed() -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = f"isthmus-{dead.pid}-0-d"
    subprocess.run(["ip", "netns", "add", left], check=True)
    try:
        with ShapedNetwork("10Mbit") as net:
            listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
            assert left not in listed
            assert net.namespaces["device"] in listed, "and not what lives"
    finally:
        subprocess.run(["ip", "netns", "delete", left], capture_output=True, check=False)

"""When bytes came in is told by the kernel, not by whoever reads them: a reader that wakes late makes no link fast."""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time

import pytest
from test_run_intake import ask_of, desk_of, intake_of

from isthmus.engine import Engine
from isthmus.run import PROTOCOL, Bounds
from isthmus.run.conversation import Conversation
from isthmus.run.frame import Kind, Parcel, pack, unpack
from isthmus.run.intake import Job, welcome
from isthmus.run.replies import arrival_in, rate_of
from isthmus.run.sockets import NOWHERE, Inbox, Landed, framed, kernel_s, send, send_now
from isthmus.run.split_pb2 import Hello, Probe

BOUNDS = Bounds(batch=2, message_bytes=1 << 20)
KIND = 35
"""SO_TIMESTAMPNS where the tests run."""


def at(at_s: float, ahead: int = 0) -> Landed:
    whole = int(at_s)
    return Landed(((socket.SOL_SOCKET, KIND, struct.pack("@ll", whole, round((at_s - whole) * 1e9))),), ahead)


def probe_frames(size: int) -> list[bytes]:
    header = Probe(total_bytes=size).SerializeToString()
    return list(map(b"".join, Parcel(Kind.PROBE, 3, header, [bytes(size)], 1e6).frames()))


def test_an_arrival_is_measured_by_the_kernels_clock(engine: Engine) -> None:
    """The reader saw both frames within a microsecond, 10 ms after the last one came."""
    intake = intake_of(engine)
    first, last = probe_frames(12_500)
    assert intake.feed(first, 10.0, at(500.0)) == []
    (answer,) = intake.feed(last, 10.000001, at(500.008))
    assert isinstance(answer, bytes)
    arrival = arrival_in(unpack(answer, 1 << 16))
    assert arrival.seconds == pytest.approx(0.008)
    assert arrival.bytes_after_first == 12_500 - 4_096
    assert rate_of(arrival) == pytest.approx(8 * (12_500 - 4_096) / 0.008)


def test_bytes_that_were_here_with_the_first_frame_did_not_come_after_it(engine: Engine) -> None:
    intake = intake_of(engine)
    ask, payload = ask_of(engine)
    intake.feed(pack(Kind.ASK, 5, ask.SerializeToString(), payload[:100]), 10.0, at(500.0, ahead=60))
    (job,) = intake.feed(pack(Kind.CHUNK, 5, b"", payload[100:]), 10.1, at(500.05))
    assert isinstance(job, Job)
    assert job.came.bytes_after_first == len(payload) - 160 > 0
    assert job.came.seconds == pytest.approx(0.05)


def test_all_at_once_says_nothing_of_the_link(engine: Engine) -> None:
    intake = intake_of(engine)
    first, last = probe_frames(12_500)
    intake.feed(first, 10.0, at(500.0, ahead=len(last) + 4))
    (answer,) = intake.feed(last, 10.0004, at(500.25))
    assert isinstance(answer, bytes)
    arrival = arrival_in(unpack(answer, 1 << 16))
    assert (arrival.bytes_after_first, arrival.seconds, arrival.bytes) == (0, 0.0, 12_500)
    assert rate_of(arrival) is None


def test_a_clock_that_was_set_back_tells_of_no_time(engine: Engine) -> None:
    intake = intake_of(engine)
    first, last = probe_frames(12_500)
    intake.feed(first, 10.0, at(500.0))
    (answer,) = intake.feed(last, 10.5, at(499.0))
    assert isinstance(answer, bytes)
    assert arrival_in(unpack(answer, 1 << 16)).seconds == 0.0


@pytest.mark.parametrize("stamps", [(at(500.0), NOWHERE), (NOWHERE, at(500.0)), (NOWHERE, NOWHERE)])
def test_without_the_kernels_word_the_readers_clock_counts(engine: Engine, stamps: tuple[Landed, Landed]) -> None:
    """Never one end by the one and the other by the other."""
    intake = intake_of(engine)
    first, last = probe_frames(12_500)
    intake.feed(first, 10.0, stamps[0])
    (answer,) = intake.feed(last, 10.5, stamps[1])
    assert isinstance(answer, bytes)
    assert arrival_in(unpack(answer, 1 << 16)).seconds == 0.5


def test_a_stamp_that_is_none_is_not_taken() -> None:
    assert kernel_s(at(0.0).told) is None
    assert kernel_s(((socket.SOL_SOCKET, KIND, b"short"),)) is None
    assert kernel_s(((socket.SOL_SOCKET, KIND + 1, struct.pack("@ll", 5, 0)),)) is None
    assert kernel_s(at(5.25).told) == 5.25


@pytest.fixture
def ends() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = socket.create_connection(listening.getsockname())
        other, _ = listening.accept()
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one, other


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells when bytes of a stream came in")
def test_a_late_reader_hears_from_the_kernel_when_bytes_came(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends
    with one, other:
        inbox = Inbox(other, 1 << 20, stamped=True)
        send(one, b"wake up")  # the kernel begins to note times a moment after it was asked to
        assert inbox.take() == b"wake up"
        time.sleep(0.2)
        send(one, bytes(4_096))
        inbox.take()
        first, first_s = kernel_s(inbox.told), time.monotonic()
        send(one, bytes(8_404))
        time.sleep(0.1)
        inbox.take()
        last, last_s = kernel_s(inbox.told), time.monotonic()
    assert first is not None
    assert last is not None
    assert 0 <= last - first <= last_s - first_s - 0.09


def test_a_server_that_reads_late_tells_no_rate(engine: Engine, ends: tuple[socket.socket, socket.socket]) -> None:
    """Greeting and probe wait in the kernel's room before anybody reads."""
    one, other = ends
    with one, other:
        fingerprint = engine.model.fingerprint
        greeting = pack(Kind.HELLO, 1, Hello(protocol=PROTOCOL, fingerprint=fingerprint).SerializeToString())
        assert not send_now(one, framed([[greeting], *([f] for f in probe_frames(12_500))]))
        hello = welcome("tiny", fingerprint, "", "", [c.id for c in engine.cuts], BOUNDS)
        told: list[bytes] = []
        probed = threading.Event()

        def say(*parts: bytes | memoryview) -> None:
            told.append(b"".join(parts))
            if unpack(told[-1], 1 << 16).kind is Kind.PROBED:
                probed.set()

        messages = Inbox(other, 1 << 20, stamped=True)
        other.settimeout(10.0)
        talk = Conversation(desk_of(engine), hello, messages, say=say, hang_up=other.close)
        thread = threading.Thread(target=talk.run)
        thread.start()
        assert probed.wait(10.0)
        one.shutdown(socket.SHUT_WR)
        thread.join(10.0)
    arrival = arrival_in(unpack(told[-1], 1 << 16))
    assert (arrival.bytes, arrival.bytes_after_first) == (12_500, 0)

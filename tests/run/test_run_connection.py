"""One connection's sending side against a server that reads slowly: nothing is mixed, lost or waited for."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest
from run_rig import until

from isthmus.errors import Late, Unreachable
from isthmus.graph import INPUT
from isthmus.run.connection import Connection, Heard, Ticket
from isthmus.run.frame import Kind, pack, unpack
from isthmus.run.heads import Head, request_of
from isthmus.run.sockets import MAGIC, Inbox, framed, send
from isthmus.run.transport import TcpTransport


class Reader:
    """A server that takes messages one by one, when told, and answers each finished payload."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.port = int(self._listening.getsockname()[1])
        self.payloads: dict[int, bytearray] = {}
        self.order: list[int] = []
        self.kinds: list[Kind] = []
        self.go = threading.Event()
        self.done = threading.Event()
        self._sizes: dict[int, int] = {}
        threading.Thread(target=self._run, daemon=True).start()

    def expect(self, request_id: int, size: int) -> None:
        self._sizes[request_id] = size

    def _run(self) -> None:
        peer, _ = self._listening.accept()
        with peer, self._listening:
            assert peer.recv(4, socket.MSG_WAITALL) == MAGIC
            self.go.wait(20)
            for message in Inbox(peer, 4 << 20):
                frame = unpack(message, 1 << 16)
                self.kinds.append(frame.kind)
                self.order.append(frame.id)
                payload = self.payloads.setdefault(frame.id, bytearray())
                payload += frame.body
                if len(payload) == self._sizes.get(frame.id, -1):
                    send(peer, pack(Kind.REPLY, frame.id))
        self.done.set()


def connection_to(reader: Reader) -> Connection:
    return Connection(TcpTransport("127.0.0.1", reader.port, 1 << 28, 5.0), clock=time.perf_counter)


def test_parcels_of_several_threads_arrive_whole_and_one_after_the_other() -> None:
    reader = Reader()
    connection = connection_to(reader)
    sent: dict[int, bytes] = {}
    tickets: list[Ticket] = []
    lock = threading.Lock()

    def ask(size: int) -> None:
        payload = os.urandom(size)
        ticket = connection.ask(
            INPUT, 1, [], [payload[: size // 2], payload[size // 2 :]] if size >= 400_000 else [payload], 5e9
        )
        with lock:
            tickets.append(ticket)
            sent[ticket.parcel.id] = payload
            reader.expect(ticket.parcel.id, size)

    threads = [threading.Thread(target=ask, args=(size,)) for size in (3_000_000, 10, 2_000_000, 400_000, 50_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive(), "sending must not wait for the link"
    reader.go.set()
    for ticket in tickets:
        assert ticket.wait(20).frame.kind is Kind.REPLY
    assert {k: bytes(v) for k, v in reader.payloads.items()} == sent
    changes = [a for a, b in zip(reader.order, reader.order[1:], strict=False) if a != b]
    assert len(changes) == len(sent) - 1, "the frames of two requests were mixed"
    connection.close()
    assert reader.done.wait(10)


def test_the_last_frame_is_finished_even_when_nothing_follows() -> None:
    reader = Reader()
    transport = TcpTransport("127.0.0.1", reader.port, 1 << 28, 5.0)
    connection = Connection(transport, clock=time.perf_counter)
    tickets: list[Ticket] = []
    while not transport.behind:
        reader.expect(len(tickets) + 1, 4000)
        tickets.append(connection.ask(INPUT, 1, [], [bytes(4000)], 5e9))
        assert len(tickets) < 10_000, "the link took everything"
    reader.go.set()
    for ticket in tickets:
        assert ticket.wait(20).frame.kind is Kind.REPLY
    connection.close()


def test_what_is_given_up_is_not_sent_to_its_end() -> None:
    reader = Reader()
    connection = connection_to(reader)
    ticket = connection.ask(INPUT, 1, [], [bytes(20_000_000)], 5e9)
    with pytest.raises(Late):
        ticket.wait(0.05)
    connection.give_up(ticket)
    reader.expect(ticket.parcel.id + 1, 100)
    reader.go.set()
    assert connection.probe(100, None).wait(20).frame.kind is Kind.REPLY
    connection.close()
    assert Kind.CANCEL in reader.kinds
    assert len(reader.payloads[ticket.parcel.id]) < 20_000_000


def test_a_peer_that_goes_away_fails_what_waits() -> None:
    reader = Reader()
    connection = connection_to(reader)
    ticket = connection.ask(INPUT, 1, [], [bytes(10)], None)
    assert connection.lost is None
    reader.go.set()
    connection.close()
    with pytest.raises(Unreachable):
        ticket.wait(10)
    with pytest.raises(Unreachable):
        connection.ask(INPUT, 1, [], [bytes(10)], None)


@contextmanager
def talked_to() -> Iterator[tuple[socket.socket, TcpTransport]]:
    """A transport, and the other end of it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        transport = TcpTransport("127.0.0.1", int(listening.getsockname()[1]), 1 << 20, 5.0)
        peer, _ = listening.accept()
    with peer, closing(transport):
        peer.settimeout(10)
        assert peer.recv(4) == MAGIC
        yield peer, transport


def test_a_server_that_never_pauses_keeps_nobody_beyond_his_time() -> None:
    with talked_to() as (peer, transport):
        many = b"".join(framed([(pack(Kind.PONG, 999),)] * 1000))

        def flood() -> None:
            with suppress(OSError):
                while True:
                    peer.sendall(many)

        threading.Thread(target=flood, daemon=True).start()
        heard: list[object] = []
        listening = threading.Thread(target=transport.listen, args=(heard.append, lambda: False, 0.05), daemon=True)
        listening.start()
        listening.join(5)
        assert not listening.is_alive()
        assert heard
        with transport._ear.last():
            transport._socket.close()


def test_a_request_says_what_it_holds_although_the_last_one_was_as_long() -> None:
    """What was said of the last one is said again only where all of it is the same."""
    heads = [Head("x", "float32", (1, 6), "float32", 24), Head("x", "float32", (6, 1), "float32", 24)]
    heads += [Head("x", "float32", (6, 1), "int8", 24), Head("y", "float32", (6, 1), "int8", 24)]
    with talked_to() as (peer, transport):
        connection, inbox = Connection(transport, clock=time.perf_counter), Inbox(peer, 1 << 16)
        for head in (heads[0], *heads, heads[0]):
            connection.ask(INPUT, 1, [head], [bytes(24)], None)
            message = inbox.take()
            assert message is not None
            assert request_of(unpack(message, 1 << 16).header).heads == (head,)
        connection.close()


@pytest.mark.parametrize("kind", [Kind.PONG, Kind.REPLY, Kind.BYE])
def test_frames_that_nobody_asked_for_end_the_connection(kind: Kind) -> None:
    with talked_to() as (peer, transport):
        connection = Connection(transport, clock=time.perf_counter)
        peer.sendall(b"".join(framed([(pack(kind, 999),)] * 65)))
        assert peer.recv(4) == b"", "not hung up"
        connection.close()


def test_answers_that_come_too_late_are_no_more_than_were_given_up() -> None:
    late: list[Heard] = []
    with talked_to() as (peer, transport):
        connection = Connection(transport, clock=time.perf_counter, on_late=late.append)
        for _ in range(100):
            ticket = connection.ask(INPUT, 1, [], [b"x"], None)
            connection.give_up(ticket)
            peer.sendall(b"".join(framed([(pack(kind, ticket.parcel.id),) for kind in (Kind.REPLY, Kind.CANCELLED)])))
        assert until(lambda: len(late) == 200)
        assert connection.lost is None
        connection.close()

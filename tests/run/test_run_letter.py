"""A letter is the request that would have been sent without it, byte for byte; what it does not fit goes without."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_rig import Told, until

from isthmus.engine import Engine
from isthmus.graph import INPUT
from isthmus.record.types import Choice
from isthmus.run import connect_engine, serve
from isthmus.run.connection import Connection
from isthmus.run.frame import Frame, Kind, Parcel, unpack
from isthmus.run.heads import Head, request_of
from isthmus.run.letter import Letter, written
from isthmus.run.sockets import MAGIC, Inbox, Octets, wrap
from isthmus.run.ticket import Ticket
from isthmus.run.transport import TcpTransport


@given(st.binary(max_size=200_000), st.none() | st.floats(1e3, 1e11))
def test_a_letter_says_what_the_frames_say(payload: bytes, rate_bps: float | None) -> None:
    empty = Parcel(Kind.ASK, 7, b"head", (), rate_bps)
    letter = written((), Ticket(empty, lambda *_: None), len(payload), wrap)
    messages = [b"".join(f) for f in Parcel(Kind.ASK, 7, b"head", [payload], rate_bps).frames()]
    if letter is None:
        assert len(messages) > 4
        return
    assert b"".join(letter.holding(payload)) == b"".join(struct.pack("<I", len(m)) + m for m in messages)


@contextmanager
def overheard() -> Iterator[tuple[Connection, list[Frame]]]:
    """A connection, and the frames that come out of it."""
    frames: list[Frame] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hear() -> None:
            peer, _ = listening.accept()
            with peer:
                assert peer.recv(4, socket.MSG_WAITALL) == MAGIC
                frames.extend(
                    unpack(bytes(m) if isinstance(m, memoryview) else m, 1 << 16) for m in Inbox(peer, 1 << 20)
                )

        thread = threading.Thread(target=hear, daemon=True)
        thread.start()
        transport = TcpTransport("127.0.0.1", listening.getsockname()[1], 1 << 20, 5.0)
        with closing(Connection(transport, clock=time.perf_counter)) as connection:
            yield connection, frames
        thread.join(10)
        assert not thread.is_alive()


def head_of(payload: bytes, name: str = "x") -> tuple[Head, ...]:
    return (Head(name, "uint8", (len(payload),), "float32", len(payload)),)


@pytest.mark.parametrize("size", [10, 5_000, 400_000])
def test_with_a_letter_the_server_hears_the_same(size: int) -> None:
    one, two, three, four = os.urandom(size), os.urandom(size), os.urandom(size + 1), os.urandom(size + 1)
    with overheard() as (connection, frames):
        connection.prepare(5e9)
        assert connection._letters == [], "nothing was asked yet"
        connection.ask(INPUT, 1, head_of(one), [one], 5e9)
        connection.prepare(5e9)
        (letter,) = connection._letters
        assert connection.ask(INPUT, 1, head_of(two), [two], 5e9) is letter.ticket, "the letter was used"
        connection.prepare(5e9)
        (for_another,) = connection._letters
        longer = connection.ask(INPUT, 1, head_of(three), [three], 5e9)
        assert longer is not for_another.ticket
        connection.prepare(5e9)
        (for_another,) = connection._letters
        assert connection.ask("other", 1, head_of(four), [four], 5e9) is not for_another.ticket
        assert until(lambda: len(b"".join(bytes(f.body) for f in frames)) == 4 * size + 2)
    asks = [f for f in frames if f.kind is Kind.ASK]
    requests = [request_of(f.header) for f in asks]
    assert [r.total_bytes for r in requests] == [size, size, size + 1, size + 1]
    assert [r.cut for r in requests] == [INPUT] * 3 + ["other"]
    assert len({f.id for f in asks}) == 4
    assert b"".join(bytes(f.body) for f in frames if f.id) == one + two + three + four


def test_a_letter_is_used_once_by_one_thread() -> None:
    payload = os.urandom(6_000)
    heads = head_of(payload)
    with overheard() as (connection, frames):
        connection.ask(INPUT, 1, heads, [payload], 5e9)
        for _ in range(50):
            connection.prepare(5e9)
            threads = [
                threading.Thread(target=connection.ask, args=(INPUT, 1, heads, [payload], 5e9)) for _ in range(2)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
        assert until(lambda: len(b"".join(bytes(f.body) for f in frames)) == 101 * len(payload))
    assert len({f.id for f in frames if f.kind is Kind.ASK}) == 101


def test_a_session_that_asks_the_same_again_only_puts_the_tensor_in(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []
    holding = Letter.holding

    def noted(letter: Letter, payload: Octets) -> list[Octets]:
        used.append(str(letter.said[0]))
        return holding(letter, payload)

    monkeypatch.setattr(Letter, "holding", noted)
    told, inputs = Told(INPUT), engine.model.random_inputs()
    other = engine.cuts[1].id
    with serve(engine) as server, connect_engine(engine, server.address, chooser=told, deadline_s=10.0) as session:
        for cut in (INPUT, INPUT, INPUT, other, other, INPUT):
            told.choice = Choice(cut=cut)
            assert not session.infer(inputs).step.trouble
    assert used == [INPUT, INPUT, other]

"""Bytes of a payload are received where they stay, and what was said before need not be read again: neither is a way
round the checks."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.engine import Engine
from isthmus.errors import BadFrame, Refused
from isthmus.graph import INPUT
from isthmus.run import PROTOCOL, Bounds
from isthmus.run.codecs import Codecs
from isthmus.run.desk import Desk
from isthmus.run.frame import PREAMBLE, Kind, pack, read_header, unpack
from isthmus.run.halves import Halves
from isthmus.run.heads import Head, Request, output_heads, outputs_header, request_header, request_of
from isthmus.run.intake import Intake, Job, welcome
from isthmus.run.places import Places
from isthmus.run.replies import said_in
from isthmus.run.sockets import Inbox, Message
from isthmus.run.split_pb2 import Hello, Refusal


def desk_of(engine: Engine) -> Desk:
    bounds = Bounds(batch=2, message_bytes=1 << 20, unready_cuts=1)
    return Desk(Places(Halves(engine)), Codecs(), bounds, time.perf_counter)


def intake_of(engine: Engine) -> Intake:
    model = engine.model
    intake = Intake(desk_of(engine), welcome("tiny", model.fingerprint, "", "", [], Bounds()))
    intake.feed(pack(Kind.HELLO, 1, Hello(protocol=PROTOCOL, fingerprint=model.fingerprint).SerializeToString()), 0.0)
    return intake


def request(engine: Engine, batch: int = 1) -> tuple[bytes, bytes]:
    """(header of an ASK frame for the model's input, the payload)"""
    heads, payloads = Codecs().dump("float32", engine.model.random_inputs(batch))
    payload = b"".join(payloads)
    return request_header(Request(INPUT, batch, len(payload), heads)), payload


def joined(message: Message) -> bytes:
    return b"".join(message) if isinstance(message, tuple) else bytes(message)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 200_000), min_size=1, max_size=6),
    st.integers(0, 2**32),
    st.sampled_from([0, 1, 2]),
)
def test_an_inbox_gives_what_was_sent_however_it_comes(sizes: list[int], seed: int, placing: int) -> None:
    """In pieces of any size; `placing`: no message, every second or each is wanted somewhere."""
    chance = random.Random(seed)
    sent = [chance.randbytes(size) for size in sizes]
    stream = b"".join(len(m).to_bytes(4, "little") + m for m in sent)
    asked: list[int] = []

    def place(first: memoryview, size: int) -> tuple[bytes, memoryview] | None:
        asked.append(size)
        if not placing or len(asked) % placing or len(first) < 13:
            return None
        return bytes(first[:13]), memoryview(bytearray(size - 13))

    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):

        def say() -> None:
            at = 0
            while at < len(stream):
                step = chance.choice([3, 100, 5_000, 70_000])
                theirs.sendall(stream[at : at + step])
                at += step
            theirs.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=say)
        thread.start()
        inbox = Inbox(ours, 200_000)
        inbox.place = place
        messages = list(inbox)
        assert [joined(message) for message in messages] == sent
        assert not any(memoryview(m[1] if isinstance(m, tuple) else m).readonly for m in messages)
        thread.join()


def test_a_body_is_received_in_its_payload(engine: Engine) -> None:
    intake, (header, payload) = intake_of(engine), request(engine)
    assert intake.feed(pack(Kind.ASK, 7, header, payload[:100]), 0.0) == []
    chunk = pack(Kind.CHUNK, 7, b"", payload[100:])
    placed = intake.place(memoryview(chunk)[:500], len(chunk))
    assert placed is not None
    head, room = placed
    assert head == chunk[: PREAMBLE.size]
    room[:] = payload[100:]
    (job,) = intake.feed((head, room), 1.0)
    assert isinstance(job, Job)
    assert bytes(job.payload) == payload


def test_a_body_that_lands_after_its_request_was_broken_off_belongs_to_nobody(engine: Engine) -> None:
    intake, (header, payload) = intake_of(engine), request(engine)
    intake.feed(pack(Kind.ASK, 7, header, payload[:100]), 0.0)
    chunk = pack(Kind.CHUNK, 7, b"", payload[100:])
    placed = intake.place(memoryview(chunk)[:500], len(chunk))
    assert placed is not None
    intake.feed(pack(Kind.ASK, 8, header, payload[:100]), 1.0)
    placed[1][:] = bytes(len(payload) - 100)
    assert intake.feed(placed, 2.0) == []
    (job,) = intake.feed(pack(Kind.CHUNK, 8, b"", payload[100:]), 3.0)
    assert isinstance(job, Job)
    assert (job.id, bytes(job.payload)) == (8, payload)


@pytest.mark.parametrize("lie", ["long", "other", "header", "kind", "short", "nothing open"])
def test_no_room_for_what_does_not_belong(engine: Engine, lie: str) -> None:
    intake, (header, payload) = intake_of(engine), request(engine)
    if lie != "nothing open":
        intake.feed(pack(Kind.ASK, 7, header, payload[:100]), 0.0)
    chunk = {
        "long": pack(Kind.CHUNK, 7, b"", payload[99:]),
        "other": pack(Kind.CHUNK, 8, b"", payload[100:]),
        "header": pack(Kind.CHUNK, 7, b"x", payload[101:]),
        "kind": pack(Kind.ASK, 7, b"", payload[100:]),
        "short": b"\x04",
        "nothing open": pack(Kind.CHUNK, 7, b"", payload[100:]),
    }[lie]
    assert intake.place(memoryview(chunk), len(chunk)) is None
    if lie == "long":
        (answer,) = intake.feed(chunk, 1.0)
        assert isinstance(answer, bytes)
        assert "more bytes" in read_header(Refusal, unpack(answer, 1 << 16)).reason


def test_what_was_admitted_is_remembered_and_what_was_refused_is_not(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desk_of(engine)
    header, _ = request(engine)
    first = desk.admit(header)
    assert first == request_of(header)
    monkeypatch.setattr(desk, "check", lambda *_: pytest.fail("checked twice"))
    assert desk.admit(header) is first
    monkeypatch.undo()
    lie = request_header(first._replace(total_bytes=first.total_bytes + 1))
    for _ in range(2):
        with pytest.raises(BadFrame, match="add up"):
            desk.admit(lie)
    with pytest.raises(Refused, match="batch of 3"):
        desk.admit(request_header(first._replace(batch=3)))


def test_what_is_remembered_is_bounded(engine: Engine) -> None:
    """A client can write one request in any number of ways; protobuf lets unknown fields stand at the end."""
    desk = desk_of(engine)
    header, _ = request(engine)
    for k in range(2000):
        desk.admit(header + b"\x7a" + bytes([2]) + k.to_bytes(2, "little"))
    desk.admit(header + b"\x7a\xff\x3f" + bytes(8191))
    assert len(desk._admitted) <= 256
    assert max(map(len, desk._admitted)) <= 4096


def test_headers_say_what_they_were_told() -> None:
    heads = (Head("a", "float32", (1, 3), "int8", 11), Head("ü", "int64", (), "float32", 8))
    asked = Request("cut", 2, 19, heads)
    assert request_of(request_header(asked)) == asked
    assert output_heads(outputs_header(heads)) == heads
    for read in (request_of, output_heads):
        with pytest.raises(BadFrame, match="cannot be read"):
            read(b"\xff\xff\xff")


@pytest.mark.parametrize("header", [b"", bytes(55), b"\xff" * 56, (b"\0" * 6 + b"\xf0\xbf") + bytes(48)])
def test_an_answer_with_numbers_that_cannot_be_is_refused(header: bytes) -> None:
    """Too short, not a number, below zero."""
    with pytest.raises(BadFrame, match=r"numbers|times"):
        said_in(unpack(pack(Kind.REPLY, 1, header), 1 << 16))

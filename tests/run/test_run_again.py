"""A request like the last one is read in a few steps, into the same memory: what comes out must be what the long way
makes of the same bytes, and nothing that is not quite like it may get through."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_rig import BOUNDS, Item, Reader, ask, in_pieces, in_turns, joined, request, wait_for_bytes

from isthmus.engine import Engine
from isthmus.graph import INPUT
from isthmus.run import PROTOCOL, again
from isthmus.run.again import Again
from isthmus.run.codecs import Codecs
from isthmus.run.frame import PREAMBLE, Kind, pack, read_header, unpack
from isthmus.run.intake import Intake, Job, welcome
from isthmus.run.sockets import LENGTH_BYTES, Inbox, send
from isthmus.run.split_pb2 import Hello, Refusal


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    with joined() as both:
        yield both


@pytest.mark.parametrize("codec", ["float32", "float16", "int8", "int4"])
def test_requests_like_the_last_are_read_the_short_way(
    engine: Engine, ends: tuple[socket.socket, socket.socket], codec: str
) -> None:
    requests = [request(engine, codec, seed=seed) for seed in range(6)]
    reader = Reader(engine, ends[1])
    said = [ask(k + 2, header, payload) for k, (header, payload) in enumerate(requests)]
    jobs: list[Item] = []
    for k, job in enumerate(in_turns(ends[0], reader, said)):
        assert isinstance(job, Job)
        _, payload = requests[k]
        assert (job.id, job.cut, bytes(job.payload)) == (k + 2, INPUT, payload)
        ((name, expected),) = Codecs().load(job.heads, memoryview(payload)).items()
        found = reader.tensors(job)[name]
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)
        assert reader.hurried == max(0, k - 1)
        assert (job.tensors is not None) == (codec == "float32" and k > 1)
        jobs.append(job)
        if k:
            before = jobs[k - 1]
            assert isinstance(before, Job)
            assert bytes(before.payload) == requests[k - 1][1], "its answer may still be on its way"
    assert k == 5


def test_another_kind_of_request_is_expected_after_two_of_it(
    engine: Engine, ends: tuple[socket.socket, socket.socket]
) -> None:
    kinds = {"a": request(engine), "b": request(engine, "int8"), "c": request(engine, batch=1)}
    reader = Reader(engine, ends[1])
    order = "aaabbbbaaaacccbcbcb"
    hurried = [0]
    for job in in_turns(ends[0], reader, [ask(k + 2, *kinds[kind]) for k, kind in enumerate(order)]):
        assert isinstance(job, Job)
        assert bytes(job.payload) == kinds[order[job.id - 2]][1]
        hurried.append(reader.hurried)
    seen = "".join("-+"[b > a] for a, b in pairwise(hurried))
    assert seen == "--+" + "--++" + "--++" + "--+" + "-----"


def test_room_is_kept_only_for_requests_in_two_frames(
    engine: Engine, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Inbox, "gather", None)
    header, payload = request(engine, batch=200)
    reader = Reader(engine, ends[1])
    slow = [ask(k + 2, header, payload, 1e6) for k in range(4)]
    assert len(slow[0]) > 3
    jobs = in_turns(ends[0], reader, slow)
    assert [bytes(job.payload) for job in jobs if isinstance(job, Job)] == [payload] * 4


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1e6, 3e7, 1e9]))
def test_both_ways_read_the_same_however_it_comes(engine: Engine, seed: int, rate_bps: float) -> None:
    """Requests of two kinds, probes and pings, in pieces of any size, with pauses."""
    chance = random.Random(seed)
    kinds = [request(engine), request(engine, "int8"), request(engine, batch=1), request(engine, batch=200)]
    messages: list[bytes] = []
    for number in range(2, 9):
        header, payload = kinds[chance.choice([0, 0, 1, 2, 3, 3])]
        messages += [pack(Kind.PING, 99)] * chance.choice([0, 0, 1])
        messages += ask(number, header, chance.randbytes(len(payload)), rate_bps)
    stream = b"".join(len(m).to_bytes(4, "little") + m for m in messages)
    steps = chance.choice([[len(stream)], [3, 200, 5_000, 40_000], [17, 90_000]])
    found = []
    for hurry in (False, True):
        ours, theirs = socket.socketpair()
        with closing(ours), closing(theirs):
            thread = threading.Thread(target=in_pieces, args=(theirs, stream, steps, random.Random(seed)))
            thread.start()
            reader = Reader(engine, ours, hurry=hurry)
            found.append([_seen(item) for item in reader.read()])
            thread.join()
    assert found[0] == found[1]
    assert len(found[0]) >= 7


def _seen(item: Job | bytes) -> tuple[object, ...]:
    if isinstance(item, bytes):
        return (item,)
    return item.id, item.cut, tuple(item.heads), item.total_bytes, item.received_bytes, bytes(item.payload)


def test_both_ways_tell_the_same_of_how_it_came(engine: Engine) -> None:
    """All that lay in the kernel's room with the first frame came before it counts."""
    header, payload = request(engine)
    seen = []
    for hurry in (False, True):
        with joined() as (ours, theirs):
            reader = Reader(engine, theirs, hurry=hurry)
            items = in_turns(ours, reader, [ask(k, header, payload) for k in (2, 3, 4)])
            seen.append([job.arrival() for job in items if isinstance(job, Job)])
            assert reader.hurried == hurry
    assert [(after, total) for after, _, total in seen[0]] == [(after, total) for after, _, total in seen[1]]
    assert all(seconds >= 0.0 for _, seconds, _ in seen[1])


LIES = [
    *("long", "short", "other request", "another header", "a header in the chunk", "a probe", "three frames", "cut"),
    *("shorter than its header", "more than announced", "broken off", "a chunk inside", "a probe in two", "no chunk"),
    *("a header that ends sooner", "a header that ends later", "a header of its length"),
]


@pytest.mark.parametrize("lie", LIES)
def test_what_is_not_quite_like_the_last_goes_the_long_way(engine: Engine, lie: str) -> None:
    header, payload = request(engine)
    first, second = ask(3, header, payload)
    after = {
        "long": [first, second + b"x"],
        "short": [first, second[:-1]],
        "other request": [first, pack(Kind.CHUNK, 4, b"", payload[4_096:])],
        "another header": [pack(Kind.ASK, 3, header + b"\x00", payload)],
        "a header in the chunk": [first, pack(Kind.CHUNK, 3, b"x", payload[4_097:])],
        "a probe": [pack(Kind.PROBE, 3, header, payload)],
        "three frames": [pack(Kind.ASK, 3, header, payload[:50]), *[pack(Kind.CHUNK, 3, b"", payload[50:90])] * 2],
        "cut": [first[:-1]],
        "shorter than its header": [first[:30]],
        "broken off": [first, *ask(4, header, payload), second],
        "a chunk inside": [first + len(second).to_bytes(4, "little") + second],
        "a probe in two": [bytes([Kind.PROBE]) + first[1:], second],
        "no chunk": [first, bytes([Kind.PING]) + second[1:]],
        "a header that ends sooner": [PREAMBLE.pack(Kind.ASK, 3, len(header) - 1) + first[PREAMBLE.size :], second],
        "a header that ends later": [PREAMBLE.pack(Kind.ASK, 3, len(header) + 1) + first[PREAMBLE.size :], second],
        "a header of its length": [first.replace(header, header[:-1] + bytes([header[-1] ^ 1])), second],
        # what follows looks like a chunk of one byte less than nothing, its last byte that of the next message's length
        "more than announced": [
            pack(Kind.ASK, 3, header, payload + b"x"),
            pack(Kind.CHUNK, 3)[:-1],
            pack(Kind.PING, 8, b"", bytes(243)),
        ],
    }[lie]
    seen = []
    for hurry in (False, True):
        ours, theirs = socket.socketpair()
        with closing(ours), closing(theirs):
            reader = Reader(engine, theirs, hurry=hurry)
            honest = [ask(k, header, payload) for k in (2, 5, 6)]
            seen.append([_seen(item) for item in in_turns(ours, reader, [*honest, [*after, pack(Kind.PING, 9)]])])
            assert reader.hurried == hurry  # the honest one before
    assert seen[0] == seen[1]
    assert seen[0][-1] == (pack(Kind.PONG, 9),)


@pytest.mark.parametrize("more", [0, 5, 17, 100])
def test_what_comes_later_is_told_alike(engine: Engine, more: int) -> None:
    """The first frame and `more` bytes are here; the rest comes 30 ms after them."""
    header, payload = request(engine, batch=200)
    seen = []
    for hurry in (False, True):
        with joined() as (ours, theirs):
            reader = Reader(engine, theirs, hurry=hurry)
            jobs = reader.read()
            for number in (1, 2):
                messages = ask(number, header, payload)
                for message in messages:
                    send(ours, message)
                wait_for_bytes(theirs, sum(LENGTH_BYTES + len(message) for message in messages))
                assert isinstance(next(jobs), Job)
            stream = b"".join(len(m).to_bytes(4, "little") + m for m in ask(3, header, payload))
            begin = 4 + len(ask(3, header, payload)[0]) + more
            ours.sendall(stream[:begin])
            wait_for_bytes(theirs, begin)
            late = threading.Timer(0.03, ours.sendall, [stream[begin:]])
            late.start()
            job = next(jobs)
            late.join()
            assert isinstance(job, Job)
            assert bytes(job.payload) == payload
            assert reader.hurried == (hurry and more >= 17)
            after, seconds, total = job.arrival()
            assert 0.0 < seconds < 5
            seen.append((after, total))
    assert seen[0] == seen[1] == (len(payload) - 8_192 - more, len(payload))


class Drops:
    """A socket that gives three bytes at a time, whatever it is asked for."""

    def __init__(self, said: bytes) -> None:
        self._left = said

    def recv_into(self, room: memoryview, size: int, flags: int) -> int:
        some, self._left = self._left[:3], self._left[3:]
        room[: len(some)] = some
        return len(some)


def test_what_is_received_in_drops_is_received_whole() -> None:
    inbox = Inbox(cast("socket.socket", Drops(b"abcdefgh")), 100)
    assert bytes(inbox.near()) == b"abc"
    assert not inbox.is_empty
    room = bytearray(5)
    assert inbox.fill(memoryview(room))
    assert bytes(room) == b"defgh"
    assert not inbox.fill(memoryview(room))


def test_a_stream_that_ends_in_a_payload_gives_nothing(
    engine: Engine, ends: tuple[socket.socket, socket.socket]
) -> None:
    header, payload = request(engine)
    ours, theirs = ends
    jobs = in_turns(ours, Reader(engine, theirs), [ask(k, header, payload) for k in (1, 2)])
    assert [job.id for _, job in zip(range(2), jobs, strict=False) if isinstance(job, Job)] == [1, 2]
    first, second = ask(3, header, payload)
    send(ours, first)
    ours.sendall(len(second).to_bytes(4, "little") + second[:-1])
    assert list(jobs) == []


def waiting(peer: socket.socket, reader: Reader, header: bytes, payload: bytes) -> Job:
    """The third request, read the short way and not answered."""
    items = in_turns(peer, reader, [ask(k, header, payload) for k in (1, 2, 3)])
    job = [next(items) for _ in range(3)][-1]
    assert isinstance(job, Job)
    assert reader.hurried == 1
    return job


def test_while_a_request_waits_the_next_has_memory_of_its_own(
    engine: Engine, ends: tuple[socket.socket, socket.socket]
) -> None:
    """The answer of the first is computed from what it stands in while the next comes in."""
    header, payload = request(engine)
    other = bytes(len(payload))
    reader = Reader(engine, ends[1])
    computing = waiting(ends[0], reader, header, payload)
    for number in (4, 5):
        for message in ask(number, header, other):
            send(ends[0], message)
    ends[0].shutdown(socket.SHUT_WR)
    assert reader.again is not None
    assert reader.again.next_job() is None  # not before the other is answered
    late = [item for message in reader.inbox for item in reader.intake.feed(message, 0.0)]
    assert [bytes(job.payload) for job in late if isinstance(job, Job)] == [other] * 2
    assert bytes(computing.payload) == payload


def test_a_request_that_waits_can_be_cancelled(engine: Engine, ends: tuple[socket.socket, socket.socket]) -> None:
    header, payload = request(engine)
    reader = Reader(engine, ends[1])
    job = waiting(ends[0], reader, header, payload)
    (answer,) = reader.intake.feed(pack(Kind.CANCEL, 3), 0.0)
    assert isinstance(answer, bytes)
    assert unpack(answer, 1 << 16).kind is Kind.CANCELLED
    assert job.cancelled


def test_a_stranger_who_was_refused_goes_no_short_way(
    engine: Engine, ends: tuple[socket.socket, socket.socket]
) -> None:
    """What others may ask is known; who has not named the model may not."""
    header, payload = request(engine)
    reader = Reader(engine, ends[1])
    known = reader.intake
    known.feed(pack(Kind.ASK, 2, header, payload), 0.0)
    desk = known._desk
    assert desk.known(header) is not None
    stranger = Intake(desk, welcome("tiny", engine.model.fingerprint, "", "", [], BOUNDS))
    stranger.feed(pack(Kind.HELLO, 1, Hello(protocol=PROTOCOL).SerializeToString()), 0.0)
    reader.intake, reader.again = stranger, Again(reader.inbox, stranger, reader.codecs, time.perf_counter)
    for answer in in_turns(ends[0], reader, [ask(k, header, payload) for k in (2, 3, 4)]):
        assert isinstance(answer, bytes)
        assert "may probe, not ask" in read_header(Refusal, unpack(answer, 1 << 16)).reason
    assert not reader.hurried


def test_no_room_is_kept_for_large_payloads(
    engine: Engine, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    header, payload = request(engine)
    monkeypatch.setattr(again, "MOST_BYTES", len(payload) - 1)
    reader = Reader(engine, ends[1])
    jobs = in_turns(ends[0], reader, [ask(k, header, payload) for k in (2, 3, 4)])
    assert [bytes(job.payload) for job in jobs if isinstance(job, Job)] == [payload] * 3
    assert not reader.hurried

"""An answer like the last one fills the room that was made for it: what comes out must be what the long way makes of
the same bytes, nothing that is not quite like it may get through, and no output may change afterwards."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from run_rig import Told
from stream_rig import in_pieces

from isthmus.codec import Array
from isthmus.engine import Engine
from isthmus.errors import BadFrame
from isthmus.graph import INPUT
from isthmus.run import connect_engine, serve
from isthmus.run.expected import Expected
from isthmus.run.frame import PREAMBLE, Frame, Kind, pack, unpack
from isthmus.run.heads import Head, outputs_header
from isthmus.run.replies import Came, Said, outputs_of, reply_frame
from isthmus.run.sockets import LENGTH_BYTES, NEAR_BYTES, Inbox, framed, send

HEADER_BYTES = 1 << 16


def reply(number: int, outputs: Mapping[str, Array], seconds: float = 0.5) -> bytes:
    return reply_frame(number, dict(outputs), Said(seconds, 0.2, 0.3, 0.7, Came(number, 0.01, 9)))


def floats(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def frames(peer: socket.socket) -> Iterator[Frame]:
    """What comes, read as a client reads it."""
    expected, inbox = Expected(), Inbox(peer, 1 << 20)
    inbox.room = expected.room
    while (message := inbox.take()) is not None:
        yield expected.frame(message, HEADER_BYTES)


def in_turns(messages: list[bytes]) -> Iterator[Frame]:
    """Each is sent when the one before it was read."""
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        found = frames(ours)
        for message in messages:
            threading.Timer(0.02, send, (theirs, message)).start()
            yield next(found)


@pytest.mark.parametrize("name", ["y", "yy", "yyy", "yyyy"])
def test_the_second_of_two_fills_its_room(name: str) -> None:
    arrays = [floats(k, 1, 1000) for k in range(4)]
    found = list(in_turns([reply(k, {name: x}, k / 8) for k, x in enumerate(arrays)]))
    assert [f.outputs is not None for f in found] == [False, True, True, True]
    for k, (frame, x) in enumerate(zip(found, arrays, strict=True)):
        whole = unpack(reply(k, {name: x}, k / 8), HEADER_BYTES)
        assert (frame.kind, frame.id, frame.header, frame.body) == (whole.kind, whole.id, whole.header, whole.body)
        y = outputs_of(frame, (name,))[name]
        assert (y.dtype, y.shape) == (x.dtype, x.shape)
        np.testing.assert_array_equal(y, x)
        if k:
            assert y.flags.aligned
            assert np.shares_memory(y, np.frombuffer(frame.body, np.uint8)), "read where it landed"
    with pytest.raises(BadFrame):
        outputs_of(found[1], ("z",))


def test_two_messages_that_fill_a_room_together_are_two() -> None:
    first = reply(1, {"y": floats(1, 1, 50)})
    pong = pack(Kind.PONG, 2)
    rest = pack(Kind.REFUSAL, 3, b"", bytes(len(first) - len(pong) - PREAMBLE.size - LENGTH_BYTES))
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        found = frames(ours)
        send(theirs, first)
        assert next(found).kind is Kind.REPLY
        both = b"".join(framed([(pong,), (rest,)]))
        assert len(both) == LENGTH_BYTES + len(first), "they must fill the room"
        threading.Timer(0.02, theirs.sendall, [both]).start()
        assert [next(found)[:2] for _ in range(2)] == [(Kind.PONG, 2), (Kind.REFUSAL, 3)]


KINDS: list[Callable[[int], bytes]] = [
    lambda k: reply(k, {"y": floats(k, 1, 50)}),
    lambda k: reply(k, {"y": floats(k, 50, 1)}),
    lambda k: reply(k, {"z": floats(k, 1, 50)}),
    lambda k: reply(k, {"y": floats(k, 1, 50), "z": floats(k, 2)}),
    lambda k: reply(k, {"y": floats(k, 1, 50) > 0}),
    lambda k: reply(k, {"y": floats(k, 3, 5000)}),
    lambda k: reply(k, {}),
    lambda k: pack(Kind.PONG, k),
    lambda k: pack(Kind.REFUSAL, k, b"", bytes(100)),
]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_both_ways_read_the_same_however_it_comes(seed: int) -> None:
    chance = random.Random(seed)
    messages = [KINDS[chance.choice([0, 0, 0, 0, *range(len(KINDS))])](k) for k in range(12)]
    stream = b"".join(len(m).to_bytes(4, "little") + m for m in messages)
    sizes = chance.choice([[1, 5, 300], [70, 290, 330], [4, 20_000], [len(stream)]])
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        thread = threading.Thread(target=in_pieces, args=(theirs, stream, sizes, chance))
        thread.start()
        found = list(frames(ours))
        thread.join()
    for frame, message in zip(found, messages, strict=True):
        whole = unpack(message, HEADER_BYTES)
        assert (frame.kind, frame.id, frame.header, frame.body) == (whole.kind, whole.id, whole.header, whole.body)
        if frame.outputs is not None:
            np.testing.assert_equal(frame.outputs, outputs_of(whole, (*frame.outputs,)))


def told(*heads: Head) -> bytes:
    return struct.pack("<5d2Q", 0.1, 0.2, 0.3, 0.7, 0.01, 5, 9) + outputs_header(heads)


HONEST = Head("y", "float32", (1, 50), "float32", 200)


@pytest.mark.parametrize(
    "lie",
    [
        pack(Kind.REPLY, 2, told(HONEST._replace(shape=(5, 11))), bytes(200)),
        pack(Kind.REPLY, 2, told(HONEST._replace(name="x")), bytes(200)),
        pack(Kind.REPLY, 2, told(HONEST._replace(dtype="int32")), bytes(202)),
        pack(Kind.PROBED, 2, told(HONEST), bytes(200)),
        PREAMBLE.pack(Kind.REPLY, 2, len(told(HONEST)) - 1) + told(HONEST) + bytes(200),
        PREAMBLE.pack(Kind.REPLY, 2, len(told(HONEST)) + 1) + told(HONEST) + bytes(200),
        pack(Kind.REPLY, 2, told(HONEST)[:-1] + b"\x00", bytes(200)),
    ],
)
def test_what_only_looks_like_it_is_read_as_ever(lie: bytes) -> None:
    honest = pack(Kind.REPLY, 1, told(HONEST), bytes(200))
    assert len(lie) == len(honest), "it must fill the room"
    _, found, after, again = in_turns([honest, lie, honest, honest])
    assert found.outputs is None
    whole = unpack(lie, HEADER_BYTES)
    assert (found.kind, found.header, found.body) == (whole.kind, whole.header, whole.body)
    for frame in (after, again):
        assert outputs_of(frame, ("y",))["y"].shape == (1, 50)


@pytest.mark.parametrize("message", [bytes(5), PREAMBLE.pack(99, 1, 0) + bytes(287), PREAMBLE.pack(4, 1, 1 << 31)])
def test_what_is_no_frame_is_refused_in_a_room_too(message: bytes) -> None:
    honest = pack(Kind.REPLY, 1, told(HONEST), bytes(200))
    with pytest.raises(BadFrame):
        list(in_turns([honest, message.ljust(len(honest), b"\x00") if len(message) > 5 else message]))


def test_no_room_is_made_for_a_long_answer_or_one_that_must_be_looked_at() -> None:
    for x, room in ((floats(0, 1, 50), True), (floats(0, NEAR_BYTES // 4), False), (floats(0, 1, 50) > 0, False)):
        expected = Expected()
        assert expected.room() is None
        expected.frame(reply(1, {"y": x}), HEADER_BYTES)
        assert (expected.room() is not None) == room
        if not room:
            expected.frame(reply(1, {"y": floats(0, 1, 50)}), HEADER_BYTES)
            assert expected.room() is not None
            expected.frame(reply(1, {"y": x}), HEADER_BYTES)
            assert expected.room() is None


def test_nobody_is_asked_for_room_who_does_not_wait() -> None:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        inbox, asked = Inbox(ours, 100), []
        inbox.room = lambda: asked.append(1)
        with pytest.raises(BlockingIOError):
            inbox.take(socket.MSG_DONTWAIT)
        assert not asked
        send(theirs, b"x")
        assert inbox.take() == b"x"
        assert asked


def test_a_server_that_lies_about_a_size_is_not_expected_to_do_so_again() -> None:
    expected = Expected()
    expected.frame(pack(Kind.REPLY, 1, told(HONEST), bytes(150)), HEADER_BYTES)
    assert expected.room() is None


def test_answers_of_a_session_keep_what_they_say(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty answers held at once: each is memory of its own."""
    read: list[bool] = []
    plain = Expected.frame

    def frame(self: Expected, message: bytes, header_bytes: int) -> Frame:
        found = plain(self, message, header_bytes)
        read.append(found.outputs is not None)
        return found

    monkeypatch.setattr(Expected, "frame", frame)
    batches = [engine.model.random_inputs(seed=k) for k in range(40)]
    with serve(engine) as server, connect_engine(engine, server.address, chooser=Told(INPUT)) as session:
        answers = [session.infer(x) for x in batches]
    assert any(read), "none was expected"
    for x, answer in zip(batches, answers, strict=True):
        assert answer.ran == "server"
        for name, y in engine.whole(x).items():
            np.testing.assert_allclose(
                np.asarray(answer.outputs[name], np.float32), np.asarray(y, np.float32), 1e-5, 1e-6
            )

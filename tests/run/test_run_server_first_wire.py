"""The server runs the part before the cut: what is asked, refused, answered and timed on the wire."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from run_rig import until

from isthmus.codec import Array
from isthmus.engine import Engine
from isthmus.errors import BadFrame, Refused
from isthmus.graph import INPUT, OUTPUT, Tensor
from isthmus.record import Choice
from isthmus.run import Bounds
from isthmus.run.codecs import Codecs
from isthmus.run.connection import Connection, Heard
from isthmus.run.desk import Desk
from isthmus.run.frame import unpack
from isthmus.run.halves import Halves
from isthmus.run.heads import Head, Request, request_header
from isthmus.run.places import Place, Places, place_of
from isthmus.run.replies import Came, Said, headway_of, reply_frame
from isthmus.run.sockets import Inbox, send
from isthmus.run.trip import Trip, evidence


def near(found: Array, expected: Array, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(np.asarray(found, np.float64), np.asarray(expected, np.float64), atol=atol)


def close(found: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        near(found[name], array)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (Place("relu_99", back="float32"), r"no tensor 'relu_99' to cut at"),
        (Place(OUTPUT, back="float32"), r"nothing is left to compute after the last node"),
        (Place(INPUT, back="float32"), r"nothing lies before the first node"),
        (Place("relu", back="int99"), r"what crosses cannot be written: .*int99"),
        (Place("relu", back="jpeg:90"), r"what crosses cannot be written: "),
        (Place("relu", "exit9", back="float32"), r"no output 'exit9'"),
        (Place("relu", "exit3", early=True, back="float32"), r"no table of exits is held here"),
    ],
)
def test_what_the_server_cannot_run_first_is_refused_in_a_sentence(digits: Engine, place: Place, reason: str) -> None:
    desk = Desk(Places(Halves(digits)), Codecs(), Bounds(), time.perf_counter)
    image = digits.graph.tensors[digits.graph.inputs[0]]
    heads = (Head(image.name, image.dtype, image.shape, "float32", image.bytes),)
    with pytest.raises(Refused, match=reason):
        desk.admit(request_header(Request(place.id, 1, image.bytes, heads)))
    assert not desk._unready


def test_bad_inputs_are_refused_before_anything_is_made(digits: Engine) -> None:
    most = 8 * digits.graph.tensors["relu_1"].bytes - 1
    desk = Desk(Places(Halves(digits)), Codecs(), Bounds(message_bytes=most), time.perf_counter)
    image = digits.graph.tensors[digits.graph.inputs[0]]
    good = Head(image.name, image.dtype, image.shape, "float32", image.bytes)
    place = Place("relu_1", back="float32").id
    desk.admit(request_header(Request(place, 1, image.bytes, (good,))))
    for heads, reason in (
        ((), r"this cut takes the tensors"),
        ((good._replace(name="relu_1"),), r"this cut takes the tensors"),
        ((good._replace(shape=(*image.shape[:-1], 9)),), r"must be float32"),
        ((good._replace(payload_bytes=1 << 20),), r"cannot be it|bytes are announced"),
    ):
        with pytest.raises((Refused, BadFrame), match=reason):
            desk.admit(request_header(Request(place, 1, sum(h.payload_bytes for h in heads), heads)))
    many = good._replace(shape=(8, *image.shape[1:]), payload_bytes=8 * image.bytes)
    with pytest.raises(Refused, match=rf"{most + 1} bytes would go back; this server sends {most}"):
        desk.admit(request_header(Request(place, 8, 8 * image.bytes, (many,))))


def test_places_are_read_as_they_are_written() -> None:
    for place in (
        Place("a+b", back="int8"),
        Place("a!e", "x", back="jpeg:90"),
        Place("c", "x~", True, "float16"),
        Place("d+e", back="int3+huffman"),
    ):
        assert place_of(place.id) == place


def test_only_what_the_head_gives_is_accepted(engine: Engine) -> None:
    """Every tensor of a head once, as the model and the request say it is; or nothing that crosses at all."""
    shape, codecs = (1, 2, 8, 8), Codecs()
    out, crosses = Tensor("out", (1, 4), "float32", 4), Tensor("c", shape, "float32", 4)
    also = replace(crosses, name="d")
    rng = np.random.default_rng(5)
    made = {t.name: rng.standard_normal(t.shape, np.float32) for t in (out, crosses, also)}

    def read(outputs: Mapping[str, Array], tensors: Mapping[str, Array], codec: str = "int8") -> Any:
        said = Said(0.0, 0.0, 0.0, 0.0, Came(0, 0.0, 0))
        message = reply_frame(1, dict(outputs), said, codecs.dump(codec, tensors))
        return headway_of(unpack(message, 1 << 16), (out,), (crosses, also), "int8", codecs)

    def some(*names: str) -> dict[str, Array]:
        return {name: made[name] for name in names}

    outputs, going = read(some("out"), some("c", "d"))
    close(outputs, some("out"))
    assert list(going) == ["c", "d"]
    assert codecs.get("int8", "c", "float32").bound(made["c"]) >= np.abs(going["c"] - made["c"]).max() > 0
    assert read(some("out"), {})[1] is None
    for given in (
        (some("out"), some("c")),
        (some("out", "c"), some("c", "d")),
        (some("out"), {"x": made["c"], **some("d")}),
        (some("out"), {"c": made["c"][..., :4], **some("d")}),
        (some("out"), {"c": made["c"].astype(np.float64), **some("d")}),
        ({"out": made["out"][:, :3]}, some("c", "d")),
        (some("out"), some("c", "d"), "int4"),
    ):
        with pytest.raises(BadFrame, match=r"the server"):
            read(*given)
    heads, parts = codecs.dump("int8", some("c", "d"))
    twice = reply_frame(1, {}, Said(0.0, 0.0, 0.0, 0.0, Came(0, 0.0, 0)), ((*heads, heads[1]), [*parts, parts[1]]))
    with pytest.raises(BadFrame, match=r"the server sent d, which is not"):
        headway_of(unpack(twice, 1 << 16), (out,), (crosses, also), "int8", codecs)


def test_the_causes_add_up_and_stand_where_they_belong() -> None:
    """Head on the server, tail here, coding on both sides; what is left over is the way, split by what was seen."""
    trip = Trip(10.0, Choice(cut="c", first="server"), 1, cut="c", first="server", encode_s=0.002, decode_s=0.003)
    trip.local_s, trip.ended_s, trip.rtt_s = 0.020, 10.200, 0.010
    trip.said = Said(0.001, 0.004, 0.030, 0.041, Came(0, 0.0, 100_000))
    trip.spread = Came(90_000, 0.060, 100_000)
    found = trip.seconds()
    assert found.model_dump() == pytest.approx(
        {
            "total": 0.2, "head": 0.030, "encode": 0.002 + 0.006, "up": 0.134 - 0.065, "queue": 0.001,
            "decode": 0.004 + 0.003, "tail": 0.020, "down": 0.065, "lost": 0.0, "local": 0.0,
        }
    )  # fmt: skip
    step = trip.step(0, 0.0, None)
    assert step.evidence.device_s == pytest.approx(0.025)
    assert step.evidence.down_bps == pytest.approx(12e6)
    assert (step.ran, step.first) == ("split", "server")


def test_an_answer_in_pieces_tells_the_downlink_and_a_whole_one_does_not() -> None:
    """Bytes after what was there first, over the time from then to the end; for messages of any length."""
    here, away = socket.socketpair()
    seen: list[int] = []
    with here, away:
        inbox = Inbox(here, 1 << 20)
        inbox.coming = seen.append
        send(away, b"x" * 50)
        assert inbox.take() == b"x" * 50
        assert seen == []
        for size in (9_000, 100_000):
            whole = size.to_bytes(4, "little") + bytes(size)
            for start in range(0, len(whole), 5_000):
                away.sendall(whole[start : start + 5_000])
                if start + 5_000 < len(whole):
                    with pytest.raises(BlockingIOError):
                        inbox.take(socket.MSG_DONTWAIT)
            assert len(inbox.take() or b"") == size
        assert seen == [4_996, 4_996]
    said = Said(0.0, 0.0, 0.0, 0.0, Came(0, 0.0, 0))
    assert evidence(said, None, None, Came(95_000, 0.1, 100_000)).down_bps == pytest.approx(7.6e6)
    assert evidence(said, None, None, Came(4_000, 0.1, 9_000)).down_bps is None
    assert evidence(said, None, None).down_bps is None


def test_the_connection_times_what_comes_in_pieces() -> None:
    ticks = itertools.count(1.0, 0.5)

    class Whisper:
        address = "nowhere"

        def watch(self, coming: Callable[[int], None], room: object) -> None:
            self.coming = coming

        def talk(self, outgoing: Any, needed: Any) -> Iterator[bytes]:
            return iter(())

        def close(self) -> None:
            pass

    transport = Whisper()
    heard: list[Heard] = []
    line = Connection(transport, clock=lambda: next(ticks), on_late=heard.append)  # type: ignore[arg-type]
    message = reply_frame(7, {}, Said(0.0, 0.0, 0.0, 0.0, Came(0, 0.0, 0)))
    transport.coming(10)
    line._deliver(message)
    line._deliver(message)
    assert until(lambda: len(heard) == 2)
    assert [h.spread for h in heard] == [Came(len(message) - 10, 0.5, len(message)), None]

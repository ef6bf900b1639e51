"""The server's reading of a stream, without a network: honest requests, and every kind of lie."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.engine import Engine
from isthmus.errors import BadFrame, Refused
from isthmus.graph import INPUT, OUTPUT, prefix_cuts
from isthmus.run import PROTOCOL, Bounds
from isthmus.run.codecs import Codecs
from isthmus.run.conversation import Conversation
from isthmus.run.desk import Desk
from isthmus.run.frame import Kind, Parcel, pack, read_header, unpack
from isthmus.run.halves import Halves
from isthmus.run.heads import request_of
from isthmus.run.intake import Intake, Job, welcome
from isthmus.run.places import Places
from isthmus.run.split_pb2 import Arrival, Ask, Hello, Probe, Refusal, TensorHead

BOUNDS = Bounds(batch=2, message_bytes=1 << 20)


def desk_of(engine: Engine, bounds: Bounds = BOUNDS) -> Desk:
    return Desk(Places(Halves(engine)), Codecs(), bounds, time.perf_counter)


def intake_of(engine: Engine, *, greeted: bool = True) -> Intake:
    model = engine.model
    intake = Intake(desk_of(engine), welcome("tiny", model.fingerprint, "", "", [c.id for c in engine.cuts], BOUNDS))
    if greeted:
        hello = Hello(protocol=PROTOCOL, model="tiny", fingerprint=model.fingerprint)
        (answer,) = intake.feed(pack(Kind.HELLO, 1, hello.SerializeToString()), 0.0)
        assert isinstance(answer, bytes)
        assert unpack(answer, 1 << 16).kind is Kind.WELCOME
    return intake


def ask_of(engine: Engine, cut: str = INPUT, batch: int = 1) -> tuple[Ask, bytes]:
    crossing, _ = Halves(engine).head(cut, engine.model.random_inputs(batch))
    heads, payloads = Codecs().dump("float32", crossing)
    total = sum(len(p) for p in payloads)
    return Ask(cut=cut, batch=batch, total_bytes=total, tensors=[TensorHead(**h._asdict()) for h in heads]), b"".join(
        payloads
    )


def reason_of(items: list[bytes | Job]) -> str:
    (item,) = items
    assert isinstance(item, bytes)
    frame = unpack(item, 1 << 16)
    assert frame.kind is Kind.REFUSAL
    return read_header(Refusal, frame).reason


def test_a_whole_request_becomes_a_job_with_its_arrival(engine: Engine) -> None:
    intake = intake_of(engine)
    ask, payload = ask_of(engine)
    messages = list(map(b"".join, Parcel(Kind.ASK, 5, ask.SerializeToString(), [payload], 1e6).frames()))
    items = [item for k, m in enumerate(messages) for item in intake.feed(m, 10.0 + k)]
    (job,) = items
    assert isinstance(job, Job)
    assert bytes(job.payload) == payload
    assert job.came.seconds == len(messages) - 1
    assert job.came.bytes_after_first == len(payload) - len(unpack(messages[0], 1 << 16).body)


def test_nothing_goes_before_the_greeting(engine: Engine) -> None:
    ask, payload = ask_of(engine)
    message = pack(Kind.ASK, 1, ask.SerializeToString(), payload)
    assert "HELLO" in reason_of(intake_of(engine, greeted=False).feed(message, 0.0))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"protocol": PROTOCOL + 1}, "version"),
        ({"fingerprint": "other"}, "another model"),
        ({"clips": "other"}, "clips"),
    ],
)
def test_another_version_model_or_calibration_is_refused(engine: Engine, change: dict[str, object], says: str) -> None:
    hello = Hello(protocol=PROTOCOL, model="tiny", fingerprint=engine.model.fingerprint)
    for name, value in change.items():
        setattr(hello, name, value)
    intake = intake_of(engine, greeted=False)
    assert says in reason_of(intake.feed(pack(Kind.HELLO, 1, hello.SerializeToString()), 0.0))


def test_lies_about_sizes_are_refused_and_the_stream_lives(engine: Engine) -> None:
    intake = intake_of(engine)
    honest, payload = ask_of(engine)

    def lie(body: bytes = b"", **change: object) -> str:
        ask = Ask()
        ask.CopyFrom(honest)
        for name, value in change.items():
            if name in ("shape", "dtype", "name", "payload_bytes"):
                if name == "shape":
                    del ask.tensors[0].shape[:]
                    ask.tensors[0].shape.extend(value)  # type: ignore[arg-type]
                else:
                    setattr(ask.tensors[0], name, value)
            else:
                setattr(ask, name, value)
        return reason_of(intake.feed(pack(Kind.ASK, 9, ask.SerializeToString(), body), 0.0))

    assert "announced" in lie(total_bytes=1 << 62)
    assert "add up" in lie(total_bytes=honest.total_bytes - 1)
    assert "cannot be it" in lie(payload_bytes=1 << 19, total_bytes=1 << 19)
    assert "must be" in lie(shape=[1, 1 << 60])
    assert "must be" in lie(dtype="float64")
    assert "takes the tensors" in lie(name="nobody")
    assert "batch" in lie(batch=1 << 31)
    assert "batch" in lie(batch=0)
    assert "must be" in lie(batch=2)
    assert "no tensor" in lie(cut="nowhere")
    assert "nothing is left" in lie(cut=OUTPUT)
    assert "more bytes" in lie(body=payload + b"!")
    ask, payload = ask_of(engine)
    (job,) = intake.feed(pack(Kind.ASK, 10, ask.SerializeToString(), payload), 0.0)
    assert isinstance(job, Job)


def test_a_payload_that_is_cut_short_is_never_computed(engine: Engine) -> None:
    intake = intake_of(engine)
    ask, payload = ask_of(engine)
    assert intake.feed(pack(Kind.ASK, 1, ask.SerializeToString(), payload[:100]), 0.0) == []
    (job,) = intake.feed(pack(Kind.ASK, 2, ask.SerializeToString(), payload), 0.0)
    assert isinstance(job, Job)
    assert job.id == 2
    assert intake.feed(pack(Kind.CHUNK, 1, b"", payload[100:]), 0.0) == []


def test_a_payload_its_codec_cannot_hold_is_refused_when_it_is_read(engine: Engine) -> None:
    desk = desk_of(engine)
    ask, payload = ask_of(engine)
    ask.tensors[0].codec = "int8"
    with pytest.raises(BadFrame, match="bytes"):
        desk.run(ask.cut, request_of(ask.SerializeToString()).heads, memoryview(payload), 0.0)


@pytest.mark.parametrize("allowed", [0, 1])
def test_cuts_built_on_demand_are_bounded(engine: Engine, allowed: int) -> None:
    desk = desk_of(engine, replace(BOUNDS, unready_cuts=allowed))
    rare = [c.id for c in prefix_cuts(engine.graph) if c.id not in desk.places.ready]
    assert rare, "the tiny network has a cut that is not ready"
    ask, _ = ask_of(engine, rare[0])
    if allowed:
        desk.check(ask.cut, 1, request_of(ask.SerializeToString()).heads, ask.total_bytes)
        return
    with pytest.raises(Refused, match="not ready"):
        desk.check(ask.cut, 1, request_of(ask.SerializeToString()).heads, ask.total_bytes)


def test_a_cancelled_upload_is_answered_with_what_had_come(engine: Engine) -> None:
    intake = intake_of(engine)
    ask, payload = ask_of(engine)
    intake.feed(pack(Kind.ASK, 1, ask.SerializeToString(), payload[:10]), 1.0)
    intake.feed(pack(Kind.CHUNK, 1, b"", payload[10:40]), 3.0)
    (answer,) = intake.feed(pack(Kind.CANCEL, 1), 4.0)
    assert isinstance(answer, bytes)
    frame = unpack(answer, 1 << 16)
    assert frame.kind is Kind.CANCELLED
    arrival = read_header(Arrival, frame)
    assert (arrival.bytes_after_first, arrival.seconds) == (30, 2.0)
    assert intake.feed(pack(Kind.CHUNK, 1, b"", payload[40:]), 5.0) == []


def test_a_probe_is_counted_and_not_kept(engine: Engine) -> None:
    intake = intake_of(engine)
    messages = list(
        map(b"".join, Parcel(Kind.PROBE, 3, Probe(total_bytes=10_000).SerializeToString(), [bytes(10_000)]).frames())
    )
    answers = [item for k, m in enumerate(messages) for item in intake.feed(m, 0.5 * k)]
    (answer,) = answers
    assert isinstance(answer, bytes)
    arrival = read_header(Arrival, unpack(answer, 1 << 16))
    assert arrival.bytes == 10_000
    assert arrival.seconds == 0.5 * (len(messages) - 1)
    assert "announced" in reason_of(
        intake.feed(pack(Kind.PROBE, 4, Probe(total_bytes=1 << 40).SerializeToString()), 0.0)
    )


_heads = st.builds(
    TensorHead,
    name=st.sampled_from(["x", "input", "y", ""]),
    dtype=st.sampled_from(["float32", "int64", "object", ""]),
    shape=st.lists(st.integers(0, 2**64 - 1), max_size=5),
    codec=st.sampled_from(["float32", "int8", "jpeg:75", "pickle", ""]),
    payload_bytes=st.integers(0, 2**64 - 1),
)
_asks = st.builds(
    Ask,
    cut=st.sampled_from([INPUT, OUTPUT, "x+y", ""]),
    batch=st.integers(0, 2**32 - 1),
    total_bytes=st.integers(0, 2**64 - 1),
    tensors=st.lists(_heads, max_size=3),
)


@given(st.lists(st.tuples(st.sampled_from(sorted(Kind)), st.integers(0, 5), _asks, st.binary(max_size=64)), max_size=8))
def test_whatever_is_announced_the_intake_neither_raises_nor_believes_it(
    engine: Engine, frames: list[tuple[Kind, int, Ask, bytes]]
) -> None:
    intake = intake_of(engine)
    for kind, request_id, ask, body in frames:
        for item in intake.feed(pack(kind, request_id, ask.SerializeToString(), body), 0.0):
            assert isinstance(item, bytes), "a lie became a request"
    ask, payload = ask_of(engine)
    (job,) = intake.feed(pack(Kind.ASK, 99, ask.SerializeToString(), payload), 0.0)
    assert isinstance(job, Job)


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_noise_is_refused_and_the_stream_lives(engine: Engine, noise: list[bytes]) -> None:
    intake = intake_of(engine)
    for message in noise:
        intake.feed(message, 0.0)
    assert intake.feed(pack(Kind.PING, 1), 0.0) != []


def test_what_is_answered_while_room_is_looked_for_is_no_trouble(engine: Engine) -> None:
    intake = intake_of(engine)
    ask, payload = ask_of(engine)

    class Answered:
        """A payload that the computing thread is done with just when it is looked at."""

        def __len__(self) -> int:
            for job in jobs:
                intake.finished(job)
            return 1

    jobs = [Job(k, INPUT, (), 1, 0.0, payload=Answered()) for k in (7, 8, 9)]  # type: ignore[arg-type]
    for job in jobs:
        intake.took(job)
    (item,) = intake.feed(pack(Kind.ASK, 10, ask.SerializeToString(), payload), 0.0)
    assert isinstance(item, Job)
    assert item.id == 10


@pytest.mark.parametrize(("ours", "levels"), [(True, ["ERROR"]), (False, [])])
def test_a_stream_that_ends_by_a_fault_of_ours_is_told_of(
    engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, ours: bool, levels: list[str]
) -> None:
    def messages() -> Iterator[bytes]:
        if not ours:
            raise ValueError("as grpc does when a client has gone")
        yield b"any"

    def fails(*_: object) -> list[bytes | Job]:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(Intake, "feed", fails)
    hello = welcome("tiny", "", "", "", [], BOUNDS)
    with caplog.at_level(logging.INFO):
        Conversation(desk_of(engine), hello, messages(), say=lambda *_: None, hang_up=lambda: None).run()
    assert [record.levelname for record in caplog.records] == levels

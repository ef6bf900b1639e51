from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isthmus.errors import BadFrame
from isthmus.link.probe import LEAD_BYTES, lead_bytes
from isthmus.run.frame import (
    CHUNK_BYTES,
    MAX_BODY_BYTES,
    PREAMBLE,
    SAFE_CHUNK_BYTES,
    Kind,
    Parcel,
    chunk_bytes,
    in_two,
    most_chunk_bytes,
    pack,
    read_header,
    unpack,
)
from isthmus.run.sockets import LENGTH_BYTES, framed
from isthmus.run.split_pb2 import Probe

rates = st.none() | st.floats(1e3, 1e11)
told = st.sampled_from([0, 1 << 20, MAX_BODY_BYTES, 1 << 40])
"""The most that a server takes in a frame, as it says; 0: it is older and says nothing."""


@example([3_000_000, 3_000_000], 1e11, 1 << 40)
@given(st.lists(st.integers(0, 3_000_000), max_size=4), rates, told)
def test_frames_join_to_the_payload(sizes: list[int], rate_bps: float | None, max_body: int) -> None:
    pieces = [bytes([k]) * size for k, size in enumerate(sizes)]
    parcel = Parcel(Kind.ASK, 7, b"head", pieces, rate_bps, most_chunk_bytes(max_body))
    frames = [unpack(b"".join(m), 100) for m in parcel.frames()]
    assert b"".join(f.body for f in frames) == b"".join(pieces)
    assert [f.kind for f in frames] == [Kind.ASK] + [Kind.CHUNK] * (len(frames) - 1)
    assert frames[0].header == b"head"
    assert {f.id for f in frames} == {7}
    assert max(len(f.body) for f in frames) <= min(MAX_BODY_BYTES, max_body or 1 << 20)


@given(st.lists(st.integers(0, 900_000), min_size=1, max_size=3), st.none() | st.floats(1e5, 1e11))
def test_the_first_frames_and_the_others_are_all_frames(sizes: list[int], rate_bps: float | None) -> None:
    parcel = Parcel(Kind.ASK, 7, b"head", [bytes([k]) * size for k, size in enumerate(sizes)], rate_bps)
    first, others = parcel.opening()
    opening = b"".join(first)
    assert opening + b"".join(framed(others)) == b"".join(framed(parcel.frames()))
    for _ in range(2):
        opening = opening[LENGTH_BYTES + int.from_bytes(opening[:LENGTH_BYTES], "little") :]
    assert not opening, "more than two frames at once"


@given(st.integers(0, 4_000_000), st.floats(1e5, 1e11), told)
def test_two_frames_are_made_in_one_step_where_two_are_made(size: int, rate_bps: float, max_body: int) -> None:
    most = most_chunk_bytes(max_body)
    lead, from_bps = in_two(size, most)
    frames = list(Parcel(Kind.ASK, 7, b"head", [bytes(size)], rate_bps, most).frames())
    if rate_bps >= from_bps:
        first, others = Parcel(Kind.ASK, 7, b"head", [bytes(size)], rate_bps, most, lead).opening()
        assert (len(frames), list(others)) == (2, [])
        assert b"".join(first) == b"".join(framed(frames))
    elif rate_bps < 0.99 * from_bps:
        assert len(frames) != 2, "it could have been"


@given(st.integers(30_000, 3_000_000))
def test_a_payload_goes_in_two_from_just_that_rate(size: int) -> None:
    most = most_chunk_bytes(MAX_BODY_BYTES)
    _, from_bps = in_two(size, most)
    assert len(list(Parcel(Kind.ASK, 1, b"", [bytes(size)], from_bps, most).frames())) == 2


@pytest.mark.parametrize("rate_bps", [1e6, 5e6, 20e6])
def test_on_slow_links_frames_are_of_8_to_16_kb(rate_bps: float) -> None:
    frames = list(Parcel(Kind.ASK, 1, b"", [bytes(200_000)], rate_bps).frames())
    sizes = [sum(map(len, f)) - PREAMBLE.size for f in frames]
    assert all(LEAD_BYTES <= size <= CHUNK_BYTES for size in sizes[:-1])
    assert sizes[-1] <= 1.5 * CHUNK_BYTES


def test_on_a_fast_link_frames_are_few() -> None:
    assert len(list(Parcel(Kind.ASK, 1, b"", [bytes(401_408)], 5e9).frames())) <= 3
    most = most_chunk_bytes(MAX_BODY_BYTES)
    assert len(list(Parcel(Kind.ASK, 1, b"", [bytes(1_605_632)], 5e9, most).frames())) == 2
    assert chunk_bytes(100_000_000, None, most) == SAFE_CHUNK_BYTES


def test_a_probe_leaves_something_to_measure_after_its_first_frame() -> None:
    assert lead_bytes(10_000) < 5_000
    assert lead_bytes(100) == 100


def test_a_dropped_parcel_sends_no_more() -> None:
    parcel = Parcel(Kind.ASK, 1, b"", [bytes(100_000)])
    frames = parcel.frames()
    next(frames)
    parcel.dropped = True
    assert list(frames) == []


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_a_bad_frame(message: bytes) -> None:
    try:
        frame = unpack(message, 64)
    except BadFrame:
        return
    assert len(frame.header) <= 64
    assert pack(frame.kind, frame.id, frame.header, frame.body) == message


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x03",
        PREAMBLE.pack(Kind.ASK, 1, 5) + b"four",
        PREAMBLE.pack(Kind.ASK, 1, 0xFFFFFFFF),
        PREAMBLE.pack(99, 1, 0),
        PREAMBLE.pack(Kind.ASK, 1, 65) + bytes(65),
    ],
)
def test_a_frame_that_lies_is_refused(message: bytes) -> None:
    with pytest.raises(BadFrame):
        unpack(message, 64)


def test_a_header_that_is_no_message_is_refused() -> None:
    with pytest.raises(BadFrame, match="ASK"):
        read_header(Probe, unpack(pack(Kind.ASK, 1, b"\xff\xff\xff"), 64))

"""What was said or told last is remembered: every answer and every tensor must be what one without a memory makes."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isthmus.codec import Array
from isthmus.errors import BadFrame
from isthmus.run.codecs import Codecs, raw_told
from isthmus.run.frame import PREAMBLE, Kind, pack, unpack
from isthmus.run.heads import Head, outputs_header
from isthmus.run.replies import Came, Replies, Said, arrival_in, outputs_of, reply_frame, said_in
from isthmus.run.split_pb2 import Arrival

ARRAYS: list[Array] = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.arange(6, dtype=np.float32).reshape(3, 2),
    np.arange(6, dtype=np.float32).reshape(3, 2).T,
    np.arange(6, dtype=np.int32).reshape(2, 3),
    np.arange(6, dtype=">f4").reshape(2, 3),
    np.array([[True, False, True], [False, True, True]]),
    np.array(3.5, np.float32),
    np.empty((0, 3), np.float32),
    np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2],
    np.arange(6, dtype=np.float16).reshape(2, 3),
]
some = st.sampled_from(range(len(ARRAYS)))
SAID = Said(0.1, 0.2, 0.3, 0.7, Came(5, 0.01, 9))
NUMBERS = (0.1, 0.2, 0.3, 0.7, 0.01, 5, 9)


@example([("y", k, 0) for k in (0, 8, 2, 0, 1, 3, 0, 4, 5, 6, 6, 7, 7)])
@given(st.lists(st.tuples(st.sampled_from(["y", "z"]), some, st.sampled_from([0, 0, 0, 1, 2])), min_size=1))
def test_answers_are_those_of_a_server_without_a_memory(answers: list[tuple[str, int, int]]) -> None:
    """One output, two, or one beside something that crosses, in any order."""
    replies = Replies()
    for number, (name, k, more) in enumerate(answers):
        outputs = {name: ARRAYS[k]} | ({"other": ARRAYS[0]} if more == 1 else {})
        crossing = Codecs().dump("float32", {"t": ARRAYS[1]}) if more == 2 else ((), [])
        found = b"".join(replies.parts(number, outputs, NUMBERS, crossing))
        assert found == reply_frame(number, outputs, SAID, crossing)
        told, parts = raw_told(outputs, tuple(crossing[0]))
        assert found.endswith(told + b"".join(parts) + b"".join(crossing[1]))


@example([("float32", k) for k in (0, 0, 8, 2, 0, 1, 3, 3, 4, 4, 5, 6, 6, 7, 7)])
@given(st.lists(st.tuples(st.sampled_from(["float32", "int8"]), some), min_size=1))
def test_tensors_are_written_as_by_codecs_without_a_memory(tensors: list[tuple[str, int]]) -> None:
    codecs = Codecs()
    for asked, k in tensors:
        codec = asked if ARRAYS[k].dtype.isnative else "float32"
        fresh = Codecs().dump(codec, {"t": ARRAYS[k]})
        heads, payloads = codecs.dump(codec, {"t": ARRAYS[k]})
        assert heads == fresh[0]
        assert list(map(bytes, payloads)) == list(map(bytes, fresh[1]))
        assert heads[0].payload_bytes == len(payloads[0])


@pytest.mark.parametrize("k", range(len(ARRAYS)))
def test_an_answer_is_read_as_it_was_written(k: int) -> None:
    frame = unpack(reply_frame(3, {"y": ARRAYS[k]}, SAID), 1 << 16)
    assert said_in(frame) == SAID
    found = outputs_of(frame, ("y",))["y"]
    assert (found.shape, found.dtype) == (ARRAYS[k].shape, ARRAYS[k].dtype.newbyteorder("<"))
    np.testing.assert_array_equal(found, ARRAYS[k])


@pytest.mark.parametrize("lie", ["short", "another name", "two wanted", "size", "shape", "truth"])
def test_a_single_output_that_lies_is_not_taken(lie: str) -> None:
    """Also where an honest one like it was read just before."""
    message = reply_frame(3, {"y": ARRAYS[5 if lie == "truth" else 0]}, SAID)
    outputs_of(unpack(message, 1 << 16), ("y",))
    honest = Head("y", "float32", (2, 3), "float32", 24)
    told = {"size": honest._replace(payload_bytes=20), "shape": honest._replace(shape=(2, 2))}
    if lie in told:
        numbers = message[PREAMBLE.size :][: struct.calcsize("<5d2Q")]
        message = pack(Kind.REPLY, 3, numbers + outputs_header((told[lie],)), ARRAYS[0].tobytes())
    elif lie == "short":
        message = message[:-1]
    elif lie == "truth":
        message = message[:-1] + b"\x02"
    wanted = {"another name": ("z",), "two wanted": ("y", "z")}.get(lie, ("y",))
    with pytest.raises(BadFrame):
        outputs_of(unpack(message, 1 << 16), wanted)


@pytest.mark.parametrize("at", range(5))
@pytest.mark.parametrize("value", [math.nan, math.inf, -1e-9, 1e300])
def test_times_that_cannot_be_are_not_taken(at: int, value: float) -> None:
    times = [0.1, 0.2, 0.3, 0.4, 0.5]
    times[at] = value
    said = Said(times[0], times[1], times[2], times[3], Came(1, times[4], 2))
    with pytest.raises(BadFrame, match="times that cannot be"):
        said_in(unpack(reply_frame(1, {"y": ARRAYS[0]}, said), 1 << 16))


LIES = [(1, math.nan, 2), (1, math.inf, 2), (1, -1e-9, 2), (1, 1e300, 2), (3, 0.5, 2), (1, 0.5, 1 << 63)]


@pytest.mark.parametrize(("after", "seconds", "total"), LIES)
def test_a_payload_that_cannot_have_come_in_so_is_not_believed(after: int, seconds: float, total: int) -> None:
    came = Came(after, seconds, total)
    with pytest.raises(BadFrame, match="cannot be"):
        said_in(unpack(reply_frame(1, {"y": ARRAYS[0]}, Said(0.1, 0.2, 0.3, 0.4, came)), 1 << 16))
    for kind in (Kind.PROBED, Kind.CANCELLED):
        header = Arrival(**came._asdict()).SerializeToString()
        with pytest.raises(BadFrame, match="cannot be"):
            arrival_in(unpack(pack(kind, 1, header), 1 << 16))


def test_an_answer_without_its_numbers_is_none() -> None:
    with pytest.raises(BadFrame, match="numbers"):
        said_in(unpack(pack(Kind.REPLY, 1, b"short"), 1 << 16))


@pytest.mark.parametrize(
    ("heads", "room"),
    [
        ([Head("x", "float32", (2, 3), "float32", 24)], True),
        ([Head("x", "int64", (2, 3), "float32", 48)], True),
        ([Head("x", "bool", (2, 3), "float32", 6)], False),
        ([Head("x", "float32", (0, 3), "float32", 0)], False),
        ([Head("x", "float32", (2, 3), "float16", 12)], False),
        ([Head("x", "float32", (2, 3), "int8", 30)], False),
        ([Head("x", "float32", (2, 3), "float32", 24)] * 2, False),
        ([], False),
    ],
)
def test_a_payload_is_its_tensor_only_where_nothing_must_be_read(heads: list[Head], room: bool) -> None:
    found = Codecs().room(heads)
    assert (found is not None) == room
    if found is not None:
        memory, tensors = found
        payload = np.random.default_rng(0).bytes(len(memory))
        memory[:] = payload
        expected = Codecs().load(heads, memoryview(payload))
        assert tensors.keys() == expected.keys()
        for name, array in expected.items():
            assert (tensors[name].dtype, tensors[name].shape) == (array.dtype, array.shape)
            assert tensors[name].tobytes() == array.tobytes()


def test_a_slow_machine_reads_and_writes_every_tensor() -> None:
    """Both take time that is declared."""
    waited: list[float] = []
    slow = Codecs(slowdown=2.0, wait=waited.append)
    assert slow.room([Head("x", "float32", (2, 3), "float32", 24)]) is None
    for count in (1, 2, 3):
        slow.dump("float32", {"x": ARRAYS[0]})
        assert len(waited) == count

"""A server's answer: how it is written, and how it is read, with the same distrust as a request.

The header of a REPLY frame begins with seven numbers, packed as they are because they change with every answer; what
tells of the outputs follows and stays the same, so that both sides remember it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from isthmus.codec import RAW, make_codec
from isthmus.codec.lengths import elements
from isthmus.codec.raw import lies_as_sent
from isthmus.errors import BadFrame
from isthmus.graph import Tensor
from isthmus.graph.dtypes import DTYPES
from isthmus.link import dispersion_bps
from isthmus.record.journal import MAX_SECONDS
from isthmus.run.codecs import Codecs, Written, raw_told
from isthmus.run.frame import PREAMBLE, Frame, Kind, Parts, read_header
from isthmus.run.heads import LONGEST_KEPT, Head, output_heads
from isthmus.run.split_pb2 import Arrival
from isthmus.run.types import Array, Arrays

_NUMBERS = struct.Struct("<5d2Q")
NUMBERS_BYTES = _NUMBERS.size
"""Of an answer's header; what tells of its outputs follows."""
_START = struct.Struct(PREAMBLE.format + _NUMBERS.format.removeprefix("<"))
"""A frame's preamble and the numbers, in one."""
_REPLY = Kind.REPLY
"""Looking a member up takes a dozen steps each time."""
_RAW = make_codec(RAW)
_MOST_BYTES = 1 << 48
"""Of one payload: nobody has memory for more."""
_IMPOSSIBLE = "the server reports {} bytes, {} of them in {} s after the first: that cannot be"
Alone = tuple[str, np.dtype[Any], tuple[int, ...], int]
"""Name, layout, shape and size of an output."""
Numbers = tuple[float, float, float, float, float, int, int]
"""As they travel: seconds of queue, decode, compute, residence and arrival, bytes after the first frame, bytes."""


class Came(NamedTuple):
    """How a payload came in: see `Arrival` in split.proto."""

    bytes_after_first: int
    seconds: float
    bytes: int


class Said(NamedTuple):
    """The server's own times, in seconds, and how the request came in. `residence_s`: last frame in → answer out."""

    queue_s: float
    decode_s: float
    compute_s: float
    residence_s: float
    arrival: Came


def rate_of(arrival: Came) -> float | None:
    """Bit/s by how a payload came in; None where it does not show."""
    after = arrival.bytes_after_first
    return dispersion_bps((0.0, arrival.seconds), (max(0, arrival.bytes - after), after))


class Replies:
    """Writes answers. What was told of the last one's only output is remembered: most often the next is such a one."""

    def __init__(self) -> None:
        self._last: tuple[str, np.dtype[Any] | None, tuple[int, ...]] = "", None, ()
        self._told = b""

    def parts(self, request_id: int, outputs: Arrays, numbers: Numbers, crossing: Written = ((), ())) -> Parts:
        """The answer to a request: outputs as they are, what goes on to the device, and the server's own times. In
        pieces; those of the outputs are their own memory."""
        also, payloads = crossing
        alone = len(outputs) == 1 and not also
        if alone:
            ((name, x),) = outputs.items()
            name_was, dtype_was, shape_was = self._last
            if x.shape == shape_was and x.dtype is dtype_was and name == name_was and x.flags.c_contiguous:
                told = self._told
                start = _START.pack(_REPLY, request_id, NUMBERS_BYTES + len(told), *numbers)
                return start, told, x.data.cast("B")
        told, parts = raw_told(outputs, also)
        if alone and lies_as_sent(x):
            self._last, self._told = (name, x.dtype, x.shape), told
        return (_START.pack(_REPLY, request_id, NUMBERS_BYTES + len(told), *numbers), told, *parts, *payloads)


def reply_frame(request_id: int, outputs: Arrays, said: Said, crossing: Written = ((), ())) -> bytes:
    """An answer in one piece."""
    came = said.arrival
    numbers = (*said[:4], came.seconds, came.bytes_after_first, came.bytes)
    return b"".join(Replies().parts(request_id, outputs, numbers, crossing))


def said_in(frame: Frame) -> Said:
    """What a server says of an answer. Raises BadFrame when it is none, or reports times that cannot be."""
    if frame.kind is not _REPLY:
        raise BadFrame(f"the server answered a request with a {frame.kind.name} frame")
    if len(frame.header) < _NUMBERS.size:
        raise BadFrame(f"the header of an answer has {len(frame.header)} bytes; its numbers take {_NUMBERS.size}")
    queue_s, decode_s, compute_s, residence_s, seconds, after, total = _NUMBERS.unpack_from(frame.header)
    least = queue_s >= 0 and decode_s >= 0 and compute_s >= 0 and residence_s >= 0 and seconds >= 0
    if not (least and queue_s + decode_s + compute_s + residence_s + seconds <= MAX_SECONDS):
        times = (queue_s, decode_s, compute_s, residence_s, seconds)
        raise BadFrame(f"the server reports times that cannot be: {times}")
    if not after <= total <= _MOST_BYTES:
        raise BadFrame(_IMPOSSIBLE.format(total, after, seconds))
    return Said(queue_s, decode_s, compute_s, residence_s, Came(after, seconds, total))


def arrival_in(frame: Frame) -> Came:
    """How a payload came in, as a server says that sends no answer. Raises BadFrame for what cannot be."""
    told = read_header(Arrival, frame)
    after, seconds, total = told.bytes_after_first, told.seconds, told.bytes
    if not (0 <= seconds <= MAX_SECONDS and after <= total <= _MOST_BYTES):
        raise BadFrame(_IMPOSSIBLE.format(total, after, seconds))
    return Came(after, seconds, total)


def outputs_of(frame: Frame, wanted: Sequence[str], *, some: bool = False) -> dict[str, Array]:
    """The outputs of an answer by name. Raises BadFrame when they are not the `wanted` ones (with `some`: not among
    them), or not what it says."""
    if frame.outputs is not None and wanted == (*frame.outputs,):
        return frame.outputs
    told, body = frame.header[NUMBERS_BYTES:], frame.body
    if (alone := alone_in(told)) is not None:
        name, wire, shape, size = alone
        if size == len(body) and wanted == (name,):
            return {name: np.ndarray(shape, wire, body)}
    outputs: dict[str, Array] = {}
    at = 0
    for name, dtype, shape, _, size in output_heads(told):
        outputs[name] = _RAW.load(body[at : at + size], shape, dtype)
        at += size
    if (*outputs,) != wanted and not (outputs.keys() <= set(wanted) if some else outputs.keys() == set(wanted)):
        raise BadFrame(f"the server sent {len(outputs)} outputs that are not {', '.join(wanted)}")
    return outputs


def alone_in(told: bytes) -> Alone | None:
    """The only output that is told of, where its bytes are what it says; None where there are several, or they must be
    looked at. Raises BadFrame where that cannot be read."""
    return _alone(told) if len(told) <= LONGEST_KEPT else None


@lru_cache(maxsize=64)
def _alone(told: bytes) -> Alone | None:
    heads = output_heads(told)
    if len(heads) != 1:
        return None
    ((name, dtype, shape, _, size),) = heads
    wire = DTYPES.get(dtype)
    if wire is None or wire.kind == "b" or not size or elements(shape) * wire.itemsize != size:
        return None
    return name, wire, shape, size


def parts_of(frame: Frame) -> list[tuple[Head, memoryview]]:
    """What an answer holds, one after the other; nothing of it is checked. Raises BadFrame where it cannot be read."""
    found = []
    at = 0
    for head in output_heads(frame.header[_NUMBERS.size :]):
        found.append((head, frame.body[at : at + head.payload_bytes]))
        at += head.payload_bytes
    return found


def headway_of(
    frame: Frame, outputs: Sequence[Tensor], crossing: Sequence[Tensor], codec: str, codecs: Codecs
) -> tuple[dict[str, Array], dict[str, Array] | None]:
    """The answer of a server that ran the part before a cut: (outputs made there, crossing tensors; None where none
    came although some cross). Raises BadFrame for tensors that are none of these, or not what the model and the
    request say they are."""
    told = parts_of(frame)
    known = {t.name: (t, RAW) for t in outputs} | {t.name: (t, codec) for t in crossing}
    found: dict[str, Array] = {}
    for head, part in told:
        tensor, written = known.get(head.name, (None, ""))
        if tensor is None or head.name in found:
            raise BadFrame(f"the server sent {head.name[:80]}, which is not what the part before the cut gives")
        reader = _RAW if written == RAW else codecs.get(written, tensor.name, tensor.dtype)
        if (head.dtype, head.shape, head.codec) != (tensor.dtype, tensor.shape, reader.name):
            shown = f"{head.codec[:32]} {head.dtype[:16]} {head.shape[:8]}"
            raise BadFrame(f"the server's {tensor.name} is {shown}, not {reader.name} {tensor.dtype} {tensor.shape}")
        found[tensor.name] = reader.load(part, tensor.shape, tensor.dtype)
    going = {t.name: found.pop(t.name) for t in crossing if t.name in found}
    if going and len(going) < len(crossing):
        raise BadFrame(f"the server sent {len(going)} of the {len(crossing)} tensors that cross")
    return found, going if len(going) == len(crossing) else None

"""Frames of the fast path: a fixed preamble (kind, request id, header length), a small header, and raw bytes.

A request is one ASK frame, which carries the first bytes of the payload, and as many CHUNK frames as it takes. The time
between their arrivals is what tells the server the rate of the link, so the first frame is small and no frame is large.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message

from isthmus.errors import BadFrame
from isthmus.link.probe import LEAD_BYTES, lead_bytes
from isthmus.run.sockets import Octets, framed
from isthmus.run.types import Array

PREAMBLE = struct.Struct("<BQI")
_PREAMBLE_BYTES = PREAMBLE.size
START = struct.Struct("<I" + PREAMBLE.format.removeprefix("<"))
"""On a bare socket: a message's length and its frame's preamble."""
CHUNK_BYTES = 16384
SAFE_CHUNK_BYTES = 640 << 10
"""What every server takes, and much on a link whose rate nobody knows."""
MAX_BODY_BYTES = 3 << 20
"""Of one frame, as servers take it now."""
MAX_CHUNKS = 16
CHUNK_S = 0.004
"""A frame costs some 0.1 ms of Python on either side, so on fast links frames grow until each lasts about this long."""

_M = TypeVar("_M", bound=Message)
Parts = tuple[Octets, ...]
"""One stream message in pieces: what it is made of is not copied before it is sent."""


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    WELCOME = 2
    ASK = 3
    CHUNK = 4
    REPLY = 5
    REFUSAL = 6
    CANCEL = 7
    CANCELLED = 8
    PING = 9
    PONG = 10
    PROBE = 11
    PROBED = 12
    BYE = 13


_KINDS = {int(kind): kind for kind in Kind}
_CHUNK = int(Kind.CHUNK)
_NO_MORE: Iterator[Parts] = iter(())


class Frame(NamedTuple):
    """One stream message, taken apart."""

    kind: Kind
    id: int
    header: bytes
    body: memoryview
    outputs: dict[str, Array] | None = None
    """Of an answer that was expected: the body, read already."""


def pack(kind: Kind, request_id: int, header: bytes = b"", *bodies: bytes | memoryview) -> bytes:
    """One stream message."""
    return b"".join((PREAMBLE.pack(kind, request_id, len(header)), header, *bodies))


def unpack(message: bytes | memoryview | tuple[bytes, memoryview], header_bytes: int) -> Frame:
    """The frame in a stream message. Raises BadFrame when it is cut short, of no known kind, or its header is longer
    than `header_bytes`."""
    placed = None
    if isinstance(message, tuple):  # the preamble, and a body that was put where it is wanted
        message, placed = message
    here = len(message)
    if here < _PREAMBLE_BYTES:
        raise BadFrame(f"a frame of {here} bytes is shorter than its {_PREAMBLE_BYTES}-byte preamble")
    kind, request_id, size = PREAMBLE.unpack_from(message)
    begin = _PREAMBLE_BYTES + size
    if size > header_bytes or begin > here:
        raise BadFrame(f"a frame of {here} bytes announces a header of {size}; {header_bytes} are allowed")
    known = _KINDS.get(kind)
    if known is None:
        raise BadFrame(f"there is no frame of kind {kind}")
    body = memoryview(message)[begin:] if placed is None else placed
    return Frame(known, request_id, bytes(message[_PREAMBLE_BYTES:begin]), body)


def read_header(kind: type[_M], frame: Frame) -> _M:
    """The frame's header as a message of this type. Raises BadFrame when it is none."""
    try:
        return kind.FromString(frame.header)
    except DecodeError:
        raise BadFrame(f"the header of a {frame.kind.name} frame cannot be read") from None


def request_id_of(message: bytes | memoryview | tuple[bytes, memoryview]) -> int:
    """The request a broken message most likely belongs to; 0 when it is too short to say."""
    if isinstance(message, tuple):
        message = message[0]
    return int(PREAMBLE.unpack_from(message)[1]) if len(message) >= PREAMBLE.size else 0


def chunk_bytes(total: int, rate_bps: float | None, most: int = SAFE_CHUNK_BYTES) -> int:
    """Size of the frames after the first: 8–16 KB on slow links, growing with the rate the link last showed; the last
    may be half as large again as `most`."""
    if rate_bps is None:
        return max(CHUNK_BYTES, min(SAFE_CHUNK_BYTES, -(-total // MAX_CHUNKS)))
    return int(min(most, max(LEAD_BYTES, rate_bps / 8 * CHUNK_S)))


def most_chunk_bytes(max_body: int) -> int:
    """Of frames for a server that takes so much in one; 0: it did not say."""
    return max(SAFE_CHUNK_BYTES, min(MAX_BODY_BYTES, max_body) * 2 // 3)


def in_two(total: int, most: int) -> tuple[int, float]:
    """(size of the first frame, bit/s from which a payload goes in two frames; infinite where it never does)"""
    lead = lead_bytes(total)
    chunk = -(-2 * (total - lead) // 3)
    if not 0 < chunk <= most:
        return lead, math.inf
    return lead, (chunk + 1) * 8 / CHUNK_S if chunk > LEAD_BYTES else 0.0


@dataclass(slots=True)
class Parcel:
    """A payload on its way out: its first frame's kind and header, and the pieces that make the payload."""

    kind: Kind
    id: int
    header: bytes
    pieces: Sequence[bytes | memoryview]
    rate_bps: float | None = None
    most: int = SAFE_CHUNK_BYTES
    """See `chunk_bytes`."""
    lead: int = 0
    """Of a payload in one piece that goes in two frames: the size of the first, where it is known."""
    dropped: bool = field(default=False)
    """Set by the client that has given up: the frames not yet sent stay here."""

    @property
    def total(self) -> int:
        """Payload bytes."""
        return sum(map(len, self.pieces))

    def opening(self) -> tuple[Sequence[Octets], Iterator[Parts]]:
        """The first frames, two at most, `framed`, and the others. Where there are just two and that is known, as
        mostly on a fast link, in fewer steps than by `frames`: right after a network has run, every step counts."""
        if lead := self.lead:
            body, header = memoryview(self.pieces[0]), self.header
            size = len(header)
            start = START.pack(_PREAMBLE_BYTES + size + lead, self.kind, self.id, size) + header
            more = START.pack(_PREAMBLE_BYTES + len(body) - lead, _CHUNK, self.id, 0)
            return (start, body[:lead], more, body[lead:]), _NO_MORE
        frames = self.frames()
        return framed(itertools.islice(frames, 2)), frames

    def frames(self) -> Iterator[Parts]:
        """The stream messages, made one by one as the link takes them, each in parts that make it when joined."""
        total = self.total
        walk = _Walk(self.pieces) if len(self.pieces) != 1 else None
        start = PREAMBLE.pack(self.kind, self.id, len(self.header)) + self.header
        at = 0
        size, chunk = lead_bytes(total), chunk_bytes(total, self.rate_bps, self.most)
        while True:
            piece = walk.take(size) if walk is not None else (memoryview(self.pieces[0])[at : at + size],)
            yield start, *piece
            at += size
            rest = total - at
            if self.dropped or rest <= 0:
                return
            start = PREAMBLE.pack(Kind.CHUNK, self.id, 0)
            # The last piece may be half as large again: a scrap at the end would cost a whole frame.
            size = rest if rest <= chunk + chunk // 2 else chunk


class _Walk:
    """Takes the next n bytes of several buffers without joining them first."""

    def __init__(self, pieces: Sequence[bytes | memoryview]) -> None:
        self._views = [memoryview(p).cast("B") for p in pieces if len(p)]
        self._index = self._at = 0

    def take(self, count: int) -> Iterator[memoryview]:
        while count > 0:
            view = self._views[self._index]
            part = view[self._at : self._at + count]
            yield part
            count -= len(part)
            self._at += len(part)
            if self._at == len(view):
                self._index, self._at = self._index + 1, 0

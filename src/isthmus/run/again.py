"""A request that begins, byte for byte, as the one before it: received in one go, each part to where it stays.

A session says the same again and again, and right after a network has run every new step costs 5 to 30 µs
(docs/decisions/0006). What comes out is what `Intake` would have made of the same frames; whatever is not quite as
expected is left to it, untouched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from isthmus.run.codecs import Codecs
from isthmus.run.frame import PREAMBLE, START, Kind
from isthmus.run.heads import Request
from isthmus.run.intake import Intake, Job
from isthmus.run.sockets import LENGTH_BYTES, Inbox
from isthmus.run.types import Arrays

MOST_BYTES = 2 << 20
"""Larger payloads are not kept room for, two a stream, and the steps are little of what they take."""
_START_BYTES, _PREAMBLE_BYTES = START.size, PREAMBLE.size
_ASK, _CHUNK = Kind.ASK, Kind.CHUNK


class _Room(NamedTuple):
    """For one request: where its bytes go, one part after the other, and what they are then."""

    parts: tuple[memoryview, ...]
    start: memoryview
    header: memoryview
    second: memoryview
    """The chunk's length and preamble; empty where there is no chunk."""
    payload: memoryview
    tensors: Arrays | None


class _Like(NamedTuple):
    """The last request that came in one frame or two: what it announced, its sizes, and room for others like it. Two,
    for one is computed while the next is waited for."""

    header: bytes
    ask: Request
    length: int
    lead: int
    rest: int
    before: int
    """Bytes in front of what the chunk carries."""
    rooms: tuple[_Room, _Room]


class Again:
    """Of one stream, which `inbox` reads and `intake` knows."""

    def __init__(self, inbox: Inbox, intake: Intake, codecs: Codecs, clock: Callable[[], float]) -> None:
        self._inbox, self._intake, self._codecs, self._clock = inbox, intake, codecs, clock
        self._like: _Like | None = None
        self._turn = 0

    def next_job(self) -> Job | None:
        """The next request, whole, where it is like the last; None, and nothing is taken, where it is not or the
        stream ends. Waits. Raises OSError."""
        if self._like is not None and self._inbox.is_empty:
            room = self._like.rooms[self._turn]
            job, got = self._gathered(self._like, room)
            if job is not None:
                return job
            self._inbox.give_back(room.parts, got)
        self._look()
        return None

    def _gathered(self, like: _Like, room: _Room) -> tuple[Job | None, int]:
        """What is received, if it is the whole of such a request; and how many bytes were gathered where it is not."""
        header, ask, length, lead, rest, before, _ = like
        total = ask.total_bytes
        job = Job(0, ask.cut, ask.heads, total, 0.0, payload=room.payload, received_bytes=total, tensors=room.tensors)
        inbox = self._inbox
        got = inbox.gather(room.parts)
        first_s = last_s = self._clock()
        first = last = inbox.told
        if got < before or not self._intake.idle:
            return None, got
        said, kind, request_id, header_bytes = START.unpack_from(room.start)
        if said != length or kind != _ASK or header_bytes != len(header) or room.header != header:
            return None, got
        here = total
        if rest:
            if START.unpack_from(room.second) != (rest + _PREAMBLE_BYTES, _CHUNK, request_id, 0):
                return None, got
            at = lead + got - before
            here = min(total, at + _START_BYTES)
            if at < total:
                if not inbox.fill(room.payload[at:]):
                    return None, 0
                last_s, last = self._clock(), inbox.told
        self._turn = 1 - self._turn
        job.id, job.first_bytes = request_id, here
        job.first_s, job.last_s, job.first, job.last = first_s, last_s, first, last
        self._intake.took(job)
        return job, 0

    def _look(self) -> None:
        """If what is here begins with a request that was admitted, others like it are expected."""
        near = self._inbox.near()
        if len(near) < _START_BYTES:
            return
        length, kind, request_id, header_bytes = START.unpack_from(near)
        begin = _START_BYTES + header_bytes
        header, lead = bytes(near[_START_BYTES:begin]), length + LENGTH_BYTES - begin
        if kind != _ASK or (self._like is not None and (self._like.header, self._like.lead) == (header, lead)):
            return
        self._like, ask = None, self._intake.known(header)
        if ask is None or ask.total_bytes > MOST_BYTES:
            return
        rest, end = ask.total_bytes - lead, begin + lead
        if lead < 0 or rest < 0:
            return
        chunk = (rest + _PREAMBLE_BYTES, _CHUNK, request_id, 0)
        if rest and (len(near) < end + _START_BYTES or START.unpack_from(near, end) != chunk):
            return
        before = end + (_START_BYTES if rest else 0)
        rooms = self._room(header, ask, lead, rest), self._room(header, ask, lead, rest)
        self._like = _Like(header, ask, length, lead, rest, before, rooms)

    def _room(self, header: bytes, ask: Request, lead: int, rest: int) -> _Room:
        payload, tensors = self._codecs.room(ask.heads) or (np.empty(ask.total_bytes, np.uint8).data, None)
        front = memoryview(bytearray(_START_BYTES + len(header)))
        second = memoryview(bytearray(_START_BYTES if rest else 0))
        return _Room(
            (front, payload[:lead], second, payload[lead:]), front, front[_START_BYTES:], second, payload, tensors
        )

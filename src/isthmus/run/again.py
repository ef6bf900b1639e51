"""A request that begins, byte for byte, as the one before it: read in a few steps, into the memory of the last one.

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

MOST_BYTES = 4 << 20
"""Larger payloads are not kept room for, one a stream, and the steps are little of what they take."""
_START_BYTES, _PREAMBLE_BYTES = START.size, PREAMBLE.size
_ASK, _CHUNK = int(Kind.ASK), int(Kind.CHUNK)


class _Last(NamedTuple):
    """The last request: its header and what that announces, room for such a payload, and its tensors where they are
    that room."""

    header: bytes
    ask: Request
    room: memoryview
    tensors: Arrays | None


class Again:
    """Of one stream, which `inbox` reads and `intake` knows."""

    def __init__(self, inbox: Inbox, intake: Intake, codecs: Codecs, clock: Callable[[], float]) -> None:
        self._inbox, self._intake, self._codecs, self._clock = inbox, intake, codecs, clock
        self._last: _Last | None = None

    def next_job(self) -> Job | None:
        """The next request, whole, where it is such a one in at most two frames; None, and nothing is taken, where it
        is not or the stream ends. Raises OSError."""
        near = self._inbox.near()
        here = len(near)
        if here < _START_BYTES or not self._intake.idle:
            return None
        length, kind, request_id, header_bytes = START.unpack_from(near)
        begin = _START_BYTES + header_bytes
        if kind != _ASK:
            return None
        header, last = near[_START_BYTES:begin], self._last
        if last is None or header != last.header:
            last = self._last = self._known(bytes(header))
            if last is None:
                return None
        _, ask, payload, tensors = last
        total, lead = ask.total_bytes, length + LENGTH_BYTES - begin
        end, rest = begin + lead, total - lead
        ahead = here - end
        if lead < 0 or ahead < 0 or rest < 0:
            return None
        first_s = last_s = self._clock()
        first_told = last_told = self._inbox.told
        if rest:
            if ahead < _START_BYTES or START.unpack_from(near, end) != (rest + _PREAMBLE_BYTES, _CHUNK, request_id, 0):
                return None
            more = end + _START_BYTES
            got = min(rest, here - more)
            payload[:lead] = near[begin:end]
            payload[lead : lead + got] = near[more : more + got]
            if not self._inbox.fill(more + got, payload[lead + got :]):
                return None
            last_s, last_told = self._clock(), self._inbox.told
        else:
            payload[:] = near[begin:end]
            self._inbox.fill(end, payload[:0])
        came = min(total, lead + ahead), last_s, first_told, last_told
        job = Job(request_id, ask.cut, ask.heads, total, first_s, *came, payload, total, tensors=tensors)
        self._intake.took(job)
        return job

    def _known(self, header: bytes) -> _Last | None:
        """What was announced with this header, if a request that began so was admitted; room for another like it."""
        ask = self._intake.known(header)
        if ask is None or ask.total_bytes > MOST_BYTES:
            return None
        room, tensors = self._codecs.room(ask.heads) or (np.empty(ask.total_bytes, np.uint8).data, None)
        return _Last(header, ask, room, tensors)

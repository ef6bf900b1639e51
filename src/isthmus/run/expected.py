"""The answer that is expected: one like the last, for which room, and the outputs in it, are ready before it comes.

A server says the same again and again, and right after a network has run every new step costs 5 to 30 µs
(docs/decisions/0006): what can be done while the answer is waited for costs nothing. Whatever is not quite as expected
is read as ever.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from isthmus.errors import BadFrame
from isthmus.run.frame import PREAMBLE, Frame, Kind, unpack
from isthmus.run.replies import NUMBERS_BYTES, alone_in
from isthmus.run.sockets import LENGTH_BYTES, NEAR_BYTES, Message, Room
from isthmus.run.types import Array

_PREAMBLE_BYTES, _REPLY = PREAMBLE.size, Kind.REPLY
_ALIGNED_BYTES = 16
"""As Python's memory is; so is the output."""


class _Like(NamedTuple):
    """The last answer: what it told of its only output (the header's end), and how long it and its header were."""

    told: bytes
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    header_bytes: int
    message_bytes: int


class _Ready(NamedTuple):
    """Room for the next: a message, its parts, and the outputs, all the same memory."""

    message: memoryview
    header: memoryview
    body: memoryview
    outputs: dict[str, Array]


class Expected:
    """Of one stream. An output is memory that nobody else has."""

    def __init__(self) -> None:
        self._like: _Like | None = None
        self._ready: _Ready | None = None

    def room(self) -> Room | None:
        """For a message like the last, before it comes; None where none is expected."""
        if self._like is None:
            return None
        _, name, dtype, shape, header_bytes, message_bytes = self._like
        begin = _PREAMBLE_BYTES + header_bytes
        before = -(LENGTH_BYTES + begin) % _ALIGNED_BYTES
        room = memoryview(bytearray(before + LENGTH_BYTES + message_bytes))[before:]
        message = room[LENGTH_BYTES:]
        body = message[begin:]
        self._ready = _Ready(message, message[_PREAMBLE_BYTES:begin], body, {name: np.ndarray(shape, dtype, body)})
        return room, message

    def frame(self, message: Message, header_bytes: int) -> Frame:
        """What a message says, with its outputs where it fills the room and is as expected. Raises as `unpack`."""
        ready, like = self._ready, self._like
        if ready is not None and like is not None and message is ready.message:
            kind, request_id, size = PREAMBLE.unpack_from(message)
            header = bytes(ready.header)
            if kind == _REPLY and size == like.header_bytes and header.endswith(like.told):
                return Frame(_REPLY, request_id, header, ready.body, ready.outputs)
        frame = unpack(message, header_bytes)
        if frame.kind is _REPLY:
            self._remember(frame)
        return frame

    def _remember(self, frame: Frame) -> None:
        """The next answer is expected to be like this one, where it is short and has one output that needs no look."""
        told = frame.header[NUMBERS_BYTES:]
        if self._like is not None and told == self._like.told:
            return
        self._like = None
        size = _PREAMBLE_BYTES + len(frame.header) + len(frame.body)
        try:
            alone = alone_in(told) if size <= NEAR_BYTES - LENGTH_BYTES else None
        except BadFrame:  # whoever reads the answer will say so
            return
        if alone is None:
            return
        name, dtype, shape, body_bytes = alone
        if body_bytes == len(frame.body):
            self._like = _Like(told, name, dtype, shape, len(frame.header), size)

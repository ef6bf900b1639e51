"""What travels in front of tensors: a line about each. Written and read once, and remembered: a session says the same
again and again, and protobuf with cold caches costs 0.2–0.3 ms a request, more than the tensors themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from google.protobuf.message import DecodeError

from isthmus.errors import BadFrame
from isthmus.run.split_pb2 import Ask, Outputs, TensorHead

_KEPT = 256
LONGEST_KEPT = 4096
"""Bytes of a header that is remembered: strangers' words are bounded in number and in length."""


class Head(NamedTuple):
    """One tensor on the wire: name, numpy dtype, shape, codec, and how many bytes of the body are its."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    codec: str
    payload_bytes: int


class Request(NamedTuple):
    """What a request announces."""

    cut: str
    batch: int
    total_bytes: int
    heads: tuple[Head, ...]


@lru_cache(maxsize=_KEPT)
def request_header(request: Request) -> bytes:
    """The header of an ASK frame."""
    return Ask(
        cut=request.cut, batch=request.batch, total_bytes=request.total_bytes, tensors=_told(request.heads)
    ).SerializeToString()


def request_of(header: bytes) -> Request:
    """What an ASK frame announces; nothing of it is checked. Raises BadFrame where it cannot be read."""
    try:
        ask = Ask.FromString(header)
    except DecodeError:
        raise BadFrame("the header of an ASK frame cannot be read") from None
    return Request(ask.cut, ask.batch, ask.total_bytes, _heads(ask.tensors))


@lru_cache(maxsize=_KEPT)
def outputs_header(heads: tuple[Head, ...]) -> bytes:
    """The part of a REPLY frame's header that tells of its outputs."""
    return Outputs(tensors=_told(heads)).SerializeToString()


def output_heads(header: bytes) -> tuple[Head, ...]:
    """The outputs a REPLY frame announces; nothing of it is checked. Raises BadFrame where it cannot be read."""
    return _outputs_kept(header) if len(header) <= LONGEST_KEPT else _outputs(header)


def _outputs(header: bytes) -> tuple[Head, ...]:
    try:
        return _heads(Outputs.FromString(header).tensors)
    except DecodeError:
        raise BadFrame("the header of a REPLY frame cannot be read") from None


_outputs_kept = lru_cache(maxsize=_KEPT)(_outputs)


def _told(heads: Iterable[Head]) -> list[TensorHead]:
    return [
        TensorHead(name=h.name, dtype=h.dtype, shape=h.shape, codec=h.codec, payload_bytes=h.payload_bytes)
        for h in heads
    ]


def _heads(told: Iterable[TensorHead]) -> tuple[Head, ...]:
    return tuple(Head(t.name, t.dtype, tuple(t.shape), t.codec, t.payload_bytes) for t in told)

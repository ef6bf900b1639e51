"""The codecs of a run: made once per (codec, tensor), with the calibrated clip of the tensor where there is one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from isthmus.codec import RAW, PictureScale, codec_for
from isthmus.codec.lengths import dtype_name
from isthmus.codec.raw import Raw
from isthmus.codec.types import Codec
from isthmus.engine.slow import SlowDown, wait_s, work_clock
from isthmus.errors import BadFrame, Refused
from isthmus.graph import Tensor
from isthmus.graph.dtypes import DTYPES
from isthmus.quant import ChannelClip
from isthmus.run.heads import Head, outputs_header
from isthmus.run.types import Array, Arrays

_AS_IT_IS = Raw()
LONGEST_NAME = 32
Written = tuple[tuple[Head, ...], Sequence[bytes | memoryview]]
"""Tensors on their way: what is told of each, and its bytes."""
_Raw = tuple[str, np.dtype[Any], tuple[int, ...]]
_KEPT = 512
OVERHEAD_BYTES = 64 << 10
"""No codec may need more than the tensor's own bytes and this for tables and ranges."""


class _Last(NamedTuple):
    """How a tensor was written last. `as_it_is`: its own memory, where that is in order, is what travels."""

    dtype: np.dtype[Any]
    writer: Codec
    head: Head
    as_it_is: bool


class Codecs:
    """Writes and reads crossing tensors. By tensor name: `clips`, the calibrated ranges, and `pictures`, how an input
    is made from a picture; both sides must hold the same. `written` is the writer's own: codec → tensor → the codec
    that this one is written with instead, as where tensors of several widths cross. `slowdown`: a machine that is
    declared slow writes and reads that many times as long, as its profile says, waiting by `wait(seconds)`."""

    def __init__(
        self,
        clips: Mapping[str, ChannelClip] | None = None,
        pictures: Mapping[str, PictureScale] | None = None,
        written: Mapping[str, Mapping[str, str]] | None = None,
        slowdown: float = 1.0,
        wait: Callable[[float], None] = wait_s,
    ) -> None:
        self._slow, self._prompt = SlowDown(slowdown, wait, work_clock(1)), slowdown == 1
        self._clips, self._pictures = dict(clips or {}), dict(pictures or {})
        self._written = {codec: dict(tensors) for codec, tensors in (written or {}).items()}
        self.digest = _digest(self._clips, self._pictures)
        self._get = lru_cache(maxsize=_KEPT)(self._make)
        self._last: dict[tuple[str, str], _Last] = {}

    def get(self, codec: str, tensor: str, dtype: str) -> Codec:
        """The codec that writes a tensor. Raises BadInput for an unknown name, Missing where an extra is not
        installed."""
        if codec in self._written:
            codec = self._written[codec].get(tensor, codec)
        return self._get(codec[:LONGEST_NAME], tensor, dtype)

    def dump(self, codec: str, tensors: Arrays) -> tuple[tuple[Head, ...], list[bytes | memoryview]]:
        """Heads and payloads of the crossing tensors, in their order."""
        heads: list[Head] = []
        payloads: list[bytes | memoryview] = []
        for name, array in tensors.items():
            last = self._last.get((codec, name))
            if last is None or last.dtype is not array.dtype:
                last = self._writer(codec, name, array.dtype)
            head = last.head
            if last.as_it_is and head.payload_bytes > 0 and head.shape == array.shape:
                view = array.data
                if view.c_contiguous:
                    heads.append(head)
                    payloads.append(view.cast("B"))
                    continue
            dump = last.writer.dump
            written = dump(array) if self._prompt else self._slow.run(partial(dump, array))
            payload = memoryview(written).cast("B")
            if head.payload_bytes != len(payload) or head.shape != array.shape:
                head = Head(name, head.dtype, array.shape, head.codec, len(payload))
                self._last[codec, name] = last._replace(head=head)
            heads.append(head)
            payloads.append(payload)
        return tuple(heads), payloads

    def load(self, heads: Sequence[Head], payload: memoryview) -> dict[str, Array]:
        """The tensors again. Raises BadFrame when a payload cannot hold what its head says."""
        tensors: dict[str, Array] = {}
        at = 0
        for head in heads:
            part = payload[at : at + head.payload_bytes]
            at += head.payload_bytes
            load = self._get(head.codec[:LONGEST_NAME], head.name, head.dtype).load
            if self._prompt:
                tensors[head.name] = load(part, head.shape, head.dtype)
            else:
                tensors[head.name] = self._slow.run(partial(load, part, head.shape, head.dtype))
        return tensors

    def room(self, heads: Sequence[Head]) -> tuple[memoryview, dict[str, Array]] | None:
        """Memory that is the tensor as soon as the payload is in it: for one raw tensor. None where a payload has to be
        read."""
        if len(heads) != 1 or not self._prompt:
            return None
        name, dtype, shape, codec, size = heads[0]
        wire = DTYPES.get(dtype)
        raw = isinstance(self._get(codec[:LONGEST_NAME], name, dtype), Raw)
        if not raw or not size or wire is None or wire.kind == "b":  # truth values are looked at
            return None
        array = np.empty(shape, wire)
        return array.data.cast("B"), {name: array}

    def _writer(self, codec: str, name: str, dtype: np.dtype[Any]) -> _Last:
        """What writes a tensor, remembered: a session says the same again and again."""
        writer = self.get(codec, name, dtype_name(dtype))
        if len(self._last) >= _KEPT:
            self._last.clear()
        as_it_is = self._prompt and isinstance(writer, Raw) and dtype in DTYPES.values()
        head = Head(name, dtype_name(dtype), (), writer.name, -1)
        last = self._last[codec, name] = _Last(dtype, writer, head, as_it_is)
        return last

    def _make(self, codec: str, tensor: str, dtype: str) -> Codec:
        return codec_for(codec, dtype, self._clips.get(tensor), self._pictures.get(tensor))


def check_heads(heads: Sequence[Head], expected: Sequence[Tensor], announced_bytes: int) -> None:
    """Compare what a request announces with what the server's own graph knows, before anything is allocated.

    Raises Refused for wrong names, dtypes or shapes, BadFrame for sizes that cannot be.
    """
    if [h.name for h in heads] != [t.name for t in expected]:
        wanted = ", ".join(t.name for t in expected)
        raise Refused(f"this cut takes the tensors {wanted}, not {', '.join(h.name[:80] for h in heads) or 'none'}")
    for head, tensor in zip(heads, expected, strict=True):
        if head.shape != tensor.shape or head.dtype != tensor.dtype:
            raise Refused(f"{tensor.name} must be {tensor.dtype} {tensor.shape}, not {_shown(head)}")
        if head.payload_bytes > tensor.bytes + OVERHEAD_BYTES:
            raise BadFrame(f"{tensor.name} has {tensor.bytes} bytes; a payload of {head.payload_bytes} cannot be it")
    if sum(h.payload_bytes for h in heads) != announced_bytes:
        raise BadFrame(f"{announced_bytes} bytes are announced in all, but the tensors do not add up to them")


def raw_heads(outputs: Arrays) -> tuple[tuple[Head, ...], list[memoryview]]:
    """Outputs as they travel back: as they are."""
    arrays = [(name, array.dtype, array.shape) for name, array in outputs.items()]
    return _raw_heads(arrays), [_AS_IT_IS.dump(array) for array in outputs.values()]


def raw_told(outputs: Arrays, also: tuple[Head, ...] = ()) -> tuple[bytes, list[memoryview]]:
    """The same, told in one header with what else goes back."""
    arrays, parts = [], []
    for name, array in outputs.items():
        arrays.append((name, array.dtype, array.shape))
        parts.append(_AS_IT_IS.dump(array))
    return _told(tuple(arrays), also), parts


@lru_cache(maxsize=256)
def _told(arrays: tuple[_Raw, ...], also: tuple[Head, ...]) -> bytes:
    return outputs_header(_raw_heads(arrays) + also)


def _raw_heads(arrays: Iterable[_Raw]) -> tuple[Head, ...]:
    """What is told of arrays that travel as they are, by name, dtype and shape."""
    return tuple(
        Head(name, dtype_name(dtype), shape, RAW, _AS_IT_IS.payload_bytes(shape, dtype.itemsize))
        for name, dtype, shape in arrays
    )


def _shown(head: Head) -> str:
    return f"{head.dtype[:16]} {head.shape[:8]}"


def _digest(clips: Mapping[str, ChannelClip], pictures: Mapping[str, PictureScale]) -> str:
    """sha256 over names and numbers; empty when there are none."""
    if not clips and not pictures:
        return ""
    digest = hashlib.sha256()
    for name in sorted(clips):
        digest.update(f"{name}\n{clips[name].model_dump_json()}\n".encode())
    for name in sorted(pictures):
        digest.update(f"{name}\n{pictures[name]!r}\n".encode())
    return digest.hexdigest()

"""A request written before the tensor it carries is there.

Right after a head has run, each function of Python's costs some 10 µs of cold caches. Whoever asks the same as last
time knows header, id and frames before his head begins; what is left after it is to put the tensor in and send.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

from isthmus.run.frame import Parcel
from isthmus.run.sockets import Octets

_MOST = 4
"""Frames of a payload on a fast link. Of more, the first are sent and the others made meanwhile."""


class Letter(NamedTuple):
    """`frames`: what goes before each part of the payload, as it is on the wire, and where the part begins and ends."""

    said: tuple[object, ...]
    parcel: Parcel
    total_bytes: int
    frames: tuple[tuple[bytes, int, int], ...]

    def holding(self, payload: Octets) -> list[Octets]:
        """All of it, in the parts that are sent."""
        view, whole = memoryview(payload), list[Octets]()
        for start, begin, end in self.frames:
            whole += (start, view[begin:end])
        return whole


def written(said: tuple[object, ...], parcel: Parcel, total: int, wrap: Callable[[int], bytes]) -> Letter | None:
    """The letter for a payload of `total` bytes; None where it takes too many frames. `wrap(size)` goes before each
    message on the wire."""
    cuts = list(itertools.islice(parcel.cuts(total), _MOST + 1))
    if len(cuts) > _MOST:
        return None
    frames, at = [], 0
    for start, size in cuts:
        frames.append((wrap(len(start) + size) + start, at, at + size))
        at += size
    return Letter(said, parcel, total, tuple(frames))

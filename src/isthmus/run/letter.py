"""A request written before the tensor it carries is there.

Right after a head has run, each function of Python's costs some 10 µs of cold caches. Whoever asks the same as last
time can know header, id and frames once the last answer is read, when nobody waits any more; what is left after the
head is to put the tensor in and send.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

from isthmus.run.sockets import Octets
from isthmus.run.ticket import Ticket

_MOST = 4
"""Frames of a payload on a fast link. Of more, the first are sent and the others made meanwhile."""


class Letter(NamedTuple):
    """`frames`: what goes before each part of the payload, as it is on the wire, and where the part begins and ends."""

    said: tuple[object, ...]
    ticket: Ticket
    total_bytes: int
    frames: tuple[tuple[bytes, int, int], ...]

    def holding(self, payload: Octets) -> list[Octets]:
        """All of it, in the parts that are sent."""
        view, whole = memoryview(payload), list[Octets]()
        for start, begin, end in self.frames:
            whole += (start, view[begin:end])
        return whole


def written(said: tuple[object, ...], ticket: Ticket, total: int, wrap: Callable[[int], bytes]) -> Letter | None:
    """The letter for a payload of `total` bytes; None where it takes too many frames. `wrap(size)` goes before each
    message on the wire."""
    cuts = list(itertools.islice(ticket.parcel.cuts(total), _MOST + 1))
    if len(cuts) > _MOST:
        return None
    frames, at = [], 0
    for start, size in cuts:
        frames.append((wrap(len(start) + size) + start, at, at + size))
        at += size
    return Letter(said, ticket, total, tuple(frames))

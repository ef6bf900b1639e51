"""The server's desk: checks what a request announces, then decodes and computes, one request at a time."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence

from isthmus.errors import BadFrame, IsthmusError, Refused
from isthmus.graph import Tensor
from isthmus.run.codecs import Codecs, Written, check_heads
from isthmus.run.heads import LONGEST_KEPT, Head, Request, request_of
from isthmus.run.places import Places, place_of
from isthmus.run.types import Array, Arrays, Bounds

_KEPT = 256
_BUILT_LATELY_S = 60.0
Done = tuple[dict[str, Array], float, float, float, Written]
"""Outputs, the seconds of queue, decoding and computing, and what goes on to the device, written."""


class Desk:
    """Shared by every stream and every unary call of a server.

    One lock is the queue: whoever holds it computes. The waiting thread is the one that will send the answer, so a
    request changes threads once less than with a worker of its own (0.05–0.1 ms measured on two cores).
    """

    def __init__(self, places: Places, codecs: Codecs, bounds: Bounds, clock: Callable[[], float]) -> None:
        self.places, self.codecs, self.bounds, self.clock = places, codecs, bounds, clock
        self._busy = threading.Lock()
        self._counting = threading.Lock()
        self._waiting = self._requests = 0
        self._unready: dict[str, float] = {}
        """What was built on request, and when it no longer counts."""
        self._admitted: dict[bytes, Request] = {}
        self._counts: Counter[str] = Counter()

    def expected(self, place: str, batch: int) -> tuple[Tensor, ...]:
        """What must come for this place: a cut, maybe with an exit. Raises Refused where it cannot be served at all."""
        if not 1 <= batch <= self.bounds.batch:
            raise Refused(f"a batch of {batch} is outside the 1 to {self.bounds.batch} this server takes")
        if output := self.places.unforeseen(place):
            self._count_unready(f"the exit {output[:80]}")
        try:
            return self.places.expected(place, batch)
        except IsthmusError as e:
            raise Refused(str(e)) from e

    def admit(self, header: bytes) -> Request:
        """What an ASK frame announces, checked. Raises Refused or BadFrame.

        A request like an earlier one has the same header, byte for byte, and was checked then: remembered, bounded in
        number and length, where the answer cannot change (0.1 ms of a request with cold caches).
        """
        known = self._admitted.get(header)
        if known is not None:
            return known
        request = request_of(header)
        self.check(request.cut, request.batch, request.heads, request.total_bytes)
        if len(header) <= LONGEST_KEPT and self.places.is_ready(request.cut):
            if len(self._admitted) >= _KEPT:
                self._admitted.clear()
            self._admitted[header] = request
        return request

    def known(self, header: bytes) -> Request | None:
        """What a header announces that was admitted, and is remembered."""
        return self._admitted.get(header)

    def check(self, place: str, batch: int, heads: Sequence[Head], total_bytes: int) -> None:
        """Raise Refused or BadFrame, in one sentence, for a request that cannot be served; allocates nothing."""
        if total_bytes > self.bounds.message_bytes:
            raise BadFrame(f"{total_bytes} bytes are announced; this server takes {self.bounds.message_bytes}")
        check_heads(heads, self.expected(place, batch), total_bytes)
        self._check_way_back(place, batch)
        self._admit(place)

    def run(
        self, place: str, heads: Sequence[Head], payload: memoryview, since_s: float, tensors: Arrays | None = None
    ) -> Done:
        """Decode, where the `tensors` are not given, and compute. `since_s`: when the payload was complete. Raises
        BadFrame, Refused, or what the engine raises."""
        with self._counting:
            if self._waiting >= self.bounds.waiting:
                raise Refused(f"the server is busy: {self._waiting} requests are waiting already")
            self._waiting += 1
        done = 0
        written: Written = ((), ())
        try:
            with self._busy:
                begun = self.clock()
                if tensors is None:
                    tensors = self.codecs.load(heads, payload)
                decoded = self.clock()
                outputs, crossing = self.places.run(place, tensors)
                ended = self.clock()
                if crossing:
                    written = self.codecs.dump(place_of(place).back, crossing)
                done = 1
        finally:
            with self._counting:
                self._waiting -= 1
                self._requests += done
        return outputs, begun - since_s, decoded - begun, ended - decoded, written

    def count(self, what: str) -> None:
        """One more of these."""
        with self._counting:
            self._counts[what] += 1

    @property
    def counts(self) -> dict[str, int]:
        """How many requests were served, refused and cancelled since the start."""
        with self._counting:
            return {**self._counts, **({"requests": self._requests} if self._requests else {})}

    def _check_way_back(self, place: str, batch: int) -> None:
        """What goes back must be small enough to be sent, and of a codec that can write it."""
        codec, tensors = self.places.returned(place, batch)
        try:
            sizes = [self.codecs.get(codec, t.name, t.dtype).payload_bytes(t.shape, t.itemsize) for t in tensors]
        except IsthmusError as e:
            raise Refused(f"what crosses cannot be written: {e}") from e
        if sum(sizes) > self.bounds.message_bytes:
            raise Refused(f"{sum(sizes)} bytes would go back; this server sends {self.bounds.message_bytes}")

    def _admit(self, place: str) -> None:
        """Cuts that are not ready are built anew once a few others were asked for: only so many may take turns."""
        if not self.places.is_ready(place):
            self._count_unready(place, _BUILT_LATELY_S)

    def _count_unready(self, what: str, for_s: float = math.inf) -> None:
        now = self.clock()
        with self._counting:
            if what not in self._unready and len(self._unready) >= self.bounds.unready_cuts:
                self._unready = {known: end for known, end in self._unready.items() if end > now}
                if len(self._unready) >= self.bounds.unready_cuts:
                    raise Refused(f"{what[:90]} is not ready here, and {len(self._unready)} others were built already")
            self._unready[what] = now + for_s

"""One direction of a link as a queue: bytes leave exactly as fast as the rate allows, then travel for the delay.

Nothing here knows sockets or a clock: the time is an argument, so the same code shapes real connections and can be
tested exactly.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from typing import NamedTuple

from isthmus.errors import BadInput
from isthmus.link.trace import Trace

MIN_QUEUE_BYTES = 16_384
MAX_QUEUE_BYTES = 262_144
QUEUE_S = 0.02
"""What may wait: 20 ms at the present rate. A process that wakes up some ms late then finds enough to have kept the
link busy, and its bytes are dated back; a longer queue would add latency that a real uplink does not have."""
FAST_BPS = 30e6
STEP_BYTES = 1448
"""Bytes arrive in steps as long as a packet's payload; two packets at a time above 30 Mbit/s to spare the processor."""
CREDIT_S = 0.02
FIN_BYTES = 40


class RateSchedule:
    """The rate of one direction over time: a trace, until another is put in force. Times on any one rising clock."""

    def __init__(self, start_s: float, trace: Trace) -> None:
        self._starts = [start_s]
        self._traces = [trace]

    def put(self, at_s: float, trace: Trace) -> None:
        """From `at_s` on this trace is in force, its own time starting at 0. Raises BadInput when time runs back."""
        if at_s < self._starts[-1]:
            raise BadInput(f"a rate cannot change at {at_s:g} s, before the last change at {self._starts[-1]:g} s")
        self._starts.append(at_s)
        self._traces.append(trace)

    def rate_at(self, t_s: float) -> float:
        """Bit/s at one moment."""
        index = max(0, bisect_right(self._starts, t_s) - 1)
        return self._traces[index].rate_at(t_s - self._starts[index])

    def finish_s(self, start_s: float, bits: float) -> float:
        """When the last of `bits` has left if the first may leave at `start_s`; inf when an outage does not end."""
        index = max(0, bisect_right(self._starts, start_s) - 1)
        while True:
            base, end = self._starts[index], self._end(index)
            done = base + self._traces[index].finish_s(start_s - base, bits)
            if done <= end or math.isinf(end):
                return done
            bits -= self._traces[index].bits_between(start_s - base, end - base)
            start_s, index = end, index + 1

    def _end(self, index: int) -> float:
        return self._starts[index + 1] if index + 1 < len(self._starts) else math.inf


class Parcel(NamedTuple):
    """Some bytes of one connection; None instead of data says that the connection ends here."""

    key: int
    data: memoryview | None


class Pipe:
    """A queue in front of a link of changing rate and constant one-way delay.

    >>> pipe = Pipe(RateSchedule(0.0, Trace.of([0.0], [8e6])), delay_s=0.01)
    >>> pipe.push(0.0, 1, memoryview(bytes(1000)))
    >>> pipe.next_s(), len(pipe.pop(0.0109)), pipe.next_s(), len(pipe.pop(0.0111))
    (0.001, 0, 0.011, 1)
    """

    def __init__(self, schedule: RateSchedule, delay_s: float) -> None:
        if not 0 <= delay_s < 60:
            raise BadInput(f"a one-way delay lies between 0 and 60 s, not {delay_s}")
        self.schedule = schedule
        self.delay_s = delay_s
        self.passed_bytes = 0
        self._queue: deque[Parcel] = deque()
        self._queued_bytes = 0
        self._travelling: deque[tuple[float, Parcel]] = deque()
        self._free_s = -math.inf  # when the last parcel had left
        self._depart_s: float | None = None  # when the first of the queue will have left
        self._was_full = False
        self._drained_s = -math.inf

    def room_bytes(self, now_s: float) -> int:
        """How many bytes may be pushed now."""
        wanted = int(self.schedule.rate_at(now_s) * QUEUE_S / 8)
        room = min(max(wanted, MIN_QUEUE_BYTES), MAX_QUEUE_BYTES) - self._queued_bytes
        if room < STEP_BYTES:
            self._was_full = True
            return 0
        return room

    def push(self, now_s: float, key: int, data: memoryview | None) -> None:
        """Put bytes (or, with None, the end) of a connection into the queue."""
        if not self._queue:
            self._begin(now_s)
        if data is None:
            self._queue.append(Parcel(key, None))
            return
        step = STEP_BYTES if self.schedule.rate_at(now_s) < FAST_BPS else 2 * STEP_BYTES
        self._queue.extend(Parcel(key, data[at : at + step]) for at in range(0, len(data), step))
        self._queued_bytes += len(data)

    def advance(self, now_s: float) -> None:
        """Let everything leave that can have left by now."""
        while self._queue and (depart := self._departure_s()) <= now_s:
            parcel = self._queue.popleft()
            size = len(parcel.data) if parcel.data is not None else 0
            self._queued_bytes -= size
            self.passed_bytes += size
            self._travelling.append((depart + self.delay_s, parcel))
            self._free_s, self._depart_s = depart, None
            if not self._queue:
                self._drained_s = now_s

    def pop(self, now_s: float) -> list[Parcel]:
        """What has arrived at the far end by now, in order."""
        self.advance(now_s)
        arrived = []
        while self._travelling and self._travelling[0][0] <= now_s:
            arrived.append(self._travelling.popleft()[1])
        return arrived

    def next_s(self) -> float:
        """When `pop` will next have something to do; inf when never."""
        depart = self._departure_s() if self._queue else math.inf
        return min(depart, self._travelling[0][0] if self._travelling else math.inf)

    def changed(self) -> None:
        """The schedule is another one from some moment on: what has not left yet leaves by the new one."""
        self._depart_s = None

    def forget(self) -> None:
        """Lose everything that is under way, as when a radio link breaks."""
        self._queue.clear()
        self._travelling.clear()
        self._queued_bytes, self._depart_s = 0, None

    def _begin(self, now_s: float) -> None:
        """When may the first byte of a new busy period leave? Now; but if the queue had been full and ran dry only
        because this process woke up late, the sender's bytes were there all along and the link has not rested."""
        late = self._was_full and self._drained_s == now_s
        self._free_s = max(self._free_s, now_s - CREDIT_S if late else now_s)
        self._was_full, self._depart_s = False, None

    def _departure_s(self) -> float:
        if self._depart_s is None:
            data = self._queue[0].data
            self._depart_s = self.schedule.finish_s(self._free_s, 8 * (FIN_BYTES if data is None else len(data)))
        return self._depart_s

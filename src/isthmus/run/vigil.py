"""Waiting awake for what is about to come.

Who sleeps on a socket is woken some 0.1 ms after the first byte is there (a halted virtual processor), and then runs
from cold caches: a server's way from the first byte to its network took 0.4 ms of functions that take 0.05 when warm.
A client that asks in a rhythm can be foreseen. Shortly before its next request is due the server stops sleeping: it
asks the socket again and again, and rehearses meanwhile what it will do. So does a client before its answer is due.

It must cost nobody anything but current. Only one thread of a process is awake for nothing at a time, no longer than
it may be (2 ms where nothing else was asked for), only where what comes was regular, never while the process computes
nor where no core is idle; and where somebody else turns out to want the core, it sleeps again, and does not try for a
good while.
"""

from __future__ import annotations

import logging
import math
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from isthmus.run.cores import CORES
from isthmus.run.types import AWAKE_S

T = TypeVar("T")
_log = logging.getLogger(__name__)

NUDGED_S = 0.0005
"""So long at most for what was said to follow within a moment."""
_KEPT, _FEWEST = 8, 3
"""Waits remembered, and how many there must be."""
_EARLY = 0.01
"""By this share of a wait earlier, and later, than was seen."""
_REHEARSE_EVERY_S = 1e-3
_TAKEN = 0.8
"""Less of the processor than this, and somebody else wants it."""
_SWITCHING_S = 5e-5
"""Other threads of the process get the interpreter this soon from the one that is awake, not after 5 ms as usual."""
_REST, _LONGEST_REST = 8, 1024
"""Messages that are slept through after that; twice as many each time."""
_one = threading.Lock()
"""Held by the thread of this process that waits awake."""


def _not_at_all() -> None:
    """Rehearses nothing."""


class Rhythm:
    """How long one waits for the next message, from the waits before.

    >>> rhythm = Rhythm(0.02)
    >>> for wait_s in (0.100, 0.102, 0.099, 0.101):
    ...     rhythm.note(wait_s)
    >>> begin_s, end_s = rhythm.window()
    >>> begin_s < 0.100 < 0.102 < end_s
    True
    >>> rhythm.note(3.0)
    >>> rhythm.note(0.020)
    >>> rhythm.window() is None
    True
    """

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._waits: deque[float] = deque(maxlen=_KEPT)

    def note(self, wait_s: float) -> None:
        """So long it was."""
        self._waits.append(wait_s)

    def window(self) -> tuple[float, float] | None:
        """From when to when to be awake, in seconds of waiting: from shortly before the least of the waits remembered,
        or all the time where they are short. None where they differ so much that half of them would be missed. Of eight
        waits, one may have been shorter and one longer."""
        if len(self._waits) < _FEWEST:
            return None
        waits = sorted(self._waits)
        least, most = (waits[0], waits[-1]) if len(waits) < _KEPT else (waits[1], waits[-2])
        begin, end = least * (1 - _EARLY), most * (1 + _EARLY)
        if end <= self._most_s:
            begin = 0.0
        return (begin, begin + self._most_s) if end - begin <= 2 * self._most_s else None


class Vigil:
    """The waits on one socket, by one thread at a time; nobody is awake for longer than `most_s`.

    `idle()`: whether this process has nothing else to do. `rehearse()` does what will be done with a message, and
    leaves no trace. `used()`: seconds for which this thread had a core; `spare()`: whether there is one that nobody
    else needs.
    """

    def __init__(
        self,
        peer: socket.socket,
        idle: Callable[[], bool],
        rehearse: Callable[[], object],
        most_s: float = AWAKE_S,
        *,
        clock: Callable[[], float] = time.perf_counter,
        used: Callable[[], float] = time.thread_time,
        spare: Callable[[], bool] | None = None,
    ) -> None:
        self._idle, self._rehearse, self._clock, self._used = idle, rehearse, clock, used
        self._spare = spare or CORES.left_to_us
        self.rhythm = Rhythm(most_s)
        self._since_s: float | None = None
        """When the wait began; None: it has not, or is over."""
        self._rest, self._next_rest = 0, _REST
        self.spared = False
        """Whether a core was to spare when the last wait began."""
        self._ready = select.poll()
        self._ready.register(peer, select.POLLIN)

    def soon(self) -> None:
        """The wait for the next message will begin, not earlier than now."""
        self._since_s = math.inf

    def begins(self) -> None:
        """It begins now."""
        self._since_s = self._clock()
        self.spared = self._spare()

    def ended(self) -> None:
        """The message is coming."""
        since, self._since_s = self._since_s, None
        if since is not None and since < math.inf:
            self.rhythm.note(self._clock() - since)

    def keep(self, receive: Callable[[], T], most_s: float = math.inf) -> T:
        """What `receive` gives, waiting at most so long. Raises BlockingIOError, as `receive` does, where there is
        nothing, or the caller had better wait as ever, asleep."""
        window = self.rhythm.window() if self._since_s is not None else None
        if window is None or self._resting():
            raise BlockingIOError
        try:
            return receive()  # it may be here, where no poll sees it
        except BlockingIOError:
            if not self._asleep_until(*window, most_s):
                raise
        if not self._idle() or not self._spare() or not _one.acquire(blocking=False):
            raise BlockingIOError
        try:
            return self._awake(receive, window[1] - window[0])
        finally:
            _one.release()

    def nudged(self, receive: Callable[[], T]) -> T:
        """As `keep`, for a message that follows within a moment, as who sends it says."""
        if not self.spared or not self._idle():
            raise BlockingIOError
        end = math.inf
        while self._clock() < end:
            try:
                return receive()
            except BlockingIOError:
                if end == math.inf:  # not here yet: time for a rehearsal
                    self._practise()
                    end = self._clock() + NUDGED_S
        raise BlockingIOError

    def _resting(self) -> bool:
        self._rest = max(0, self._rest - 1)
        return self._rest > 0

    def _asleep_until(self, begin_s: float, end_s: float, most_s: float) -> bool:
        """Whether the time to be awake has come, and nothing else before."""
        last = self._clock() + most_s
        while True:
            since, now = self._since_s, self._clock()
            if since is None or now > min(since + end_s, last):
                return False
            left = begin_s if since == math.inf else since + begin_s - now
            if left <= 0:
                return True
            if self._ready.poll(min(left, last - now) * 1e3):
                return False

    def _awake(self, receive: Callable[[], T], most_s: float) -> T:
        begun, used = self._clock(), self._used()
        rehearsed, switching_s = -math.inf, sys.getswitchinterval()
        sys.setswitchinterval(_SWITCHING_S)
        try:
            while (now := self._clock()) < begun + most_s:
                try:
                    return receive()
                except BlockingIOError:
                    pass
                if now - rehearsed >= _REHEARSE_EVERY_S:
                    if not self._idle() or self._pushed(now - begun, used):
                        break
                    self._practise()
                    rehearsed = now
        finally:
            sys.setswitchinterval(switching_s)
            pushed = self._pushed(self._clock() - begun, used)
            self._rest = self._next_rest if pushed else 0
            self._next_rest = min(_LONGEST_REST, 2 * self._next_rest) if pushed else max(_REST, self._next_rest // 2)
        raise BlockingIOError

    def _practise(self) -> None:
        try:
            self._rehearse()
        except Exception:  # noqa: BLE001 - practice must not cost a true message
            _log.exception("a rehearsal failed; there will be no other")
            self._rehearse = _not_at_all

    def _pushed(self, passed_s: float, used: float) -> bool:
        """Whether somebody else took the core meanwhile."""
        return passed_s > _REHEARSE_EVERY_S / 2 and self._used() - used < _TAKEN * passed_s

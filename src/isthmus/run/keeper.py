"""Keeps the way to the server open from a thread of its own: greets, pings, probes, and comes back after trouble."""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from isthmus.errors import IsthmusError, Refused, Remote, Unreachable
from isthmus.link.probe import MIN_SPAN_S
from isthmus.record.patience import COMPUTING_S, TICK_S
from isthmus.run.connection import Connection, Heard, Ticket
from isthmus.run.frame import CHUNK_BYTES, Kind
from isthmus.run.health import Health
from isthmus.run.replies import Came, arrival_in, rate_of

_log = logging.getLogger(__name__)

PING_WAIT_S = 1.0
PING_EVERY_S = 2.0
_ROUND_TRIPS = 16


@dataclass(frozen=True)
class Probed:
    """What a probe showed."""

    started_s: float
    ended_s: float
    size_bytes: int
    up_bps: float | None
    rtt_s: float | None


class Keeper:
    """Owns the connection. `connect` makes one, greeted; `wanted` says how many bytes to probe with now."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        clock: Callable[[], float],
        wanted: Callable[[float], int],
        probed: Callable[[Probed], None],
    ) -> None:
        self._connect, self._clock = connect, clock
        self._wanted, self._probed = wanted, probed
        self._lock = threading.Lock()
        self._health = Health(alive=False)
        self._connection: Connection | None = None
        self._leaving: list[Connection] = []
        """Over, but for answers that are still owed. The keeper's thread alone looks at it, while it runs."""
        self._trouble: Remote = Unreachable("the server has not answered yet")
        self._round_trips: deque[float] = deque(maxlen=_ROUND_TRIPS)
        self._last_ping_s = -PING_EVERY_S
        self._under_way = {True: 0, False: 0}
        """Requests: computed here, and sent."""
        self._looked_s = -math.inf
        self._missed = False
        """Whether nobody looked if a probe is wanted, for a request was under way."""
        self._again = False
        """Whether a probe has just come back, and one more look is free."""
        self._wake, self._tried, self._usable = threading.Event(), threading.Event(), threading.Event()
        self.closed = False
        """whether the session is over"""
        self.reached = False
        """whether the server was ever there"""
        self.rate_bps: float | None = None
        """What the link last showed, for the size of frames; at least so much, where it was too quick to tell."""
        self._thread = threading.Thread(target=self._run, daemon=True, name="isthmus-keeper")
        self._thread.start()

    @property
    def rtt_s(self) -> float | None:
        """Least of the latest round trips; None before the first."""
        with self._lock:
            return min(self._round_trips, default=None)

    @property
    def trouble(self) -> Remote:
        """Why nothing can be sent."""
        return self._trouble

    def line(self) -> Connection | None:
        """The connection to send on now, None while there is trouble."""
        with self._lock:
            connection = self._connection
            return connection if connection is not None and self._health.alive and connection.lost is None else None

    def wait_tried(self, timeout_s: float) -> bool:
        """Until the first attempt to reach the server has ended, either way."""
        return self._tried.wait(timeout_s)

    def wait_line(self, timeout_s: float) -> Connection:
        """The connection, waiting for it. Raises what the trouble is when the time is up, or nothing more will come."""
        left = timeout_s
        while (found := self.line()) is None:
            if left <= 0 or self.closed:
                raise self._why()
            self._usable.wait(min(left, TICK_S))
            self._usable.clear()
            left -= TICK_S
        return found

    def _why(self) -> Remote:
        if self.closed:
            return Unreachable("the session is closed")
        connection = self._connection
        return connection.lost if connection is not None and connection.lost is not None else self._trouble

    def under_way(self, *, here: bool) -> AbstractContextManager[None]:
        """While a request is under way probes wait; but not for ever where it is computed `here`. To be held until the
        chooser knows how the request went: asked before that whether a probe is wanted, it takes the request for one
        that taught nothing."""
        return _UnderWay(self, here)

    def count(self, here: bool, change: int) -> None:
        """One request more (+1) or less (-1) is under way."""
        with self._lock:
            self._under_way[here] += change
        if change < 0:
            self._make_up()

    def _make_up(self) -> None:
        """Look at once for what was not looked for, if nothing keeps from it any more."""
        if self._missed and not any(self._under_way.values()):
            self._wake.set()

    def served(self, arrival: Came) -> float | None:
        """A request was answered in time; the uplink's rate in bit/s if it showed one."""
        self._health.served()
        return self.learn(arrival)

    def learn(self, arrival: Came) -> float | None:
        """Bits per second from receiver dispersion, None where too little came to tell."""
        rate = rate_of(arrival)
        if rate is None and arrival.seconds < MIN_SPAN_S and arrival.bytes_after_first >= CHUNK_BYTES:
            # Too quick to tell how fast it was; so fast at the least, which is enough for the size of frames: without a
            # rate every payload would go in as many as on a link that nobody knows.
            self.rate_bps = max(self.rate_bps or 0.0, arrival.bytes_after_first * 8 / MIN_SPAN_S)
            return None
        self.rate_bps = rate or self.rate_bps
        return rate

    def struck(self, why: Remote, line: Connection, ticket: Ticket | None, ago_s: float = 0.0) -> None:
        """A request on `line` came to grief, or was late `ago_s` ago: nothing more is sent until the server shows
        itself again. A `ticket` still waited for is given up."""
        if ticket is not None and line.lost is None:
            line.give_up(ticket)
        with self._lock:
            if line is not self._connection:
                return  # that connection is history, and its trouble with it
            self._trouble = why
            self._health.struck(self._clock() - ago_s)
            self._usable.clear()
        self._wake.set()

    def close(self) -> None:
        """Stops for good. The connection goes first: the keeper's thread may be waiting on it."""
        self.closed = True
        self._drop()
        self._wake.set()
        self._thread.join(5.0)
        for connection in list(self._leaving):
            connection.close()

    def _run(self) -> None:
        while not self.closed:
            now, connection = self._clock(), self._connection
            self._see_off()
            try:
                if connection is None or connection.lost is not None:
                    self._reach(now)
                elif not self._health.alive:
                    self._revive(connection, now)
                else:
                    self._idle(connection, now)
            except IsthmusError as e:
                self._failed(e if isinstance(e, Remote) else Refused(str(e)))
            except Exception as e:  # noqa: BLE001 - a thread that nobody watches
                _log.exception("the keeper of a session stumbled")
                self._failed(Unreachable(f"the session stumbled: {type(e).__name__}"))
            self._wake.wait(TICK_S)
            self._wake.clear()

    def _failed(self, why: Remote) -> None:
        self._trouble = why
        self._health.tried(self._clock())
        self._usable.clear()
        self._drop()
        self._tried.set()  # last: whoever waits for it looks for the trouble

    def _reach(self, now: float) -> None:
        """A new connection, once the pause is over."""
        connection = self._connection
        if connection is not None and connection.lost is not None:
            with self._lock:
                self._trouble, self._health.alive = connection.lost, False
            self._usable.clear()
            self._detach()
            self._leaving.append(connection)
        if self._health.may_try(now):
            connection = self._connect()
            self.reached = True
            if self._attached(connection):
                self._ping(connection)
                self._up(connection)
            self._tried.set()

    def _attached(self, connection: Connection) -> bool:
        """Takes a new connection; False, and it is closed, where `close` did not wait for it."""
        with self._lock:
            if not self.closed:
                self._connection = connection
                return True
        connection.close()
        return False

    def _revive(self, connection: Connection, now: float) -> None:
        """The connection stands, but a request on it came to grief."""
        if self._health.may_try(now):
            self._ping(connection)
            self._up(connection)

    def _idle(self, connection: Connection, now: float) -> None:
        again = self._again
        busy = self._under_way[True] > 0 and not again and now < self._looked_s + COMPUTING_S
        self._missed, self._again = self._under_way[False] > 0 or busy, False
        if self._missed:
            return
        if not again:
            self._looked_s = now
        size = self._wanted(now)
        if size > 0:
            self._probe(connection, min(size, connection.welcome.max_bytes or size))
            self._again = not again  # two in a row at most, where the device computes without a pause
        elif now - self._last_ping_s >= PING_EVERY_S:
            self._ping(connection)

    def _ping(self, connection: Connection) -> None:
        took = connection.ping(PING_WAIT_S)
        self._last_ping_s = self._clock()
        with self._lock:
            self._round_trips.append(took)

    def _probe(self, connection: Connection, size_bytes: int) -> None:
        started = self._clock()
        ticket = connection.probe(size_bytes, self.rate_bps)
        # Even a very slow link gets its bytes through some day: a probe's size bounds how long that can take.
        heard: Heard = ticket.wait(PING_WAIT_S + size_bytes * 8 / 1e4)
        if heard.frame.kind is not Kind.PROBED:
            raise Refused(f"{connection.address} answered a probe with {heard.frame.kind.name}")
        rate = self.learn(arrival_in(heard.frame))
        self._wake.set()  # what it told may make another one wanted: that is looked up at once
        self._probed(Probed(started, heard.at_s, size_bytes, rate, self.rtt_s))

    def _up(self, connection: Connection) -> None:
        with self._lock:
            if connection.lost is None:
                self._health.revived(self._clock())
                self._usable.set()
                self._looked_s = -math.inf  # whether a probe is wanted now is looked up at once
                self._wake.set()

    def _see_off(self) -> None:
        """Closes the connections that are over once nobody waits on them any more."""
        done = [connection for connection in self._leaving if not connection.owes]
        self._leaving = [connection for connection in self._leaving if connection not in done]
        for connection in done:
            connection.close()

    def _drop(self) -> None:
        if (connection := self._detach()) is not None:
            connection.close()

    def _detach(self) -> Connection | None:
        with self._lock:
            connection, self._connection = self._connection, None
            self._round_trips.clear()
        return connection


class _UnderWay(AbstractContextManager[None]):
    """A request, while it is under way. Not a generator: that takes twice the steps, with cold caches."""

    __slots__ = ("_here", "_keeper")

    def __init__(self, keeper: Keeper, here: bool) -> None:
        self._keeper, self._here = keeper, here

    def __enter__(self) -> None:
        self._keeper.count(self._here, +1)

    def __exit__(self, *_: object) -> None:
        self._keeper.count(self._here, -1)

"""Who listens to a socket: a thread of its own while nobody waits, else whoever waits for an answer.

An answer that another thread reads first costs a second wake-up and the change from thread to thread: 0.1–0.2 ms of a
request when caches are cold. So the thread of a request takes the listening over while it computes the head, and the
standing one sleeps until it is needed again.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator

from isthmus.run.sockets import Inbox, Message, Room, be_patient

_LOOK_S = 0.25
"""So long after the last request the standing thread listens again, and a server that leaves is noticed: in a run of
requests it need not be sent away each time."""
_LONGEST_WAIT_S, _SHORTEST_WAIT_S = 3600.0, 1e-6


class Ear:
    """`needed()` tells whether somebody waits for an answer without listening himself."""

    def __init__(self, peer: socket.socket, longest: int, needed: Callable[[], bool]) -> None:
        self._inbox, self.needed = Inbox(peer, longest), needed
        self._socket = peer
        self._turn = threading.Lock()
        """Whoever holds it listens."""
        self._lock = threading.Lock()
        self._gate = threading.Condition(self._lock)
        self._poked, self._poke = socket.socketpair()
        self._poke.setblocking(False)
        self._both = select.poll()
        self._both.register(peer, select.POLLIN)
        self._both.register(self._poked, select.POLLIN)
        self._attending = 0
        self._attended_s = -_LOOK_S
        self._standing = self._over = False

    def watch(self, coming: Callable[[int], None], room: Callable[[], Room | None]) -> None:
        """See `Inbox.coming` and `Inbox.room`."""
        self._inbox.coming, self._inbox.room = coming, room

    def attend(self, change: int) -> None:
        """One more (+1) or less (-1) will soon wait for an answer: the standing thread makes way, or may come back."""
        with self._lock:
            self._attending += change
            self._attended_s = time.monotonic()
            displaced = change > 0 and self._standing
        if displaced:
            with contextlib.suppress(OSError):
                self._poke.send(b"!")

    def stand(self) -> Iterator[Message]:
        """What comes while nobody else listens, for the standing thread; ends with the stream. Raises OSError and
        BadFrame."""
        while True:
            with self._gate:
                while self._expected() and not self._over and (self._turn.locked() or not self.needed()):
                    self._gate.wait(_LOOK_S)
            with self._turn:  # kept until the message is delivered: whoever listens next must find it so
                message = self._stand_once()
                if message:
                    yield message
            if message is None:
                return

    def take_turn(self) -> bool:
        """Whether the caller listens from now on; then it calls `hear`, and `leave` at the end."""
        return self._turn.acquire(blocking=False)

    def hear(self, timeout_s: float) -> Message | None:
        """The next message, None when the time is up. Raises EOFError at the end of the stream, OSError, BadFrame."""
        end = time.monotonic() + timeout_s
        first: int = socket.MSG_DONTWAIT
        while True:
            try:
                message = self._inbox.take(socket.MSG_DONTWAIT, first=first)
            except BlockingIOError:
                left = min(_LONGEST_WAIT_S, end - time.monotonic())
                if left < _SHORTEST_WAIT_S:
                    return None
                # The receiving itself waits: whoever is woken holds what came, a system call earlier.
                be_patient(self._socket, left)
                first = 0
                continue
            if message is None:
                raise EOFError
            return message

    def leave(self) -> None:
        """The caller listens no more; the standing thread does if somebody still waits."""
        self._turn.release()
        if self.needed():  # whoever found the turn taken was counted before
            with self._gate:
                self._gate.notify()

    def end(self) -> None:
        """The stream is over, or soon will be: the standing thread shall see to it."""
        self._over = True
        with self._gate:
            self._gate.notify()

    @contextlib.contextmanager
    def last(self) -> Iterator[None]:
        """Nobody listens while this is held, nor will after it."""
        with self._turn:
            yield
        self._poke.close()
        self._poked.close()

    def _expected(self) -> bool:
        """Whether somebody will listen for himself soon, most likely."""
        return self._attending > 0 or time.monotonic() - self._attended_s < _LOOK_S

    def _stand_once(self) -> Message | None:
        """A message, an empty one when this thread has to make way, None at the end."""
        self._standing = True
        try:
            while True:
                try:
                    return self._inbox.take(socket.MSG_DONTWAIT)
                except BlockingIOError:
                    ready = dict(self._both.poll())
                if self._poked.fileno() in ready:
                    self._poked.recv(64)
                    return b""
        finally:
            self._standing = False

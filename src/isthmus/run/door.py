"""The server's one port. Our own clients speak frames on the bare socket; whoever speaks HTTP/2 is led to gRPC.

One port, because it is the one that people open, forward, shape and measure. A client is told apart by its first four
bytes. What is for gRPC is copied to and from a port on the loopback, which costs those clients some 0.1 ms a request,
and ours nothing.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator

from isthmus.run.sockets import MAGIC, Inbox, Message, Octets, hang_up, send, tune

_HTTP2 = b"PRI "
_FIRST_WORD_S = 10.0
"""All four bytes, in however many pieces."""
_PIECE = 256 << 10
_log = logging.getLogger(__name__)


class Door:
    """Listens on `listening` and serves everyone who comes, each in a thread of its own, `most` at a time; at most
    `theirs` of them speak HTTP/2, so that they never take all the room.

    `converse(messages, say, hang_up)` talks to a client of ours, to whom `say(*parts)` says one message; `inner` opens
    a connection to gRPC.
    """

    def __init__(
        self,
        listening: socket.socket,
        *,
        converse: Callable[[Iterator[Message], Callable[..., None], Callable[[], None]], None],
        inner: Callable[[], socket.socket],
        longest: int,
        most: int,
        theirs: int,
    ) -> None:
        self._listening, self._converse, self._inner = listening, converse, inner
        self._longest, self._most, self._most_theirs = longest, most, theirs
        self._closed = False
        self._left = threading.Condition()
        self._new: set[socket.socket] = set()
        """Those who have not said yet what they are."""
        self._ours: set[socket.socket] = set()
        self._theirs: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True, name="isthmus-door").start()

    def close(self) -> None:
        """No new clients; those inside may stay."""
        self._closed = True
        hang_up(self._listening)

    def clear(self, grace_s: float) -> None:
        """Waits until our own clients have left, at most `grace_s`; then everyone is put out."""
        with self._left:
            self._left.wait_for(lambda: not self._ours, grace_s)
            peers = [*self._new, *self._ours, *self._theirs]
        for peer in peers:
            hang_up(peer)

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listening.accept()
            except OSError as e:
                if self._closed:
                    return
                _log.warning("a client could not be let in: %s", e)  # too many open files, most likely
                threading.Event().wait(0.1)
                continue
            with self._left:
                full = len(self._new) + len(self._ours) + len(self._theirs) >= self._most
            if full:
                hang_up(peer)
                continue
            try:
                threading.Thread(target=self._serve, args=(peer,), daemon=True, name="isthmus-client").start()
            except RuntimeError as e:  # this process may have no more threads; some will end
                hang_up(peer)
                _log.warning("a client could not be let in: %s", e)

    def _serve(self, peer: socket.socket) -> None:
        try:
            self._let_in(peer)
        except RuntimeError as e:  # one more thread was needed
            _log.warning("a client could not be served: %s", e)
        finally:
            hang_up(peer)

    def _let_in(self, peer: socket.socket) -> None:
        """To whom it wants to speak, until it leaves; what says neither goes at once."""
        word = b""
        with self._inside(peer, self._new), contextlib.suppress(OSError):
            tune(peer)
            word = _first_word(peer)
        if word == _HTTP2:
            with self._inside(peer, self._theirs):
                if len(self._theirs) <= self._most_theirs:
                    self._lead(peer)
        elif word == MAGIC:
            with self._inside(peer, self._ours):
                self._talk(peer)

    def _talk(self, peer: socket.socket) -> None:
        sending = threading.Lock()

        def say(*parts: Octets) -> None:
            if not parts:
                return
            try:
                with sending:
                    send(peer, *parts)
            except OSError:
                hang_up(peer)  # the client is gone, and its answers are nobody's

        with contextlib.suppress(OSError):
            self._converse(Inbox(peer, self._longest, stamped=True), say, lambda: hang_up(peer))

    def _lead(self, peer: socket.socket) -> None:
        """Copies both ways until either side ends."""
        with contextlib.suppress(OSError), self._inner() as inner:
            back = threading.Thread(target=_copy, args=(inner, peer), daemon=True, name="isthmus-copy")
            back.start()
            inner.sendall(_HTTP2)
            _copy(peer, inner)
            back.join()

    @contextlib.contextmanager
    def _inside(self, peer: socket.socket, where: set[socket.socket]) -> Iterator[None]:
        with self._left:
            where.add(peer)
        try:
            yield
        finally:
            with self._left:
                where.discard(peer)
                self._left.notify_all()


def _first_word(peer: socket.socket) -> bytes:
    """The first four bytes, in however many pieces they come; fewer where they cannot become a word that is known, or
    the client leaves. Raises OSError for one that takes long over it."""
    word, end = b"", time.monotonic() + _FIRST_WORD_S
    while len(word) < len(MAGIC) and (MAGIC.startswith(word) or _HTTP2.startswith(word)):
        # with a timeout, MSG_WAITALL waits for the first piece only; none at all would be "do not wait"
        peer.settimeout(max(1e-3, end - time.monotonic()))
        piece = peer.recv(len(MAGIC) - len(word))
        if not piece:
            break
        word += piece
    peer.settimeout(None)
    return word


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Everything from one to the other; then the other is told that there is no more, and both ends let go."""
    room = bytearray(_PIECE)
    view = memoryview(room)
    with contextlib.suppress(OSError):
        while size := source.recv_into(room):
            sink.sendall(view[:size])
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)

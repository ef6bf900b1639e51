"""The client's side of the fast path: one live stream to one server, from the greeting until it breaks."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Sequence

from isthmus.errors import IsthmusError, Refused, Remote, Unreachable
from isthmus.run.codecs import RAW
from isthmus.run.frame import SOON, Kind, Parcel, Parts, read_header, unpack
from isthmus.run.heads import Head, Request, request_header
from isthmus.run.letter import Letter, written
from isthmus.run.replies import Came, outputs_of, parts_of, said_in
from isthmus.run.sockets import Message, Octets
from isthmus.run.split_pb2 import Hello, Probe, Refusal, Welcome
from isthmus.run.ticket import Heard, Ticket
from isthmus.run.transport import Transport

_HEADER_BYTES = 1 << 20
"""A server's headers may be long (many outputs); still bounded."""
_REHEARSED_BYTES = 64 << 10
"""Of an answer that is read once more for practice."""
_UNASKED = 64
"""A server that does not nudge back cannot use it: he is asked again after so many requests."""
_AT_ONCE = 2
"""Frames handed over together."""


class Connection:
    """One stream. Requests of several threads may be under way at once; answers find theirs by id.

    `pace`, called with the size of every frame before it goes out, may sleep: a link that is made slow on purpose.
    `on_late` hears answers to requests that were given up: too late to be used, not too late to be learnt from.
    `awake_s`: how long an answer that is about to come may be waited for awake.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        clock: Callable[[], float],
        pace: Callable[[int], None] | None = None,
        on_late: Callable[[Heard], None] | None = None,
        awake_s: float = 0.0,
    ) -> None:
        self.address = transport.address
        self._transport = transport
        self._clock, self._pace, self._on_late = clock, pace, on_late
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._tickets: dict[int, Ticket] = {}
        self._lost: Remote | None = None
        self._first: tuple[float, int] | None = None
        """When the message that is coming in began, and how much of it was here then."""
        self._latest: bytes | None = None
        """The latest answer, where it was short."""
        transport.watch(self._coming, self._rehearse, awake_s)
        self.welcome = Welcome()
        """what the server said of itself; empty before the greeting"""
        self._said: tuple[tuple[tuple[object, ...], int], bytes] = ((), 0), b""
        """What the last request announced, the bytes of it, and its header: most often those of the next."""
        self._nudge = [transport.wrap(len(SOON)) + SOON]
        self._nudges, self._unasked = False, 0
        """Whether to nudge the server before the next request; for how many he is left alone."""
        self._letters: list[Letter] = []
        """The next request, where it is written already: one at most."""
        self._outbox: queue.SimpleQueue[Parcel | None] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self._begun: Iterator[Parts] | None = None
        """Frames of a parcel whose first went out from the thread of its request."""
        threading.Thread(target=self._read, daemon=True, name="isthmus-answers").start()

    def greet(self, hello: Hello, timeout_s: float) -> Welcome:
        """Agree on protocol, model and clips. Raises Refused, Unreachable or Late."""
        heard = self._post(Kind.HELLO, hello.SerializeToString(), (), None).wait(timeout_s)
        self.welcome = read_header(Welcome, heard.frame)
        return self.welcome

    def nudge(self) -> None:
        """Wakes the server, for a request follows at once: what it takes to write one it uses to get ready. Does
        nothing where that was not found worth while when the last request ended, or something else is being sent."""
        if self._nudges and self._outbox.empty() and self._sending.acquire(blocking=False):
            try:
                if self._begun is None and self._transport.offer(self._nudge) is False:
                    self._leave_rest(iter(()))
            finally:
                self._sending.release()

    def prepare(self, rate_bps: float | None, *, near: bool = False) -> None:
        """Writes the next request, as far as it is known if it is like the last one: now, while nobody waits. It is
        worth while to wake the server before it where he is `near`, and either machine has a core to spare."""
        if self._nudges:
            self._unasked = 0 if self._transport.nudged() else _UNASKED
        self._unasked -= 1
        self._nudges = near and self._unasked < 0 and self._pace is None and self._transport.spared
        (said, total), header = self._said
        if total and self._pace is None:
            parcel = Parcel(Kind.ASK, next(self._ids), header, (), rate_bps)
            letter = written(said, Ticket(parcel, self._listen), total, self._transport.wrap)
            self._letters = [letter] if letter is not None else []

    def ask(
        self, cut: str, batch: int, heads: Sequence[Head], payloads: Sequence[bytes | memoryview],
        rate_bps: float | None,
    ) -> Ticket:  # fmt: skip
        """Sends a request; `rate_bps` is what the link last showed, for the size of the frames."""
        total = sum(map(len, payloads))
        letter = self._letter()
        if letter is not None and letter.total_bytes == total and letter.said == (cut, batch, heads):
            letter.ticket.parcel.pieces = payloads
            return self._hand_over(letter.ticket, letter.holding(payloads[0]) if len(payloads) == 1 else None)
        (said, size), header = self._said
        if said != (cut, batch, heads) or size != total:
            header = request_header(Request(cut, batch, total, tuple(heads)))
            self._said = ((cut, batch, heads), total), header
        return self._post(Kind.ASK, header, payloads, rate_bps)

    def _letter(self) -> Letter | None:
        """The letter that is written, for one request only."""
        try:
            return self._letters.pop()
        except IndexError:
            return None

    def probe(self, size_bytes: int, rate_bps: float | None) -> Ticket:
        """Sends bytes that mean nothing, to be told how they came in."""
        header = Probe(total_bytes=size_bytes).SerializeToString()
        return self._post(Kind.PROBE, header, (bytes(size_bytes),), rate_bps)

    def ping(self, timeout_s: float) -> float:
        """Round trip in seconds behind whatever is being sent. Raises Late or Unreachable."""
        sent = self._clock()
        return self._post(Kind.PING, b"", (), None).wait(timeout_s).at_s - sent

    def attend(self, change: int) -> None:
        """A request that will wait for its answer has begun (+1) or ended (-1)."""
        self._transport.attend(change)

    def give_up(self, ticket: Ticket) -> None:
        """The answer is no longer wanted: what was not sent stays here, and the server is told."""
        ticket.parcel.dropped = True
        with self._lock:
            self._tickets.pop(ticket.parcel.id, None)
        self._outbox.put(Parcel(Kind.CANCEL, ticket.parcel.id, b"", ()))

    @property
    def lost(self) -> Remote | None:
        """Why this connection is over; None while it lives."""
        return self._lost

    def close(self) -> None:
        """Ends the stream; waiting requests hear Unreachable."""
        self._fail(Unreachable("the session was closed"))
        self._outbox.put(None)
        self._transport.close()

    def _post(self, kind: Kind, header: bytes, pieces: Sequence[bytes | memoryview], rate_bps: float | None) -> Ticket:
        return self._hand_over(Ticket(Parcel(kind, next(self._ids), header, pieces, rate_bps), self._listen))

    def _hand_over(self, ticket: Ticket, whole: list[Octets] | None = None) -> Ticket:
        """Sends a ticket's parcel; `whole` is all of it as it is on the wire, where that is made already."""
        parcel = ticket.parcel
        with self._lock:
            if self._lost is not None:
                raise self._lost
            self._tickets[parcel.id] = ticket
        if not self._sent_at_once(parcel, whole):
            self._outbox.put(parcel)
        return ticket

    def _sent_at_once(self, parcel: Parcel, whole: list[Octets] | None) -> bool:
        """Sends from the thread of the request as far as the link takes it at once (on a fast link, all of it:
        a thread switch less). False where something else is being sent, or must be sent by the other thread."""
        if self._pace is not None or not self._outbox.empty() or not self._sending.acquire(blocking=False):
            return False
        try:
            if self._begun is not None:
                return False
            frames = parcel.frames() if whole is None else iter(())
            some = whole or self._wrapped(frames)
            while some:
                taken = self._transport.offer(some)
                if taken is None:
                    return False
                if not taken:
                    self._leave_rest(frames)
                    break
                some = self._wrapped(frames)
        finally:
            self._sending.release()
        return True

    def _leave_rest(self, frames: Iterator[Parts]) -> None:
        """What was begun and could not be sent at once is the other thread's."""
        self._begun = frames
        self._outbox.put(Parcel(Kind.PING, 0, b"", (), dropped=True))  # only to wake it

    def _wrapped(self, frames: Iterator[Parts]) -> list[Octets]:
        """The next frames as they are on the wire, together: a system call less."""
        whole = list[Octets]()
        for frame in itertools.islice(frames, _AT_ONCE):
            parts = tuple(frame)
            whole += (self._transport.wrap(sum(map(len, parts))), *parts)
        return whole

    def _messages(self) -> Iterator[Parts]:
        """What the sending thread of the transport takes, one frame at a time as the link accepts them."""
        while (parcel := self._outbox.get()) is not None:
            with self._sending:
                begun, self._begun = self._begun, None
                if begun is not None:
                    yield ()  # the rest of the frame that was begun
                    yield from begun
                if not parcel.dropped:
                    yield from self._paced(parcel)

    def _paced(self, parcel: Parcel) -> Iterator[Parts]:
        for frame in parcel.frames():
            if self._pace is not None:
                self._pace(sum(map(len, frame)))
            yield frame

    def _listen(self, heard: Callable[[], bool], timeout_s: float, foreseen: bool) -> None:
        """Reads in the thread of a request until it has its answer, where no other thread reads."""
        try:
            self._transport.listen(self._deliver, heard, timeout_s, foreseen)
        except IsthmusError as e:
            self._fail(self._lost_by(e))

    def _read(self) -> None:
        lost: Remote = Unreachable(f"{self.address} ended the stream")
        try:
            for message in self._transport.talk(self._messages(), lambda: bool(self._tickets)):
                self._deliver(message)
        except IsthmusError as e:
            lost = self._lost_by(e)
        finally:  # whatever happened, nobody may wait for this thread any longer
            self._fail(lost)
            self._outbox.put(None)

    def _lost_by(self, why: IsthmusError) -> Remote:
        if isinstance(why, Remote):
            return why
        return Unreachable(f"{self.address} answers, but not as an isthmus server does: {why}")

    def _coming(self, first_bytes: int) -> None:
        self._first = self._clock(), first_bytes

    def _deliver(self, message: Message) -> None:
        first, self._first = self._first, None
        heard = Heard(unpack(message, _HEADER_BYTES), self._clock())
        if first is not None:
            size = sum(map(len, message)) if isinstance(message, tuple) else len(message)
            heard = heard._replace(spread=Came(size - first[1], heard.at_s - first[0], size))
        frame = heard.frame
        if frame.kind is Kind.BYE:
            self._lost = Unreachable(f"{self.address} is closing")  # what is under way will still be answered
            return
        with self._lock:
            ticket = self._tickets.pop(frame.id, None)
        if ticket is not None:
            if frame.kind is Kind.REPLY and isinstance(message, bytes) and len(message) <= _REHEARSED_BYTES:
                self._latest = message
            ticket.put(heard)
        elif frame.id == 0 and frame.kind is Kind.REFUSAL:
            self._fail(Refused(read_header(Refusal, frame).reason))
        elif self._on_late is not None:
            self._on_late(heard)

    def _rehearse(self) -> None:
        """Reads the latest answer once more, as it was read."""
        message = self._latest
        if message is None:
            return
        heard = Heard(unpack(message, _HEADER_BYTES), self._clock())
        ticket = Ticket(Parcel(Kind.PING, 0, b"", ()), lambda *_: None)
        with self._lock:
            self._tickets.pop(0, None)
        ticket.put(heard)
        frame = ticket.wait(0.0).frame
        said_in(frame)
        heads = [head for head, _ in parts_of(frame)]
        if all(head.codec == RAW for head in heads):
            outputs_of(frame, tuple(head.name for head in heads))

    def _fail(self, why: Remote) -> None:
        with self._lock:
            self._lost = self._lost or why
            tickets, self._tickets = list(self._tickets.values()), {}
        for ticket in tickets:
            ticket.parcel.dropped = True
            ticket.put(why)

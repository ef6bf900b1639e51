"""The client's side of the fast path: one live stream to one server, from the greeting until it breaks."""

from __future__ import annotations

import itertools
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from isthmus.errors import BadFrame, BadInput, Full, IsthmusError, Late, Refused, Remote, Unreachable
from isthmus.run.expected import Expected
from isthmus.run.frame import Frame, Kind, Parcel, Parts, in_two, most_chunk_bytes, read_header
from isthmus.run.heads import Head, Request, request_header
from isthmus.run.replies import Came
from isthmus.run.sockets import Message, Octets, framed
from isthmus.run.split_pb2 import Hello, Probe, Refusal, Welcome
from isthmus.run.transport import Transport

_HEADER_BYTES = 1 << 20
"""A server's headers may be long (many outputs); still bounded."""
_UNASKED = 64
"""Frames that may come although nobody waits for them; `_AFTERWARDS` more for each request that is given up."""
_AFTERWARDS = 2
"""The answer that was under way, and the word that it is given up there too."""
_ASK, _REFUSAL = Kind.ASK, Kind.REFUSAL
_AT_ONCE = 2
"""Frames handed over together."""


class Heard(NamedTuple):
    """A frame from the server and when it was here; `spread`: how it came in, where it came in pieces."""

    frame: Frame
    at_s: float
    spread: Came | None = None


class Ticket:
    """Waits for the server's word on one request."""

    def __init__(self, parcel: Parcel, listen: Callable[[Callable[[], bool], float], None]) -> None:
        self.parcel = parcel
        self._listen = listen
        self._word: Heard | Remote | None = None
        self._silence: threading.Lock | None = None
        """Held until there is a word, where one waits for what another thread reads."""

    def put(self, word: Heard | Remote) -> None:
        """What came, or why nothing will; once."""
        self._word = word
        if self._silence is not None:
            self._silence.release()

    def wait(self, timeout_s: float) -> Heard:
        """The server's frame. Raises Late after `timeout_s`, Refused when it said no, Unreachable when it was lost."""
        end = time.monotonic() + timeout_s
        self._listen(self._heard, timeout_s)
        if self._word is None:  # another thread listens
            self._wait_for_another(end)
        word = self._word
        if word is None:
            raise Late(f"no answer within {timeout_s * 1e3:.0f} ms of sending")
        if isinstance(word, Remote):
            raise word
        if word.frame.kind is _REFUSAL:
            raise _refused(word.frame)
        return word

    def _wait_for_another(self, end: float) -> None:
        """Until a word is put or the time is up. The lock is there before it is looked whether there is a word: whoever
        puts one does so before he looks for the lock."""
        if self._silence is None:
            silence = threading.Lock()
            silence.acquire()
            self._silence = silence
        if self._word is None:
            self._silence.acquire(timeout=min(threading.TIMEOUT_MAX, max(0.0, end - time.monotonic())))

    def _heard(self) -> bool:
        return self._word is not None


class Connection:
    """One stream. Requests of several threads may be under way at once; answers find theirs by id.

    `pace`, called with the size of every frame before it goes out, may sleep: a link that is made slow on purpose.
    `on_late` hears answers to requests that were given up: too late to be used, not too late to be learnt from.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        clock: Callable[[], float],
        pace: Callable[[int], None] | None = None,
        on_late: Callable[[Heard], None] | None = None,
    ) -> None:
        self.address = transport.address
        self._transport = transport
        self._clock, self._pace, self._on_late = clock, pace, on_late
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._tickets: dict[int, Ticket] = {}
        self._unasked_left = _UNASKED
        self._lost: Remote | None = None
        self._first: tuple[float, int] | None = None
        """When the message that is coming in began, and how much of it was here then."""
        self._expected = Expected()
        transport.watch(self._coming, self._expected.room)
        self.welcome = Welcome()
        """what the server said of itself; empty before the greeting"""
        self._most = most_chunk_bytes(0)
        self._said: tuple[tuple[object, ...], bytes, int, float] = (), b"", 0, math.inf
        """What the last request announced, its header, and how it goes in two frames: most often so does the next."""
        self._outbox: queue.SimpleQueue[Parcel | None] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self._begun: Iterator[Parts] | None = None
        """Frames of a parcel whose first went out from the thread of its request."""
        threading.Thread(target=self._read, daemon=True, name="isthmus-answers").start()

    def greet(self, hello: Hello, timeout_s: float) -> Welcome:
        """Agree on protocol, model and clips. Raises Refused, Unreachable or Late."""
        heard = self._post(Kind.HELLO, hello.SerializeToString(), (), None).wait(timeout_s)
        self.welcome = read_header(Welcome, heard.frame)
        self._most = most_chunk_bytes(self.welcome.max_body)
        return self.welcome

    def ask(
        self, cut: str, batch: int, heads: Sequence[Head], payloads: Sequence[bytes | memoryview],
        rate_bps: float | None,
    ) -> Ticket:  # fmt: skip
        """Sends a request; `rate_bps` is what the link last showed, for the size of the frames. Raises BadInput, and
        sends nothing, where it is larger than the server said it takes."""
        total = len(payloads[0]) if len(payloads) == 1 else sum(map(len, payloads))
        said, header, lead, two_from_bps = self._said
        if said != (cut, batch, total, heads):
            self._need_room(batch, total)
            header = request_header(Request(cut, batch, total, tuple(heads)))
            lead, two_from_bps = in_two(total, self._most)
            self._said = (cut, batch, total, heads), header, lead, two_from_bps
        two = rate_bps is not None and rate_bps >= two_from_bps and len(payloads) == 1
        return self._post(_ASK, header, payloads, rate_bps, lead if two else 0)

    def _need_room(self, batch: int, total_bytes: int) -> None:
        most = self.welcome
        if batch > most.max_batch > 0:
            raise BadInput(f"the server takes batches of up to {most.max_batch}, not {batch}")
        if total_bytes > most.max_bytes > 0:
            raise BadInput(f"the server takes requests of up to {most.max_bytes} bytes, not {total_bytes}")

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
            self._unasked_left += _AFTERWARDS
        self._outbox.put(Parcel(Kind.CANCEL, ticket.parcel.id, b"", ()))

    @property
    def lost(self) -> Remote | None:
        """Why nothing new may be asked here; None while it lives."""
        return self._lost

    @property
    def owes(self) -> bool:
        """Whether something asked is still waited for: a server that is closing answers what it has."""
        return bool(self._tickets)

    def close(self) -> None:
        """Ends the stream; waiting requests hear Unreachable."""
        self._fail(Unreachable("the session was closed"))
        self._outbox.put(None)
        self._transport.close()

    def _post(
        self, kind: Kind, header: bytes, pieces: Sequence[Octets], rate_bps: float | None, lead: int = 0
    ) -> Ticket:
        parcel = Parcel(kind, next(self._ids), header, pieces, rate_bps, self._most, lead)
        ticket = Ticket(parcel, self._listen)
        with self._lock:
            if self._lost is not None:
                raise self._lost
            self._tickets[parcel.id] = ticket
        if not self._sent_at_once(parcel):
            self._outbox.put(parcel)
        return ticket

    def _sent_at_once(self, parcel: Parcel) -> bool:
        """Sends from the thread of the request as far as the link takes it at once (on a fast link, all of it:
        a thread switch less). False where something else is being sent, or must be sent by the other thread."""
        if self._pace is not None or not self._outbox.empty() or not self._sending.acquire(False):
            return False
        try:
            if self._begun is not None:
                return False
            whole, frames = parcel.opening()  # together: a system call less
            while whole:
                taken = self._transport.offer(whole)
                if taken is None:
                    return False
                if not taken:
                    self._begun = frames
                    self._outbox.put(Parcel(Kind.PING, 0, b"", (), dropped=True))  # only to wake the other thread
                    break
                whole = framed(itertools.islice(frames, _AT_ONCE))
        finally:
            self._sending.release()
        return True

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

    def _listen(self, heard: Callable[[], bool], timeout_s: float) -> None:
        """Reads in the thread of a request until it has its answer, where no other thread reads."""
        try:
            self._transport.listen(self._deliver, heard, timeout_s)
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
        frame, at_s, spread = self._expected.frame(message, _HEADER_BYTES), self._clock(), None
        if first is not None:
            size = sum(map(len, message)) if isinstance(message, tuple) else len(message)
            spread = Came(size - first[1], at_s - first[0], size)
        heard = Heard(frame, at_s, spread)
        with self._lock:
            ticket = self._tickets.pop(frame.id, None)
        if ticket is not None:
            ticket.put(heard)
        else:
            self._deliver_unasked(heard)

    def _deliver_unasked(self, heard: Heard) -> None:
        """What nobody waits for. Raises BadFrame for a server that says too much of it."""
        frame = heard.frame
        with self._lock:
            self._unasked_left -= 1
            if self._unasked_left < 0:
                raise BadFrame(f"it sends more than {_UNASKED} frames that nobody asked for")
        if frame.kind is Kind.BYE:
            self._lost = Unreachable(f"{self.address} is closing")  # what is under way will still be answered
        elif frame.id == 0 and frame.kind is Kind.REFUSAL:
            self._fail(_refused(frame))
        elif self._on_late is not None:
            self._on_late(heard)

    def _fail(self, why: Remote) -> None:
        with self._lock:
            self._lost = self._lost or why
            tickets, self._tickets = list(self._tickets.values()), {}
        for ticket in tickets:
            ticket.parcel.dropped = True
            ticket.put(why)


def _refused(frame: Frame) -> Refused:
    """What a server's no means. Raises BadFrame where it cannot be read."""
    said = read_header(Refusal, frame)
    return (Full if said.passing else Refused)(said.reason)

"""What a server makes of the frames of one stream, as a machine without threads, clocks or network: frames and their
arrival times in, answers and complete requests out.

Nothing is allocated on a frame's word: payloads grow by the bytes that really came, and what a request may announce is
compared with the model's own shapes first. A frame that lies costs its own request, never the stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isthmus.errors import BadFrame, IsthmusError, Refused
from isthmus.run.desk import Desk
from isthmus.run.frame import MAX_BODY_BYTES, PREAMBLE, Frame, Kind, pack, read_header, request_id_of, unpack
from isthmus.run.heads import Head, Request
from isthmus.run.replies import Came
from isthmus.run.sockets import NOWHERE, Landed, Message, Told, kernel_s
from isthmus.run.split_pb2 import Arrival, Hello, Probe, Refusal, Welcome
from isthmus.run.types import PROTOCOL, Arrays, Bounds

_NOTHING = memoryview(b"")


@dataclass(slots=True)
class Job:
    """A payload coming in or complete: a request (with a cut) or a probe (without)."""

    id: int
    cut: str
    heads: Sequence[Head]
    total_bytes: int
    first_s: float
    first_bytes: int = 0
    """Here when the first frame was: what lay behind it in the kernel's room came before that moment, not after."""
    last_s: float = 0.0
    first: Told = ()
    last: Told = ()
    payload: memoryview = _NOTHING
    received_bytes: int = 0
    cancelled: bool = False
    lent: memoryview | None = None
    """The room that was given last."""
    tensors: Arrays | None = None
    """What the payload says, where that need not be read."""

    def add(self, body: memoryview, now_s: float, landed: Landed = NOWHERE) -> None:
        """The next bytes of the payload. Raises BadFrame when there are more than were announced."""
        received = self.received_bytes + len(body)
        if received > self.total_bytes:
            raise BadFrame(f"more bytes came than the {self.total_bytes} that were announced")
        if self.cut and body is not self.lent:
            self.payload[self.received_bytes : received] = body
        self.received_bytes, self.last_s, self.last = received, now_s, landed.told

    def room(self, size: int) -> memoryview | None:
        """Where the next `size` bytes of the payload belong, for `add`; None where they belong nowhere."""
        if not self.cut or self.received_bytes + size > self.total_bytes:
            return None
        self.lent = self.payload[self.received_bytes : self.received_bytes + size]
        return self.lent

    @property
    def came(self) -> Came:
        """How it came in so far."""
        return Came(*self.arrival())

    def arrival(self) -> tuple[int, float, int]:
        """The same in a step less: bytes after the first, seconds, bytes. By the kernel's clock where it told: a thread
        that was woken late finds everything at once, and would take a slow link for a fast one."""
        after = self.received_bytes - self.first_bytes
        if after <= 0:
            return 0, 0.0, self.received_bytes
        first_s, last_s = kernel_s(self.first), kernel_s(self.last)
        if first_s is None or last_s is None:
            first_s, last_s = self.first_s, self.last_s
        return after, last_s - first_s if last_s > first_s else 0.0, self.received_bytes


class Intake:
    """One stream's state: greeted or not, the payload that is coming in, the requests not yet answered."""

    def __init__(self, desk: Desk, hello: Welcome) -> None:
        self._desk = desk
        self._bounds: Bounds = desk.bounds
        self._welcome = hello
        self._greeted = self._may_ask = False
        self._open: Job | None = None
        self._pending: dict[int, Job] = {}

    def feed(self, message: Message, now_s: float, landed: Landed = NOWHERE) -> list[bytes | Job]:
        """Answers to send at once and requests to compute, in this order, for one stream message."""
        try:
            if isinstance(message, tuple) and (job := self._open) is not None and job.lent is message[1]:
                return self._more(job.id, message[1], now_s, landed)  # part of a payload, where `place` gave room
            return self._take(unpack(message, self._bounds.header_bytes), now_s, landed)
        except IsthmusError as e:
            request_id = request_id_of(message)
            if self._open is not None and self._open.id == request_id:
                self._open = None
            self._desk.count("refused")
            return [refusal(request_id, str(e))]

    def place(self, first: memoryview, size: int) -> tuple[bytes, memoryview] | None:
        """Where the body of a long frame that begins so shall be received: the payload it is part of (see
        `sockets.Inbox`)."""
        if self._open is None or len(first) < PREAMBLE.size:
            return None
        kind, request_id, header_bytes = PREAMBLE.unpack_from(first)
        if kind != Kind.CHUNK or request_id != self._open.id or header_bytes:
            return None
        room = self._open.room(size - PREAMBLE.size)
        return None if room is None else (bytes(first[: PREAMBLE.size]), room)

    @property
    def greeted(self) -> bool:
        """Whether a greeting was taken."""
        return self._greeted

    @property
    def idle(self) -> bool:
        """Whether requests may come and none is here, in part or waiting for its answer."""
        return self._may_ask and self._open is None and not self._pending

    def known(self, header: bytes) -> Request | None:
        """What an ASK frame with this header announces, if one like it was admitted."""
        return self._desk.known(header)

    def took(self, job: Job) -> None:
        """A request like one that was admitted is here, whole, without `feed`."""
        self._pending[job.id] = job

    def finished(self, job: Job) -> None:
        """The job was answered, or will not be."""
        self._pending.pop(job.id, None)

    def _take(self, frame: Frame, now_s: float, landed: Landed) -> list[bytes | Job]:
        kind = frame.kind
        if not self._greeted and kind is not Kind.HELLO:
            raise Refused("a stream begins with a HELLO frame")
        if kind is Kind.CHUNK:
            return self._more(frame.id, frame.body, now_s, landed)
        if kind is Kind.ASK or kind is Kind.PROBE:
            return self._begin(frame, now_s, landed)
        if kind is Kind.HELLO:
            return [self._greet(frame)]
        if frame.kind is Kind.CANCEL:
            return self._cancel(frame)
        if frame.kind is Kind.PING:
            return [pack(Kind.PONG, frame.id)]
        raise BadFrame(f"a {frame.kind.name} frame does not come from a client")

    def _greet(self, frame: Frame) -> bytes:
        hello, mine = read_header(Hello, frame), self._welcome
        if hello.protocol != mine.protocol:
            raise Refused(f"the server speaks version {mine.protocol} of the protocol, the client {hello.protocol}")
        self._may_ask = bool(hello.fingerprint)
        if self._may_ask and hello.fingerprint != mine.fingerprint:
            raise Refused(
                f"the server holds another model: {mine.model} {mine.fingerprint[:12]}, "
                f"not {hello.model[:80]} {hello.fingerprint[:12]}"
            )
        if self._may_ask and hello.clips != mine.clips:
            raise Refused("client and server hold different clips or pictures; open the same bundle on both sides")
        if self._may_ask and hello.exits and hello.exits != mine.exits:
            held = "another table of exits" if mine.exits else "no table of exits"
            raise Refused(f"the server holds {held} and would not stop where the client does; open the same bundle")
        self._greeted = True
        return pack(Kind.WELCOME, frame.id, mine.SerializeToString())

    def _begin(self, frame: Frame, now_s: float, landed: Landed) -> list[bytes | Job]:
        self._open = None  # a payload that was broken off is forgotten
        if frame.kind is Kind.ASK:
            if not self._may_ask:
                raise Refused("a client that names no model may probe, not ask")
            ask = self._desk.admit(frame.header)
            if self._pending:
                self._need_room(frame.id, ask.total_bytes)
            job = Job(frame.id, ask.cut, ask.heads, ask.total_bytes, now_s)
            # The model's own shapes bound it, and its pages become memory one by one as bytes come.
            job.payload = np.empty(ask.total_bytes, np.uint8).data
        else:
            total = read_header(Probe, frame).total_bytes
            if total > self._bounds.message_bytes:
                raise BadFrame(f"a probe of {total} bytes is announced; this server takes {self._bounds.message_bytes}")
            job = Job(frame.id, "", (), total, now_s)
        job.first_bytes, job.first = min(job.total_bytes, len(frame.body) + landed.ahead), landed.told
        self._open = job
        return self._more(frame.id, frame.body, now_s, landed)

    def _need_room(self, request_id: int, size: int) -> None:
        """Raises Refused where the requests that wait leave no room for one more."""
        jobs = list(self._pending.values())  # in one step: whoever computes takes away what is answered
        waiting = sum(len(j.payload) for j in jobs) + size
        if request_id in self._pending or waiting > self._bounds.message_bytes:
            raise Refused(f"request {request_id} is one too many: {len(jobs)} of this stream are waiting")

    def _more(self, request_id: int, body: memoryview, now_s: float, landed: Landed) -> list[bytes | Job]:
        job = self._open
        if job is None or job.id != request_id:
            return []  # the rest of a request that was refused or cancelled
        job.add(body, now_s, landed)
        if job.received_bytes < job.total_bytes:
            return []
        self._open = None
        if not job.cut:
            return [_arrival(Kind.PROBED, job)]
        self._pending[job.id] = job
        return [job]

    def _cancel(self, frame: Frame) -> list[bytes | Job]:
        """Answered with what had come in by then: a request that broke down tells most about the link."""
        job = self._open if self._open is not None and self._open.id == frame.id else self._pending.get(frame.id)
        if job is None:
            return []
        if job is self._open:
            self._open = None
        job.cancelled = True
        self._desk.count("cancelled")
        return [_arrival(Kind.CANCELLED, job)]


def _arrival(kind: Kind, job: Job) -> bytes:
    """The frame that tells how a payload came in."""
    return pack(kind, job.id, Arrival(**job.came._asdict()).SerializeToString())


def refusal(request_id: int, reason: str, *, passing: bool = False) -> bytes:
    """The frame that says no; `passing`: for now, it may be asked again."""
    return pack(Kind.REFUSAL, request_id, Refusal(reason=reason[:500], passing=passing).SerializeToString())


def welcome(model: str, fingerprint: str, clips: str, exits: str, cuts: Sequence[str], bounds: Bounds) -> Welcome:
    """What a server says of itself. The list of ready cuts ends where the header would grow too long."""
    listed, left = [], bounds.header_bytes // 2
    for cut in cuts:
        left -= len(cut.encode()) + 8
        if left < 0:
            break
        listed.append(cut)
    return Welcome(
        protocol=PROTOCOL,
        model=model,
        fingerprint=fingerprint,
        clips=clips,
        exits=exits,
        cuts=listed,
        max_batch=bounds.batch,
        max_bytes=bounds.message_bytes,
        heads=True,
        max_body=MAX_BODY_BYTES,
    )

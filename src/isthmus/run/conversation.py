"""The server's side of the fast path with one client: two threads that take turns at reading.

Whoever reads a request to its end computes and answers it, while the other reads on: a request never waits for a thread
to wake up, and computing never blurs the arrival times of what comes next. One request of a client is computed at a
time; those that come meanwhile wait in line.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from isthmus.errors import IsthmusError, Refused
from isthmus.run.again import Again
from isthmus.run.desk import Desk, Done
from isthmus.run.frame import Kind, Parts, pack
from isthmus.run.intake import Intake, Job, refusal
from isthmus.run.replies import Replies
from isthmus.run.sockets import NOWHERE, Inbox, Message
from isthmus.run.split_pb2 import Welcome

_log = logging.getLogger(__name__)


class Conversation:
    """`messages` is what the client says, one by one; `say(*parts)` sends something back (no parts: nothing) and
    `hang_up` ends it for both sides (`messages` too). Neither raises, and `say` may be called by several threads at
    once."""

    def __init__(
        self,
        desk: Desk,
        welcome: Welcome,
        messages: Iterator[Message],
        *,
        say: Callable[..., None],
        hang_up: Callable[[], None],
    ) -> None:
        self._desk, self._messages = desk, messages
        self._say, self._hang_up = say, hang_up
        self._intake = Intake(desk, welcome)
        self._inbox = messages if isinstance(messages, Inbox) else None
        if self._inbox is not None:
            self._inbox.place = self._intake.place
        self._again = Again(self._inbox, self._intake, desk.codecs, desk.clock) if self._inbox is not None else None
        self._replies = Replies()
        self._reading, self._lock = threading.Lock(), threading.Lock()
        self._line: deque[Job] = deque()
        self._computing = self._ending = self._over = False

    def greeting(self) -> Sequence[bytes | Job]:
        """Reads up to a greeting that is taken: what is to be said to it. Nothing where the client leaves before."""
        while (message := self._message()) is not None:
            answers = self._intake.feed(message, self._desk.clock())
            if self._intake.greeted:
                return answers
            self._say(*answers)
        return ()

    def run(self) -> None:
        """After the greeting, until the client leaves or `end` is called; the caller's thread is one of the two."""
        other = threading.Thread(target=self._work, daemon=True, name="isthmus-turns")
        other.start()
        self._work()
        other.join()

    def end(self) -> None:
        """No new requests; hangs up once those received are answered. Waits where the client does not read."""
        self._say(pack(Kind.BYE, 0))
        with self._lock:
            self._ending = True
            idle = not self._computing
        if idle:
            self._hang_up()

    def _work(self) -> None:
        while True:
            with self._reading:
                job = self._next_job()
            if job is None:
                return
            if self._is_mine(job):
                self._compute(job)

    def _next_job(self) -> Job | None:
        """Reads up to the end of the next request, answering by the way what needs no computing. None at the end."""
        try:
            while not self._over:
                if self._again is not None and (job := self._again.next_job()) is not None:
                    return job
                message = self._message()
                if message is None:
                    break
                now_s = self._desk.clock()
                landed = self._inbox.landed if self._inbox is not None else NOWHERE
                for item in self._intake.feed(message, now_s, landed):
                    if isinstance(item, Job):
                        return item
                    self._say(item)
        except OSError as e:
            _log.debug("a client left: %s", e)
        except Exception:  # noqa: BLE001 - a fault of ours; what waits for this thread must hear of the end
            _log.exception("a client's stream ends here")
        self._over = True
        return None

    def _message(self) -> Message | None:
        """The next one; None when there are no more."""
        try:
            return next(self._messages, None)
        except Exception as e:  # noqa: BLE001 - a transport's own; grpc raises a bare one when the client has gone
            _log.debug("a client left: %s", e)
            return None

    def _is_mine(self, job: Job) -> bool:
        """Whether this thread computes the job now; else it waits in line for the other one."""
        with self._lock:
            if self._computing:
                self._line.append(job)
                return False
            self._computing = True
            return True

    def _compute(self, first: Job) -> None:
        job: Job | None = first
        while job is not None:
            self._say(*self._answer(job))
            with self._lock:
                job = self._line.popleft() if self._line else None
                self._computing = job is not None
                finished = job is None and self._ending
        if finished:
            self._hang_up()

    def _answer(self, job: Job) -> Parts:
        """What is to be said, in pieces; none where nobody wants to hear it."""
        try:
            if job.cancelled or self._over:
                return ()
            done = self._desk.run(job.cut, job.heads, job.payload, job.last_s, job.tensors)
            return self._reply(job, done, self._desk.clock())
        except IsthmusError as e:
            self._desk.count("refused")
            return (refusal(job.id, str(e)),)
        except Exception as e:  # noqa: BLE001 - see below
            # A request must never end the stream of a client, whatever the engine thinks of it.
            _log.exception("request %d failed", job.id)
            self._desk.count("failed")
            return (refusal(job.id, str(Refused(f"the server failed on this request: {type(e).__name__}"))),)
        finally:
            self._intake.finished(job)

    def _reply(self, job: Job, done: Done, now_s: float) -> Parts:
        """The answer to a request: outputs, and the server's own times."""
        outputs, queue_s, decode_s, compute_s, crossing = done
        residence_s = now_s - job.last_s
        after, seconds, total = job.arrival()
        times = queue_s if queue_s > 0 else 0.0, decode_s, compute_s, residence_s if residence_s > 0 else 0.0, seconds
        return self._replies.parts(job.id, outputs, (*times, after, total), crossing)

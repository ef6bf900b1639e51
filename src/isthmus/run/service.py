"""The server's side of the fast path: one bidirectional stream a client, two threads each.

One thread only reads and notes when frames arrived, so that computing never blurs the arrival times; the other computes
and answers.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator

import grpc

from isthmus.errors import IsthmusError, Refused
from isthmus.run.codecs import raw_heads
from isthmus.run.desk import Desk, Done
from isthmus.run.frame import Kind, pack
from isthmus.run.intake import Intake, Job, refusal
from isthmus.run.split_pb2 import Reply, Welcome
from isthmus.run.types import STREAM_METHOD

_log = logging.getLogger(__name__)
_Outbox = queue.SimpleQueue["bytes | Job | None"]


class SplitService:
    """Serves any number of streams, up to the bound."""

    def __init__(self, desk: Desk, welcome: Welcome, clock: Callable[[], float]) -> None:
        self._desk, self._welcome, self._clock = desk, welcome, clock
        self._lock = threading.Lock()
        self._outboxes: set[_Outbox] = set()
        self._closing = False

    def handler(self) -> grpc.GenericRpcHandler:
        """What is registered with grpc: bytes in, bytes out, no serializer between."""
        service, _, method = STREAM_METHOD.strip("/").partition("/")
        return grpc.method_handlers_generic_handler(
            service, {method: grpc.stream_stream_rpc_method_handler(lambda messages, _: self.answers(messages))}
        )

    def end(self) -> None:
        """Every stream ends once what it has received is answered."""
        with self._lock:
            self._closing = True
            outboxes = list(self._outboxes)
        for outbox in outboxes:
            outbox.put(pack(Kind.BYE, 0))
            outbox.put(None)

    def answers(self, messages: Iterator[bytes]) -> Iterator[bytes]:
        """What goes back for what comes in, over whatever transport: one client, from greeting to end."""
        outbox: _Outbox = queue.SimpleQueue()
        if not self._enter(outbox):
            yield refusal(0, f"the server is closing, or has its {self._desk.bounds.streams} clients already")
            return
        intake = Intake(self._desk, self._welcome)
        reader = threading.Thread(target=self._read, args=(messages, intake, outbox), daemon=True, name="isthmus-read")
        reader.start()
        try:
            while (item := outbox.get()) is not None:
                if isinstance(item, bytes):
                    yield item
                elif (answer := self._answer(intake, item)) is not None:
                    yield answer
        finally:
            with self._lock:
                self._outboxes.discard(outbox)

    def _enter(self, outbox: _Outbox) -> bool:
        with self._lock:
            if self._closing or len(self._outboxes) >= self._desk.bounds.streams:
                return False
            self._outboxes.add(outbox)
            return True

    def _read(self, messages: Iterator[bytes], intake: Intake, outbox: _Outbox) -> None:
        try:
            for message in messages:
                for item in intake.feed(message, self._clock()):
                    outbox.put(item)
        except Exception as e:  # noqa: BLE001 - a transport's own; grpc raises a bare one
            _log.debug("a stream ended: %s", e)
        finally:
            outbox.put(None)

    def _answer(self, intake: Intake, job: Job) -> bytes | None:
        try:
            if job.cancelled:
                return None
            done = self._desk.run(job.cut, job.heads, memoryview(job.payload), job.last_s)
            return reply(job, done, self._clock())
        except IsthmusError as e:
            self._desk.count("refused")
            return refusal(job.id, str(e))
        except Exception as e:  # noqa: BLE001 - see below
            # A request must never end the stream of a client, whatever the engine thinks of it.
            _log.exception("request %d failed", job.id)
            self._desk.count("failed")
            return refusal(job.id, str(Refused(f"the server failed on this request: {type(e).__name__}")))
        finally:
            intake.finished(job)


def reply(job: Job, done: Done, now_s: float) -> bytes:
    """The answer to a request: outputs as they are, and the server's own times."""
    heads, parts = raw_heads(done.outputs)
    header = Reply(
        outputs=heads,
        queue_s=max(0.0, done.queue_s),
        decode_s=done.decode_s,
        compute_s=done.compute_s,
        residence_s=max(0.0, now_s - job.last_s),
        arrival=job.arrival,
    )
    return pack(Kind.REPLY, job.id, header.SerializeToString(), *parts)

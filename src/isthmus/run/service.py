"""All conversations of a server, and the door to them through gRPC."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence

import grpc

from isthmus.run.conversation import Conversation
from isthmus.run.desk import Desk
from isthmus.run.intake import Job, refusal
from isthmus.run.sockets import Message, Octets
from isthmus.run.split_pb2 import Welcome
from isthmus.run.types import STREAM_METHOD

_GREETING_S = 20.0
"""A greeting has some 300 bytes: 3 s at 1 kbit/s, and a lost packet costs as much again."""
_log = logging.getLogger(__name__)


class SplitService:
    """Serves any number of clients at a time, up to the bound; who has not greeted is none yet, and does not stay."""

    def __init__(self, desk: Desk, welcome: Welcome) -> None:
        self._desk, self._welcome = desk, welcome
        self._lock = threading.Lock()
        self._open: set[Conversation] = set()
        self._greeted: set[Conversation] = set()
        self._streams = threading.Semaphore(desk.bounds.streams)
        """Over gRPC, greeted or not: each holds one of its threads."""
        self._closing = False

    def handler(self) -> grpc.GenericRpcHandler:
        """What is registered with grpc: bytes in, bytes out, no serializer between."""
        service, _, method = STREAM_METHOD.strip("/").partition("/")
        return grpc.method_handlers_generic_handler(
            service, {method: grpc.stream_stream_rpc_method_handler(self._over_grpc)}
        )

    def converse(self, messages: Iterator[Message], say: Callable[..., None], hang_up: Callable[[], None]) -> None:
        """One client from greeting to end; see `Conversation`."""
        conversation = Conversation(self._desk, self._welcome, messages, say=say, hang_up=hang_up)
        with self._lock:
            self._open.add(conversation)
        try:
            welcome = _greeting(conversation, hang_up)
            if welcome and self._let_in(conversation):
                say(*welcome)
                conversation.run()
            elif welcome:
                say(self._full())
        finally:
            with self._lock:
                self._open.discard(conversation)
                self._greeted.discard(conversation)

    def end(self) -> None:
        """No new clients; every conversation ends once what it has received is answered. Waits for none: a client that
        does not read hears of it late or never."""
        with self._lock:
            self._closing = True
            conversations = list(self._open)
        for conversation in conversations:
            threading.Thread(target=conversation.end, daemon=True, name="isthmus-bye").start()

    def _let_in(self, conversation: Conversation) -> bool:
        """Whether there is room for one more who has greeted."""
        with self._lock:
            free = not self._closing and len(self._greeted) < self._desk.bounds.streams
            if free:
                self._greeted.add(conversation)
        return free

    def _full(self, why: str = "") -> bytes:
        full = f"is full: it has its {self._desk.bounds.streams} clients already"
        why = why or ("is closing" if self._closing else full)
        return refusal(0, f"the server {why}", passing=True)

    def _over_grpc(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

        def say(*parts: Octets) -> None:
            if parts:
                outbox.put(b"".join(parts))

        def talk() -> None:
            try:
                self.converse(messages, say, lambda: outbox.put(None))
            except RuntimeError as e:  # one more thread was needed
                _log.warning("a client could not be served: %s", e)
            finally:
                outbox.put(None)
                self._streams.release()

        if not self._streams.acquire(blocking=False):
            yield self._full()
            return

        try:
            threading.Thread(target=talk, daemon=True, name="isthmus-stream").start()
        except RuntimeError as e:  # this process may have no more threads; some will end
            self._streams.release()
            _log.warning("a client could not be let in: %s", e)
            yield self._full("has no thread to spare")
            return
        while (message := outbox.get()) is not None:
            yield message


def _greeting(conversation: Conversation, hang_up: Callable[[], None]) -> Sequence[bytes | Job]:
    """What is to be said to a greeting that is taken; nothing where none comes in time."""
    late = threading.Timer(_GREETING_S, hang_up)
    late.daemon = True
    late.start()
    try:
        return conversation.greeting()
    finally:
        late.cancel()

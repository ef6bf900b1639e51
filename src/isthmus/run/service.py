"""All conversations of a server, and the door to them through gRPC."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

import grpc

from isthmus.run.conversation import Conversation
from isthmus.run.desk import Desk
from isthmus.run.intake import refusal
from isthmus.run.sockets import Message, Octets
from isthmus.run.split_pb2 import Welcome
from isthmus.run.types import STREAM_METHOD


class SplitService:
    """Serves any number of clients at a time, up to the bound."""

    def __init__(self, desk: Desk, welcome: Welcome) -> None:
        self._desk, self._welcome = desk, welcome
        self._lock = threading.Lock()
        self._open: set[Conversation] = set()
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
            full = self._closing or len(self._open) >= self._desk.bounds.streams
            if not full:
                self._open.add(conversation)
        if full:
            say(refusal(0, f"the server is closing, or has its {self._desk.bounds.streams} clients already"))
            return
        try:
            conversation.run()
        finally:
            with self._lock:
                self._open.discard(conversation)

    def end(self) -> None:
        """No new clients; every conversation ends once what it has received is answered. Waits for none: a client that
        does not read hears of it late or never."""
        with self._lock:
            self._closing = True
            conversations = list(self._open)
        for conversation in conversations:
            threading.Thread(target=conversation.end, daemon=True, name="isthmus-bye").start()

    def _over_grpc(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

        def say(*parts: Octets) -> None:
            if parts:
                outbox.put(b"".join(parts))

        def talk() -> None:
            self.converse(messages, say, lambda: outbox.put(None))
            outbox.put(None)

        threading.Thread(target=talk, daemon=True, name="isthmus-stream").start()
        while (message := outbox.get()) is not None:
            yield message

"""How frames get from the client to the server and back: the one seam of the client to the outside."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any, Protocol

import grpc

from isthmus.errors import Unreachable
from isthmus.run.options import client_options, translated
from isthmus.run.sockets import MAGIC, hang_up, messages, send, send_now, tune
from isthmus.run.types import STREAM_METHOD


class Transport(Protocol):
    """Carries messages both ways until it is closed or breaks."""

    @property
    def address(self) -> str:
        """Of the server, for messages to people."""

    def talk(self, outgoing: Iterator[bytes]) -> Iterator[bytes]:
        """Sends what `outgoing` yields, from a thread of its own, and yields what comes. Raises Remote or BadFrame
        when it breaks. Called once."""

    def offer(self, message: bytes) -> bool | None:
        """Takes a message from the caller's thread, without ever waiting and while `outgoing` yields nothing. True:
        it is gone. False: the rest of it goes before the next message of `outgoing`, an empty one if need be, and
        nothing may be offered until then. None: this transport takes no offers."""

    def close(self) -> None:
        """Ends the talk; may be called from any thread, and twice."""


class GrpcTransport:
    """A bidirectional gRPC stream: where something on the way lets only HTTP/2 pass."""

    def __init__(self, address: str, message_bytes: int) -> None:
        self.address = address
        self._channel = grpc.insecure_channel(address, options=client_options(message_bytes))
        self._stream: Any = self._channel.stream_stream(STREAM_METHOD)

    def talk(self, outgoing: Iterator[bytes]) -> Iterator[bytes]:
        """See `Transport`."""
        try:
            yield from self._stream(outgoing)
        except (grpc.RpcError, ValueError) as e:  # a ValueError: the channel was closed before it began
            raise translated(e, self.address) from e

    def offer(self, message: bytes) -> bool | None:
        """See `Transport`: grpc sends from a thread of its own."""
        return None

    def close(self) -> None:
        """See `Transport`."""
        self._channel.close()


class TcpTransport:
    """A bare TCP socket. Raises Unreachable when it cannot be opened within `timeout_s`."""

    def __init__(self, host: str, port: int, message_bytes: int, timeout_s: float) -> None:
        self.address = f"{host}:{port}"
        self._longest = message_bytes
        try:
            self._socket = socket.create_connection((host, port), timeout_s)
            self._socket.sendall(MAGIC)
        except OSError as e:
            raise Unreachable(f"{self.address} cannot be reached: {e}") from e
        self._socket.settimeout(None)
        tune(self._socket)
        self._rest = memoryview(b"")

    def talk(self, outgoing: Iterator[bytes]) -> Iterator[bytes]:
        """See `Transport`."""
        threading.Thread(target=self._send, args=(outgoing,), daemon=True, name="isthmus-send").start()
        try:
            yield from messages(self._socket, self._longest)
        except OSError as e:
            raise Unreachable(f"{self.address} broke off: {e}") from e
        finally:
            self.close()

    @property
    def behind(self) -> bool:
        """Whether a message that was offered is not wholly sent yet."""
        return bool(self._rest)

    def offer(self, message: bytes) -> bool | None:
        """See `Transport`."""
        try:
            self._rest = send_now(self._socket, message)
        except OSError:
            self.close()
        return not self.behind

    def close(self) -> None:
        """See `Transport`."""
        hang_up(self._socket)

    def _send(self, outgoing: Iterator[bytes]) -> None:
        try:
            for message in outgoing:
                if self._rest:
                    self._socket.sendall(self._rest)
                    self._rest = memoryview(b"")
                if message:
                    send(self._socket, message)
        except OSError:
            self.close()  # whoever reads will say what happened

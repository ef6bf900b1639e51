"""How frames get from the client to the server and back: the one seam of the client to the outside."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import grpc

from isthmus.errors import Unreachable
from isthmus.run.options import client_options, translated
from isthmus.run.sockets import messages, send, tune
from isthmus.run.types import STREAM_METHOD


class Transport(Protocol):
    """Carries messages both ways until it is closed or breaks."""

    @property
    def address(self) -> str:
        """Of the server, for messages to people."""

    def talk(self, outgoing: Iterator[bytes]) -> Iterator[bytes]:
        """Sends what `outgoing` yields, from a thread of its own, and yields what comes. Raises Remote or BadFrame
        when it breaks. Called once."""

    def close(self) -> None:
        """Ends the talk; may be called from any thread, and twice."""


class GrpcTransport:
    """A bidirectional gRPC stream: one port for everything, and whatever proxies understand gRPC."""

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
        except OSError as e:
            raise Unreachable(f"{self.address} cannot be reached: {e}") from e
        self._socket.settimeout(None)
        tune(self._socket)

    def talk(self, outgoing: Iterator[bytes]) -> Iterator[bytes]:
        """See `Transport`."""
        threading.Thread(target=self._send, args=(outgoing,), daemon=True, name="isthmus-send").start()
        try:
            yield from messages(self._socket, self._longest)
        except OSError as e:
            raise Unreachable(f"{self.address} broke off: {e}") from e
        finally:
            self.close()

    def close(self) -> None:
        """See `Transport`."""
        _hang_up(self._socket)

    def _send(self, outgoing: Iterator[bytes]) -> None:
        try:
            for message in outgoing:
                send(self._socket, message)
        except OSError:
            self.close()  # whoever reads will say what happened


class TcpDoor:
    """The server's side of `TcpTransport`: a listening socket, and a thread or two for each client.

    `answers` makes of a client's messages the messages that go back.
    """

    def __init__(
        self, host: str, port: int, message_bytes: int, answers: Callable[[Iterator[bytes]], Iterator[bytes]]
    ) -> None:
        self._answers, self._longest = answers, message_bytes
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        self._socket = socket.create_server((host, port), family=family)
        self.port = int(self._socket.getsockname()[1])
        self._left = threading.Condition()
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True, name="isthmus-door").start()

    def close(self) -> None:
        """No new clients; those inside leave when their answers end."""
        _hang_up(self._socket)

    def hang_up(self, grace_s: float) -> None:
        """Everyone out: by themselves within `grace_s`, then by force."""
        with self._left:
            self._left.wait_for(lambda: not self._open, grace_s)
            peers = list(self._open)
        for peer in peers:
            _hang_up(peer)

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True, name="isthmus-client").start()

    def _serve(self, peer: socket.socket) -> None:
        tune(peer)
        with self._left:
            self._open.add(peer)
        try:
            for message in self._answers(messages(peer, self._longest)):
                send(peer, message)
        except OSError:
            return  # the client is gone; its answers are nobody's
        finally:
            _hang_up(peer)
            with self._left:
                self._open.discard(peer)
                self._left.notify_all()


def _hang_up(peer: socket.socket) -> None:
    """Wakes whoever waits on the socket, then closes it."""
    try:
        peer.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed or never connected: a listening socket is woken by the close below
    finally:
        peer.close()

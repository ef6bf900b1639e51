"""The way to a server: greeted over gRPC at the address people know, then by the faster socket where that is open."""

from __future__ import annotations

from collections.abc import Callable

from isthmus.errors import Remote
from isthmus.run.connection import Connection, Heard
from isthmus.run.split_pb2 import Hello
from isthmus.run.transport import GrpcTransport, TcpTransport, Transport
from isthmus.run.types import Bounds

GREETING_S = 2.0
_SOCKET_S = 0.5
"""A firewall that drops packets must not hold up a session for long; it then goes on over gRPC."""


class Way:
    """Makes greeted connections to one server. `pace` is handed to each of them."""

    def __init__(
        self, address: str, hello: Hello, *, clock: Callable[[], float], pace: Callable[[int], None] | None = None
    ) -> None:
        self._address, self._hello, self._clock, self._pace = address, hello, clock, pace
        self._message_bytes = Bounds().message_bytes

    def connect(self, on_late: Callable[[Heard], None]) -> Connection:
        """A connection that is ready for requests. Raises Refused, Unreachable or Late."""
        first, port = self._greeted(GrpcTransport(self._address, self._message_bytes), on_late)
        host, _, _ = self._address.rpartition(":")
        if not port or not host or "/" in host:
            return first
        try:
            socket = TcpTransport(host.strip("[]"), port, self._message_bytes, _SOCKET_S)
            second, _ = self._greeted(socket, on_late)
        except Remote:
            return first
        first.close()
        return second

    def _greeted(self, transport: Transport, on_late: Callable[[Heard], None]) -> tuple[Connection, int]:
        connection = Connection(transport, clock=self._clock, pace=self._pace, on_late=on_late)
        try:
            return connection, connection.greet(self._hello, GREETING_S).stream_port
        except BaseException:
            connection.close()
            raise

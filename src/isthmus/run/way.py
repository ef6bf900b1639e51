"""The way to a server: a bare socket where the server is reached directly, gRPC where only that gets through."""

from __future__ import annotations

from collections.abc import Callable

from isthmus.errors import Late, Unreachable
from isthmus.link.address import host_and_port
from isthmus.run.connection import Connection, Heard
from isthmus.run.split_pb2 import Hello
from isthmus.run.transport import GrpcTransport, TcpTransport, Transport
from isthmus.run.types import Bounds

GREETING_S = 2.0
GRPC_SCHEMES = ("dns", "unix", "unix-abstract", "ipv4", "ipv6", "vsock", "xds")
"""What a target begins with that grpc finds by itself."""


def place_of(address: str) -> tuple[str, int] | None:
    """Host and port to connect to; None for a target that only gRPC understands, as `dns:///host:port`. Raises BadInput
    for what is neither.

    >>> place_of("localhost:8001"), place_of("unix:/run/isthmus"), place_of("dns:8001")
    (('localhost', 8001), None, ('dns', 8001))
    """
    scheme, _, rest = address.partition(":") if isinstance(address, str) else ("", "", "")
    told = scheme.lower() in GRPC_SCHEMES and rest and not rest.isdigit()  # else a host of that name, and its port
    return None if told else host_and_port(address)


class Way:
    """Makes greeted connections to one server. `pace` is handed to each of them. Raises BadInput for an address that
    can never be one."""

    def __init__(
        self, address: str, hello: Hello, *, clock: Callable[[], float], pace: Callable[[int], None] | None = None
    ) -> None:
        self._address, self._hello, self._clock, self._pace = address, hello, clock, pace
        self._place = place_of(address)
        self._message_bytes = Bounds().message_bytes
        self._grpc_only = False

    def connect(self, on_late: Callable[[Heard], None]) -> Connection:
        """A connection that is ready for requests. Raises Refused, Unreachable or Late."""
        if self._grpc_only or self._place is None:
            return self._greeted(GrpcTransport(self._address, self._message_bytes), on_late)
        bare = TcpTransport(*self._place, self._message_bytes, GREETING_S)
        try:
            return self._greeted(bare, on_late)
        except (Unreachable, Late) as e:
            # Somebody is there who did not understand: a gateway that only lets HTTP/2 pass, or another kind of server.
            connection = self._greeted(GrpcTransport(self._address, self._message_bytes), on_late)
            self._grpc_only = isinstance(e, Late)  # never to wait so long again
            return connection

    def _greeted(self, transport: Transport, on_late: Callable[[Heard], None]) -> Connection:
        connection = Connection(transport, clock=self._clock, pace=self._pace, on_late=on_late)
        try:
            connection.greet(self._hello, GREETING_S)
        except BaseException:
            connection.close()
            raise
        return connection

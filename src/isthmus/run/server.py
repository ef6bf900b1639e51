"""Serving a model: one port that speaks the fast path, the Open Inference Protocol and the standard health check."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import grpc

from isthmus.codec import PictureScale
from isthmus.errors import BadInput
from isthmus.quant import ChannelClip
from isthmus.run.codecs import Codecs
from isthmus.run.desk import Desk
from isthmus.run.halves import Halves
from isthmus.run.intake import welcome
from isthmus.run.oip_service import OipService
from isthmus.run.options import server_options
from isthmus.run.service import SplitService
from isthmus.run.transport import TcpDoor
from isthmus.run.types import Bounds, Runner

_UNARY_THREADS = 16
_LONGEST_BODY_BYTES = 1 << 20
"""Of one frame; clients of ours make them of 8 to 384 kB."""


class Server:
    """A server that runs until `stop`; usable as a context manager."""

    def __init__(
        self, grpc_server: grpc.Server, split: SplitService, door: TcpDoor | None, desk: Desk, host: str, port: int
    ) -> None:
        self._grpc, self._split, self._door, self._desk = grpc_server, split, door, desk
        self.host, self.port = host, port
        self._stopped = threading.Event()

    @property
    def address(self) -> str:
        """`host:port`, as a client takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def ready(self) -> bool:
        """False once it is being stopped."""
        return not self._stopped.is_set()

    @property
    def counts(self) -> dict[str, int]:
        """`requests` served, `refused`, `cancelled` and `failed` since the start; absent where there were none."""
        return self._desk.counts

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until it is stopped; False when the time was up first."""
        return self._stopped.wait(timeout_s)

    def stop(self, grace_s: float = 1.0) -> None:
        """Takes no new requests, answers what it has for up to `grace_s`, and frees the port. Twice does no harm."""
        self._stopped.set()
        if self._door is not None:
            self._door.close()
        self._split.end()
        self._grpc.stop(grace_s).wait()
        if self._door is not None:
            self._door.hang_up(grace_s)

    @property
    def stream_port(self) -> int:
        """The port of the bare socket, 0 where there is none."""
        return self._door.port if self._door is not None else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


def serve(
    engine: Runner,
    name: str = "",
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    stream_port: int | None = 0,
    clips: Mapping[str, ChannelClip] | None = None,
    pictures: Mapping[str, PictureScale] | None = None,
    bounds: Bounds | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Server:
    """Starts serving `engine` as model `name` (default: the model's own) and returns at once.

    `port` (gRPC) and `stream_port` (the same frames over a bare socket, three times as quick; found by clients
    themselves, None for none) 0 take any free one; `clips` (calibrated ranges) and `pictures` (how an input
    is made from a picture), by tensor name, are the same as the clients'. Raises BadInput
    when the port is in use or the host is not one of this machine.
    """
    bounds = bounds or Bounds()
    name = name or engine.model.name
    halves, codecs = Halves(engine), Codecs(clips, pictures)
    desk = Desk(halves, codecs, bounds, clock)
    hello = welcome(name, engine.model.fingerprint, codecs.digest, halves.ready, bounds)
    split = SplitService(desk, hello, clock)
    pool = ThreadPoolExecutor(bounds.streams + _UNARY_THREADS, thread_name_prefix="isthmus-serve")
    grpc_server = grpc.server(pool, options=server_options(bounds.message_bytes))
    bound = _bind(grpc_server, host, port)
    door = None if stream_port is None else _open_door(host, stream_port, bounds, split)
    hello.stream_port = door.port if door is not None else 0
    server = Server(grpc_server, split, door, desk, host, bound)
    unary = OipService(desk, name, lambda: server.ready, clock)
    grpc_server.add_generic_rpc_handlers((split.handler(), *unary.handlers()))
    grpc_server.start()
    return server


def _bind(grpc_server: grpc.Server, host: str, port: int) -> int:
    """The bound port. A socket is tried first, because grpc writes pages to stderr when it fails itself."""
    if not 0 <= port <= 65535:
        raise BadInput(f"port {port} is none: ports go from 0 (any free one) to 65535")
    try:
        family, kind, proto, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(place)
            trial.listen(1)
        shown = f"[{host}]" if ":" in host else host
        bound = grpc_server.add_insecure_port(f"{shown}:{port}")
    except (OSError, RuntimeError) as e:
        reason = e.strerror if isinstance(e, OSError) and e.strerror else "it cannot be bound"
        raise BadInput(f"cannot serve on port {port} of {host}: {reason}; choose another with --port") from e
    if bound == 0:
        raise BadInput(f"cannot serve on port {port} of {host}: it cannot be bound; choose another with --port")
    return bound


def _open_door(host: str, port: int, bounds: Bounds, split: SplitService) -> TcpDoor:
    try:
        return TcpDoor(host, port, bounds.header_bytes + _LONGEST_BODY_BYTES, split.answers)
    except (OSError, OverflowError) as e:
        raise BadInput(f"cannot take streams on port {port} of {host}: {e}; choose another") from e

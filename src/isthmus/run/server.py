"""Serving a model: one port that speaks our frames, the Open Inference Protocol and the standard health check."""

from __future__ import annotations

import contextlib
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
from isthmus.link.address import MOST_PORT
from isthmus.profile import ExitTable
from isthmus.quant import ChannelClip
from isthmus.run import forked
from isthmus.run.codecs import Codecs
from isthmus.run.desk import Desk
from isthmus.run.door import Door
from isthmus.run.early import Early, digest_of
from isthmus.run.frame import MAX_BODY_BYTES
from isthmus.run.halves import Halves
from isthmus.run.intake import welcome
from isthmus.run.oip_service import OipService
from isthmus.run.options import server_options
from isthmus.run.places import Places
from isthmus.run.service import SplitService
from isthmus.run.sockets import addresses_of, hang_up, unpace
from isthmus.run.types import Bounds, Runner
from isthmus.units import is_whole

_UNARY_THREADS = 16
_CLIENTS_BESIDE = 64
"""Connections over HTTP/2, or as many as streams where those are more: health checks, clients of the Open Inference
Protocol, streams over gRPC. They take nothing from our own clients."""


class Server:
    """A server that runs until `stop`; usable as a context manager. Made by `serve`."""

    def __init__(self, desk: Desk, split: SplitService, host: str, port: int) -> None:
        self._desk, self._split = desk, split
        self.host, self.port = host, port
        self._stopped, self._forks = threading.Event(), forked.forks
        self._inner_port = 0
        self._grpc: grpc.Server | None = None
        self._door: Door | None = None

    def start(self, listening: socket.socket, name: str, clock: Callable[[], float]) -> None:
        """Opens for clients on a socket that listens. What it could not open wholly it closes, the socket too, and
        raises BadInput."""
        with contextlib.ExitStack() as undo:
            undo.callback(hang_up, listening)
            try:
                self._open(listening, name, clock)
            except (OSError, RuntimeError) as e:  # no port for grpc, no thread to be had
                if self._grpc is not None:
                    self._grpc.stop(None)
                raise BadInput(
                    f"cannot serve on port {self.port} of {self.host}: {str(e) or type(e).__name__}; the limit on "
                    f"threads, processes or open files may be too low here"
                ) from e
            undo.pop_all()

    def _open(self, listening: socket.socket, name: str, clock: Callable[[], float]) -> None:
        bounds = self._desk.bounds
        pool = ThreadPoolExecutor(bounds.streams + _UNARY_THREADS, thread_name_prefix="isthmus-serve")
        threading.Thread(target=lambda: None, name="isthmus-first").start()  # fails where grpc, with none, would hang
        inner = grpc.server(pool, options=server_options(bounds.message_bytes))
        unary = OipService(self._desk, name, lambda: self.ready, clock)
        inner.add_generic_rpc_handlers((self._split.handler(), *unary.handlers()))
        self._inner_port = inner.add_insecure_port("127.0.0.1:0")
        inner.start()
        self._grpc = inner  # not before: one that could not start is never done stopping
        theirs = max(_CLIENTS_BESIDE, bounds.streams)
        self._door = Door(
            listening,
            converse=self._split.converse,
            inner=self._to_grpc,
            longest=bounds.header_bytes + MAX_BODY_BYTES,
            most=bounds.streams + theirs,
            theirs=theirs,
        )

    @property
    def address(self) -> str:
        """`host:port`, as a client takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def cuts(self) -> tuple[str, ...]:
        """Ids of the cuts that are ready, in running order."""
        return self._desk.places.halves.ready

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
        """Takes no new requests, answers what it has for up to `grace_s`, and frees the port. Twice does no harm; in a
        fork it does nothing, for the clients are the parent's."""
        if self._forks != forked.forks:
            return
        end = time.monotonic() + grace_s
        self._stopped.set()
        if self._door is not None:
            self._door.close()
        self._split.end()
        if self._grpc is not None:
            self._grpc.stop(grace_s).wait()
        if self._door is not None:
            self._door.clear(max(0.0, end - time.monotonic()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _to_grpc(self) -> socket.socket:
        inner = socket.create_connection(("127.0.0.1", self._inner_port))
        inner.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return inner


def serve(
    engine: Runner,
    name: str = "",
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    clips: Mapping[str, ChannelClip] | None = None,
    pictures: Mapping[str, PictureScale] | None = None,
    exits: ExitTable | None = None,
    bounds: Bounds | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Server:
    """Starts serving `engine` as model `name` (default: the model's own) and returns at once.

    `port` 0 takes any free one; `clips` (calibrated ranges) and `pictures` (how an input is made from a picture), by
    tensor name, are the same as the clients'; so is `exits`, by which inputs may leave early here. Raises BadInput when
    the port is in use or the host is not one of this machine, where this machine gives no threads or files for it, and
    for a table of exits of another model.
    """
    bounds = bounds or Bounds()
    name = name or engine.model.name
    halves, codecs = Halves(engine), Codecs(clips, pictures, slowdown=engine.slowdown)
    early = None if exits is None else Early(halves, exits)
    if early is not None:
        early.to(None).warm_up(clock)
    desk = Desk(Places(halves, early), codecs, bounds, clock)
    hello = welcome(name, engine.model.fingerprint, codecs.digest, digest_of(exits), halves.ready, bounds)
    listening = _listen(host, port)
    server = Server(desk, SplitService(desk, hello), host, int(listening.getsockname()[1]))
    server.start(listening, name, clock)
    return server


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. The port belongs to it alone: SO_REUSEPORT is never set."""
    if not is_whole(port, 0, MOST_PORT):
        raise BadInput(f"port {port!r} is none: ports go from 0 (any free one) to {MOST_PORT}")
    try:
        family, _, _, _, place = addresses_of(host, port)[0]
        listening = socket.create_server((str(place[0]), port), family=family, backlog=128)
    except OSError as e:
        reason = (e.strerror or str(e)).lower()
        raise BadInput(f"cannot serve on port {port} of {host}: {reason}; choose another with --port") from e
    unpace(listening)
    return listening

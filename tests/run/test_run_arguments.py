"""What a session and a server cannot be made with is refused in one sentence."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from run_rig import Told

from isthmus.engine import Engine
from isthmus.errors import BadInput, Unreachable
from isthmus.graph import INPUT
from isthmus.run import Bounds, Server, connect_engine, serve, transport


@pytest.mark.parametrize("deadline_s", [0.0, -1.0, float("nan"), float("inf"), None, "2s"])
def test_a_deadline_that_cannot_be_kept_is_refused(engine: Engine, server: Server, deadline_s: Any) -> None:
    with pytest.raises(BadInput, match="deadline"):
        connect_engine(engine, server.address, chooser=Told(INPUT), deadline_s=deadline_s)


def test_an_unknown_mode_is_refused(engine: Engine, server: Server) -> None:
    with pytest.raises(BadInput, match="prefer_on_device"):
        connect_engine(engine, server.address, chooser=Told(INPUT), mode="sometimes")  # type: ignore[arg-type]


def test_what_is_no_chooser_and_no_journal_is_refused(engine: Engine, server: Server) -> None:
    wrong: Any = "mincut"
    with pytest.raises(
        BadInput, match="this is a str, which is no chooser: it has no choose, observe, probe_bytes, be"
    ):
        connect_engine(engine, server.address, chooser=wrong)
    with pytest.raises(BadInput, match=r"a journal is .*, not 'mincut'$"):
        connect_engine(engine, server.address, chooser=Told(INPUT), journal=wrong)


def test_a_batch_that_is_no_whole_number_is_refused(engine: Engine, server: Server) -> None:
    with connect_engine(engine, server.address, chooser=Told(INPUT)) as session:
        for size in (2.5, "8", None):
            wrong: Any = size
            with pytest.raises(BadInput, match=f"a batch holds 1 to 65536 samples, not {size!r}$"):
                session.batched(wrong)


def test_a_port_in_use_is_one_sentence(engine: Engine, server: Server) -> None:
    with pytest.raises(BadInput, match=f"port {server.port}.*in use"):
        serve(engine, port=server.port)


@pytest.mark.parametrize(
    ("host", "port"),
    [("127.0.0.1", 70_000), ("127.0.0.1", -1), ("127.0.0.1", "8001"), ("127.0.0.1", 0.5), ("192.0.2.1", 0)],
)
def test_a_place_that_cannot_be_served_is_refused(engine: Engine, host: str, port: Any) -> None:
    with pytest.raises(BadInput, match="port"):
        serve(engine, host=host, port=port)


def refuse(*_: object, **__: object) -> Any:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("where", ["grpc.server", "isthmus.run.server.Door", "threading.Thread.start"])
def test_a_server_that_cannot_start_is_one_sentence_and_keeps_no_port(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with monkeypatch.context() as short:
        short.setattr(where, refuse)
        with pytest.raises(BadInput, match=f"cannot serve on port {port} of 127.0.0.1: can't start .*limit on threads"):
            serve(engine, port=port)
    with serve(engine, port=port) as server:
        assert server.port == port


@pytest.mark.parametrize("where", ["tune", "Ear"])
def test_a_transport_that_cannot_be_made_keeps_no_socket(
    server: Server, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    opened: list[socket.socket] = []

    def connected(host: str, port: int, timeout_s: float) -> socket.socket:
        opened.append(socket.create_connection((host, port), timeout_s))
        return opened[-1]

    def no_more(*_: object) -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(transport, "connected", connected)
    monkeypatch.setattr(transport, where, no_more)
    with pytest.raises(Unreachable, match=r"cannot be reached: .*Too many open files"):
        transport.TcpTransport(server.host, server.port, 1 << 20, 5.0)
    assert [peer.fileno() for peer in opened] == [-1]


@pytest.mark.parametrize("kind", ["message_bytes", "header_bytes", "batch", "waiting", "streams", "unready_cuts"])
def test_bounds_that_bound_nothing_sensible_are_refused(kind: str) -> None:
    least = 0 if kind == "unready_cuts" else 1
    for value in (least - 1, -3, 2.5, float("nan"), "8", None):
        wrong: Any = {kind: value}
        with pytest.raises(BadInput, match=f"a server needs {kind} of at least {least}, a whole number, not {value!r}"):
            Bounds(**wrong)
    fewest: Any = {kind: least}
    assert getattr(Bounds(**fewest), kind) == least

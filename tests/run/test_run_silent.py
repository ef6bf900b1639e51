"""Clients that come and say nothing: they neither keep others out nor stay."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
import pytest
from run_rig import until
from test_run_door import still_serves

from isthmus.engine import Engine
from isthmus.run import Bounds, Server, door, options, serve, service
from isthmus.run import server as server_module
from isthmus.run.sockets import MAGIC
from isthmus.run.types import STREAM_METHOD

HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SOON_S = 0.2


@contextmanager
def saying(server: Server, words: bytes, count: int) -> Iterator[list[socket.socket]]:
    """So many clients that say this and no more."""
    with ExitStack() as stack:
        peers = []
        for _ in range(count):
            peer = stack.enter_context(socket.create_connection((server.host, server.port), timeout=10))
            peer.sendall(words)
            peers.append(peer)
        yield peers


def is_put_out(peer: socket.socket) -> bool:
    """Reads what the server says until it hangs up; raises TimeoutError where it does not."""
    try:
        while peer.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


def test_who_has_not_greeted_takes_no_place(engine: Engine) -> None:
    with serve(engine, bounds=Bounds(streams=2)) as server, saying(server, MAGIC, 2):
        assert until(lambda: len(server._split._open) == 2)
        assert still_serves(engine, server)


@pytest.mark.parametrize("words", [b"", MAGIC[:2], MAGIC, MAGIC + b"\x20\0\0\0", HTTP2[:4], HTTP2])
def test_who_does_not_greet_is_put_out(engine: Engine, monkeypatch: pytest.MonkeyPatch, words: bytes) -> None:
    monkeypatch.setattr(door, "_FIRST_WORD_S", SOON_S)
    monkeypatch.setattr(service, "_GREETING_S", SOON_S)
    monkeypatch.setattr(options, "_HANDSHAKE_MS", int(SOON_S * 1e3))
    with serve(engine) as server, saying(server, words, 1) as (peer,):
        assert is_put_out(peer)


def test_the_time_to_greet_is_not_begun_anew_with_every_byte(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_GREETING_S", SOON_S)
    with serve(engine) as server, saying(server, MAGIC + b"\0\x40\0\0", 1) as (peer,):
        peer.settimeout(SOON_S / 10)

        def is_gone() -> bool:
            try:
                peer.sendall(b"x")
                return not peer.recv(10)
            except TimeoutError:
                return False
            except OSError:
                return True

        assert until(is_gone)


def test_a_greeted_client_may_be_silent(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    greeting_s = SOON_S * 1.25  # not that of another test, whose clients may be leaving still
    monkeypatch.setattr(service, "_GREETING_S", greeting_s)
    ended: list[float] = []
    with serve(engine) as server:
        monkeypatch.setattr(threading.Timer, "cancel", lambda timer: ended.append(timer.interval))
        assert still_serves(engine, server)
    assert ended.count(greeting_s) == 1


def test_a_grpc_stream_without_a_greeting_ends(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_GREETING_S", SOON_S)
    never: Any = iter(lambda: until(lambda: False, 10), True)
    with serve(engine) as server, grpc.insecure_channel(server.address) as channel:
        assert list(channel.stream_stream(STREAM_METHOD)(never, timeout=8)) == []


def test_those_who_speak_http2_leave_room_for_ours(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_CLIENTS_BESIDE", 1)
    monkeypatch.setattr(options, "_HANDSHAKE_MS", 600_000)
    with serve(engine, bounds=Bounds(streams=1)) as server, saying(server, HTTP2, 1):
        assert server._door is not None
        theirs = server._door._theirs
        assert until(lambda: len(theirs) == 1)
        with saying(server, HTTP2, 2) as others:
            assert all(is_put_out(peer) for peer in others)
            assert still_serves(engine, server)


def test_a_connection_of_grpc_without_a_call_is_let_go(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "_IDLE_MS", int(SOON_S * 1e3))
    with serve(engine) as server, grpc.insecure_channel(server.address) as channel:
        assert server._door is not None
        theirs = server._door._theirs
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        for _ in range(2):  # and the next call makes another
            check(b"", timeout=8)
            assert until(lambda: not theirs)

"""A server whose process may have no more threads: whoever came then is sent away, and the next is served as ever."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator

import pytest
from run_rig import Told, until

from isthmus.engine import Engine
from isthmus.errors import Full
from isthmus.graph import INPUT
from isthmus.run import Bounds, Server, connect_engine, serve
from isthmus.run.sockets import MAGIC


@pytest.fixture
def narrow(engine: Engine) -> Iterator[Server]:
    """A server with room for one client at a time."""
    with serve(engine, bounds=Bounds(streams=1)) as made:
        yield made


def fail_once(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """The next thread of this name cannot be started; the names of those that could not."""
    start, failed = threading.Thread.start, list[str]()

    def starting(thread: threading.Thread) -> None:
        if thread.name == name and not failed:
            failed.append(name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", starting)
    return failed


def is_sent_away(server: Server, word: bytes = b"") -> bool:
    """Whether the server hangs up on somebody who says this, and soon."""
    with socket.create_connection((server.host, server.port), timeout=5) as peer:
        peer.sendall(word)
        try:
            return peer.recv(1) == b""
        except ConnectionResetError:
            return True


def is_served(engine: Engine, address: str) -> bool:
    """Whether a client gets its answers there."""
    with connect_engine(engine, address, chooser=Told(INPUT), deadline_s=5.0) as session:
        return session.infer(engine.model.random_inputs()).ran == "server"


def test_a_client_for_whom_no_thread_can_be_had_does_not_close_the_door(
    engine: Engine, narrow: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failed = fail_once(monkeypatch, "isthmus-client")
    with caplog.at_level(logging.WARNING, "isthmus.run.door"):
        assert is_sent_away(narrow)
    assert failed
    assert until(lambda: "a client could not be let in: can't start new thread" in caplog.text)
    assert is_served(engine, narrow.address)


@pytest.mark.parametrize(
    ("thread", "word"), [("isthmus-copy", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ("isthmus-turns", MAGIC)]
)
def test_a_client_that_needs_one_more_thread_is_hung_up_on(
    engine: Engine,
    narrow: Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    thread: str,
    word: bytes,
) -> None:
    failed = fail_once(monkeypatch, thread)
    with caplog.at_level(logging.WARNING, "isthmus.run.door"):
        if word == MAGIC:  # the thread is wanted after the greeting
            with connect_engine(engine, narrow.address, chooser=Told(INPUT)) as session:
                assert until(lambda: bool(failed))
                assert session.wait_connected(5.0)
        else:
            assert is_sent_away(narrow, word)
    assert failed
    assert until(lambda: "a client could not be served: can't start new thread" in caplog.text)
    assert until(lambda: not narrow._split._greeted)
    assert is_served(engine, narrow.address)


def test_a_stream_over_grpc_for_which_no_thread_can_be_had_takes_no_room(
    engine: Engine, narrow: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failed = fail_once(monkeypatch, "isthmus-stream")
    address = f"dns:///{narrow.address}"
    with (
        caplog.at_level(logging.WARNING, "isthmus.run.service"),
        pytest.raises(Full, match="the server has no thread to spare"),
    ):
        connect_engine(engine, address, chooser=Told(INPUT), mode="only_on_server")
    assert failed
    assert "a client could not be let in: can't start new thread" in caplog.text
    assert is_served(engine, address)


def test_a_stream_over_grpc_that_needs_one_more_thread_ends(
    engine: Engine, narrow: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failed = fail_once(monkeypatch, "isthmus-turns")
    with (
        caplog.at_level(logging.WARNING, "isthmus.run.service"),
        connect_engine(engine, f"dns:///{narrow.address}", chooser=Told(INPUT)) as session,
    ):
        assert until(lambda: bool(failed))
        assert session.wait_connected(5.0)
    assert until(lambda: "a client could not be served: can't start new thread" in caplog.text)

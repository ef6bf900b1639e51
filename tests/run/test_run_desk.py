"""The server's desk at its bounds: what is just allowed is served, what is one too many is not, and all is counted."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from numpy.typing import NDArray
from run_rig import Told, until
from test_run_recovery import Slow

from isthmus.engine import Engine
from isthmus.errors import BadFrame, Refused
from isthmus.graph import INPUT
from isthmus.run import Bounds, connect_engine, serve
from isthmus.run.codecs import Codecs
from isthmus.run.desk import Desk
from isthmus.run.halves import Halves
from isthmus.run.heads import Head
from isthmus.run.places import Places


def request(engine: Engine) -> tuple[tuple[Head, ...], bytes]:
    heads, payloads = Codecs().dump("float32", engine.model.random_inputs())
    return tuple(heads), b"".join(payloads)


def test_a_request_as_large_as_may_be_is_taken(engine: Engine) -> None:
    heads, payload = request(engine)
    for most, allowed in ((len(payload), True), (len(payload) - 1, False)):
        desk = Desk(Places(Halves(engine)), Codecs(), Bounds(message_bytes=most), time.perf_counter)
        if allowed:
            desk.check(INPUT, 1, heads, len(payload))
        else:
            with pytest.raises(BadFrame, match="are announced"):
                desk.check(INPUT, 1, heads, len(payload))


def test_a_session_sends_a_request_as_large_as_may_be(engine: Engine) -> None:
    _, payload = request(engine)
    with (
        serve(engine, bounds=Bounds(message_bytes=len(payload))) as server,
        connect_engine(engine, server.address, chooser=Told(INPUT), deadline_s=10) as session,
    ):
        step = session.infer(engine.model.random_inputs()).step
    assert (step.ran, step.trouble) == ("server", "")


def test_as_many_may_wait_as_is_said_and_no_more(engine: Engine) -> None:
    """One that is being computed is among them."""
    slow = Slow(engine)
    heads, payload = request(engine)
    desk = Desk(Places(Halves(slow)), Codecs(), Bounds(waiting=2), time.perf_counter)  # type: ignore[arg-type]
    done: list[object] = []

    def ask() -> None:
        done.append(desk.run(INPUT, heads, memoryview(payload), 0.0))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert until(lambda: desk._waiting == 2)
        with pytest.raises(Refused, match="the server is busy: 2 requests are waiting already"):
            desk.run(INPUT, heads, memoryview(payload), 0.0)
    finally:
        slow.gate.set()
        for thread in threads:
            thread.join(20)
    assert len(done) == 2
    ask()
    assert desk.counts == {"requests": 3}, "whoever was refused is not counted, and takes nobody's place"


def test_a_request_that_failed_was_not_served(engine: Engine) -> None:
    slow = Slow(engine)

    def fails(cut_id: str, tensors: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        raise ZeroDivisionError

    slow.tail = fails  # type: ignore[method-assign]
    heads, payload = request(engine)
    desk = Desk(Places(Halves(slow)), Codecs(), Bounds(waiting=1), time.perf_counter)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            desk.run(INPUT, heads, memoryview(payload), 0.0)
    assert desk.counts == {}


def test_the_server_tells_how_long_a_request_waited_read_and_computed(engine: Engine) -> None:
    heads, payload = request(engine)
    times = iter([10.0, 10.5, 12.5])
    desk = Desk(Places(Halves(engine)), Codecs(), Bounds(), lambda: next(times))
    _, queue_s, decode_s, compute_s, _ = desk.run(INPUT, heads, memoryview(payload), 9.0)
    assert (queue_s, decode_s, compute_s) == (1.0, 0.5, 2.0)

"""Probing a server without holding its model: what it says, and that nothing more than probing is allowed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from isthmus.engine import Engine
from isthmus.errors import BadInput, Refused, Unreachable
from isthmus.link import ShapedLink
from isthmus.model import load_model
from isthmus.run import Server, probe, serve
from isthmus.run.split_pb2 import Hello
from isthmus.run.types import PROTOCOL
from isthmus.run.way import Way


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = serve(Engine.open(load_model("zoo:tiny")))
    yield started
    started.stop()


def test_a_probe_sees_the_rate_of_the_link_and_who_answers(server: Server) -> None:
    with ShapedLink(server.address, "4Mbit", delay_s=0.005) as link:
        found = probe(link.address, count=3)
    assert found.model == "tiny"
    assert found.cuts > 2
    assert len(found.probes) == 3
    assert found.up_bps == pytest.approx(4e6, rel=0.25)
    assert found.rtt_s >= 0.01


def test_whoever_names_no_model_may_probe_and_not_ask(server: Server) -> None:
    connection = Way(server.address, Hello(protocol=PROTOCOL), clock=time.perf_counter).connect(lambda _: None)
    try:
        with pytest.raises(Refused, match="probe, not ask"):
            connection.ask("@input", 1, [], [], None).wait(5.0)
        assert connection.ping(5.0) > 0, "the connection lives on"
    finally:
        connection.close()


def test_nobody_there_and_absurd_numbers() -> None:
    with pytest.raises(Unreachable):
        probe("127.0.0.1:1")
    for wrong in ({"count": 0}, {"size_bytes": 100}, {"size_bytes": 1 << 40}, {"timeout_s": 0.0}):
        with pytest.raises(BadInput):
            probe("127.0.0.1:1", **wrong)

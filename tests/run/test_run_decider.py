"""A chooser that fails to take what it is told costs no answer and no connection, and the session tells of it."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from run_rig import Kept, Told, until

from isthmus.engine import Engine
from isthmus.errors import BadInput
from isthmus.graph import INPUT
from isthmus.record.types import Step
from isthmus.run import Bounds, Server, connect_engine, serve

ERRORS = [(RuntimeError("boom"), "RuntimeError: boom"), (BadInput("boom in mine.py"), "boom in mine.py")]


class Deaf(Told):
    """Learns nothing."""

    def __init__(self, error: Exception) -> None:
        super().__init__(INPUT)
        self.error = error

    def observe(self, step: Step) -> None:
        raise self.error


@pytest.mark.parametrize(("error", "says"), ERRORS)
def test_an_answer_outlives_the_chooser(
    engine: Engine, server: Server, error: Exception, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Kept()
    with (
        caplog.at_level(logging.WARNING),
        connect_engine(engine, server.address, chooser=Deaf(error), journal=journal) as session,
    ):
        assert session.stumbled is None
        for _ in range(3):
            answer = session.infer(engine.model.random_inputs())
            assert (answer.ran, answer.step.trouble) == ("server", "")
            assert set(answer.outputs) == set(engine.graph.outputs)
    assert [step.ran for step in journal.steps] == ["server"] * 3
    (record,) = caplog.records
    assert record.getMessage() == f"the chooser failed: {says}", "at once, and once"
    assert (record.exc_info is None) == isinstance(error, BadInput), "where somebody else's code failed is told"
    assert str(session.stumbled) == f"the chooser failed 3 times, which cost no answer: {says}"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (ValueError("a chooser's own"), "a chooser's own"),
        (None, "probe_bytes of the chooser answered with None"),
        (np.inf, "probe_bytes of the chooser answered with inf"),
        ("many", "probe_bytes of the chooser answered with 'many'"),
    ],
)
def test_a_chooser_that_cannot_say_whether_to_probe_costs_no_connection(
    engine: Engine, server: Server, answer: object, says: str
) -> None:
    class Torn(Told):
        def probe_bytes(self, now_s: float) -> int:
            if isinstance(answer, Exception):
                raise answer
            return answer  # type: ignore[return-value]

    with connect_engine(engine, server.address, chooser=Torn(INPUT)) as session:
        keeper = session._keeper
        assert keeper is not None
        line = keeper.line()
        assert until(lambda: says in str(session.stumbled))
        assert session.infer(engine.model.random_inputs()).ran == "server"
        assert keeper.line() is line is not None


def test_a_probe_is_no_larger_than_the_server_takes(engine: Engine) -> None:
    class Greedy(Told):
        def probe_bytes(self, now_s: float) -> int:
            return 10**13

    with (
        serve(engine, bounds=Bounds(message_bytes=20_000)) as small,
        connect_engine(engine, small.address, chooser=Greedy(INPUT), journal=(journal := Kept())) as session,
    ):
        assert until(lambda: any(step.probed for step in journal.steps))
        assert {step.up_bytes for step in journal.steps if step.probed} == {20_000}
        assert session.stumbled is None


@pytest.mark.parametrize("believed", [None, ("a", 1), (None, "fast"), (1.0, 2.0, 3.0), RuntimeError("boom")])
def test_what_cannot_be_believed_costs_no_answer(engine: Engine, server: Server, believed: object) -> None:
    class Muddled(Told):
        def __getattribute__(self, name: str) -> object:
            if name == "beliefs" and isinstance(believed, Exception):
                raise believed
            return believed if name == "beliefs" else super().__getattribute__(name)

    with connect_engine(engine, server.address, chooser=Muddled(INPUT)) as session:
        step = session.infer(engine.model.random_inputs()).step
        assert (step.ran, step.estimate_bps, step.estimate_load) == ("server", None, None)
        assert "failed once" in str(session.stumbled)


def test_beliefs_may_be_numbers_of_any_kind(engine: Engine, server: Server) -> None:
    told = Told(INPUT)
    told.beliefs = np.array([1e6, 2.0])  # type: ignore[assignment]
    with connect_engine(engine, server.address, chooser=told) as session:
        step = session.infer(engine.model.random_inputs()).step
        assert (step.estimate_bps, step.estimate_load) == (1e6, 2.0)

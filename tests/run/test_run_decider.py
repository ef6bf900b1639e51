"""A chooser that fails to take what it is told costs no answer and no connection, and the session tells of it."""

from __future__ import annotations

import logging

import pytest
from run_rig import Kept, Told, until

from isthmus.engine import Engine
from isthmus.errors import BadInput
from isthmus.graph import INPUT
from isthmus.record.types import Step
from isthmus.run import Server, connect_engine

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


def test_a_chooser_that_cannot_say_whether_to_probe_costs_no_connection(engine: Engine, server: Server) -> None:
    class Torn(Told):
        def probe_bytes(self, now_s: float) -> int:
            raise ValueError("a chooser's own")

    with connect_engine(engine, server.address, chooser=Torn(INPUT)) as session:
        keeper = session._keeper
        assert keeper is not None
        line = keeper.line()
        assert until(lambda: "a chooser's own" in str(session.stumbled))
        assert session.infer(engine.model.random_inputs()).ran == "server"
        assert keeper.line() is line is not None

"""A journal that cannot be written costs no answer, and the server is not blamed for it."""

from __future__ import annotations

import errno
import logging
import threading

import pytest
from run_rig import Told
from test_run_recovery import Slow

from isthmus.engine import Engine
from isthmus.errors import BadInput
from isthmus.graph import INPUT
from isthmus.record.types import Step
from isthmus.run import Server, connect_engine, serve


class Full:
    """A journal that takes nothing of these kinds."""

    def __init__(self, error: Exception, *kinds: str) -> None:
        self.error, self.kinds = error, kinds
        self.took: list[Step] = []
        self.refused = threading.Event()

    def write(self, step: Step) -> None:
        if step.kind in self.kinds:
            self.refused.set()
            raise self.error
        self.took.append(step)


FULL = [
    BadInput("cannot write the journal j: No space left on device"),
    OSError(errno.ENOSPC, "No space left on device"),
]


@pytest.mark.parametrize("error", FULL)
def test_an_answer_outlives_the_journal(
    engine: Engine, server: Server, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    inputs = engine.model.random_inputs()
    journal = Full(error, "request")
    with (
        caplog.at_level(logging.WARNING),
        connect_engine(engine, server.address, chooser=Told(INPUT), journal=journal) as session,
    ):
        assert session.unwritten is None
        for _ in range(3):
            answer = session.infer(inputs)
            assert (answer.ran, answer.step.trouble) == ("server", "")
            assert set(answer.outputs) == set(engine.graph.outputs)
    said = [record.message for record in caplog.records]
    assert len(said) == 1, "at once, and once"
    assert "No space left" in said[0]
    assert "lacks 3 lines" in str(session.unwritten)
    assert "No space left" in str(session.unwritten)


@pytest.mark.parametrize("error", FULL)
def test_a_probe_that_is_not_written_down_costs_no_connection(engine: Engine, server: Server, error: Exception) -> None:
    told, journal = Told(INPUT), Full(error, "probe")
    with connect_engine(engine, server.address, chooser=told, journal=journal) as session:
        told.probe = 20_000
        assert journal.refused.wait(10)
        for _ in range(3):
            step = session.infer(engine.model.random_inputs()).step
            assert (step.ran, step.trouble) == ("server", "")
        assert "lacks 1 line:" in str(session.unwritten)


@pytest.mark.parametrize("error", FULL)
def test_a_late_answer_that_is_not_written_down_costs_no_connection(engine: Engine, error: Exception) -> None:
    slow = Slow(engine)
    journal = Full(error, "probe")
    with (
        serve(slow) as there,  # type: ignore[arg-type]
        connect_engine(engine, there.address, chooser=Told(INPUT), journal=journal, deadline_s=0.2) as session,
    ):
        assert session.infer(engine.model.random_inputs()).ran == "device"
        line = session._keeper._connection if session._keeper is not None else None
        assert line is not None
        slow.gate.set()
        assert journal.refused.wait(10)
        assert line.ping(10) >= 0
        assert session.unwritten is not None


def test_a_chooser_that_stumbles_over_a_late_answer_costs_no_connection(engine: Engine) -> None:
    slow = Slow(engine)
    stumbled = threading.Event()

    class Stumbling(Told):
        def observe(self, step: Step) -> None:
            if step.kind == "probe":
                stumbled.set()
                raise ValueError("a chooser's own")

    with (
        serve(slow) as there,  # type: ignore[arg-type]
        connect_engine(engine, there.address, chooser=Stumbling(INPUT), deadline_s=0.2) as session,
    ):
        session.infer(engine.model.random_inputs())
        line = session._keeper._connection if session._keeper is not None else None
        assert line is not None
        slow.gate.set()
        assert stumbled.wait(10)
        assert line.ping(10) >= 0

"""How long a request waits for the server: by the sooner of deadline and choice, counted from its beginning."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from run_rig import Told
from test_run_recovery import Slow, Stuck

from isthmus.engine import Engine
from isthmus.errors import Late, Remote
from isthmus.graph import INPUT
from isthmus.record.patience import FIRST_PAUSE_S
from isthmus.run import Mode, connect_engine, serve
from isthmus.run.beside import SLICE_S
from isthmus.run.connection import Connection, Heard, Ticket
from isthmus.run.frame import Kind
from isthmus.run.keeper import Keeper


class SlowHead(Slow):
    """An engine whose head takes a while, and whose whole network is counted."""

    head_s = 0.0
    wholes = 0

    def head(self, cut_id: str, inputs: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        time.sleep(self.head_s)
        return super().head(cut_id, inputs)

    def whole(self, inputs: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        self.wholes += 1
        return super().whole(inputs)

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)


@pytest.mark.parametrize(
    ("mode", "give_up_s", "deadline_s", "head_s", "most_s"),
    [
        ("auto", None, 2.0, 0.3, 1.7),
        ("auto", 2.0, 30.0, 0.3, 1.7),
        ("auto", 30.0, 2.0, 0.0, 2.0),
        ("private", 2.0, 30.0, 0.0, 2.0),
    ],
    ids=["a slow head leaves less", "so it does before the deadline", "a choice beyond the deadline", "private"],
)
def test_a_request_waits_for_what_is_left_of_the_sooner_limit(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    mode: Mode,
    give_up_s: float | None,
    deadline_s: float,
    head_s: float,
    most_s: float,
) -> None:
    there, here, told = Slow(engine), SlowHead(engine), Told(engine.cuts[1].id)
    here.head_s = head_s
    here.gate.set()
    told.choice = told.choice.model_copy(update={"give_up_s": give_up_s})
    waits: list[float] = []
    asked: list[Ticket] = []
    wait, ask = Ticket.wait, Connection.ask

    def asking(*args: Any) -> Ticket:
        asked.append(ask(*args))
        return asked[-1]

    def waiting(ticket: Ticket, timeout_s: float) -> Heard:
        if ticket in asked:
            waits.append(timeout_s)
            timeout_s = min(timeout_s, 0.02)
        return wait(ticket, timeout_s)

    monkeypatch.setattr(Connection, "ask", asking)
    monkeypatch.setattr(Ticket, "wait", waiting)
    with (
        serve(there) as server,  # type: ignore[arg-type]
        connect_engine(here, server.address, chooser=told, mode=mode, deadline_s=deadline_s) as session,  # type: ignore[arg-type]
    ):
        step = session.infer(engine.model.random_inputs()).step
        there.gate.set()
    assert (step.ran, step.asked) == ("device", told.choice.cut)
    assert 0 < waits[0] <= most_s


def test_where_only_the_server_may_answer_the_device_computes_nothing(engine: Engine) -> None:
    there, here = Slow(engine), SlowHead(engine)
    here.gate.set()
    with (
        serve(there) as server,  # type: ignore[arg-type]
        connect_engine(
            here,  # type: ignore[arg-type]
            server.address,
            chooser=Told(INPUT),
            mode="only_on_server",
            deadline_s=0.2,
        ) as session,
    ):
        with pytest.raises(Late):
            session.infer(engine.model.random_inputs())
        there.gate.set()
    assert (here.wholes, here.tails) == (0, 0)


def test_the_server_s_pause_begins_when_it_was_late_and_not_when_the_device_was_done(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here, told = Slow(engine), Stuck(engine), Told(engine.cuts[1].id)
    told.choice = told.choice.model_copy(update={"give_up_s": 0.1})
    kept: list[tuple[float, float]] = []
    struck = Keeper.struck

    def striking(keeper: Keeper, why: Remote, line: Connection, ticket: Ticket | None, ago_s: float = 0.0) -> None:
        now_s = keeper._clock()
        struck(keeper, why, line, ticket, ago_s)
        kept.append((ago_s, keeper._health.not_before_s - now_s))

    def tail(cut_id: str, tensors: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        time.sleep(0.3)
        return engine.tail(cut_id, tensors)

    here.tail = tail  # type: ignore[method-assign]
    monkeypatch.setattr(Keeper, "struck", striking)
    with (
        serve(there) as server,  # type: ignore[arg-type]
        connect_engine(here, server.address, chooser=told, deadline_s=30.0) as session,  # type: ignore[arg-type]
    ):
        step = session.infer(engine.model.random_inputs()).step
        there.gate.set()
    assert "no answer within" in step.trouble
    ((ago_s, left_s),) = kept
    assert 0.3 <= ago_s < 10
    assert left_s < FIRST_PAUSE_S - 0.2, "most of the pause was over while the device computed"


def test_where_the_device_failed_too_the_server_has_what_is_left_of_its_time(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here, told = Slow(engine), SlowHead(engine), Told(engine.cuts[1].id)
    here.gate.set()
    told.choice = told.choice.model_copy(update={"give_up_s": 2.0, "beside": True})
    waits: list[float] = []
    wait = Ticket.wait

    def waiting(ticket: Ticket, timeout_s: float) -> Heard:
        if ticket.parcel.kind is Kind.ASK and timeout_s > SLICE_S:
            waits.append(timeout_s)
            timeout_s = 0.02
        return wait(ticket, timeout_s)

    def tail(cut_id: str, tensors: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        if not waits:
            time.sleep(0.3)
            raise MemoryError
        return engine.tail(cut_id, tensors)

    here.tail = tail  # type: ignore[method-assign]
    monkeypatch.setattr(Ticket, "wait", waiting)
    with (
        serve(there) as server,  # type: ignore[arg-type]
        connect_engine(here, server.address, chooser=told, deadline_s=30.0) as session,  # type: ignore[arg-type]
    ):
        step = session.infer(engine.model.random_inputs()).step
        there.gate.set()
    assert step.ran == "device"
    assert len(waits) == 1
    assert waits[0] <= 1.7

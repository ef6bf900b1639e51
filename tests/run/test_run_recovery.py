"""The server is killed, hangs, comes back: no answer is lost, none is wrong, and the client returns by itself."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from run_rig import Kept, Told, server_process, until

from isthmus.engine import Engine
from isthmus.errors import Late, Refused
from isthmus.graph import INPUT, OUTPUT
from isthmus.record.patience import LONGEST_PAUSE_S, TICK_S
from isthmus.record.summary import fell_back, summarise
from isthmus.record.types import Step
from isthmus.run import connect_engine, serve
from isthmus.run.beside import Beside
from isthmus.run.desk import Done
from isthmus.run.health import Health


def test_a_killed_server_costs_no_answer_and_is_found_again(engine: Engine, cache_dir: Path) -> None:
    told = Told(engine.cuts[1].id)
    steps: list[Step] = []

    def ask(session: object, count: int) -> None:
        for _ in range(count):
            answer = session.infer(engine.model.random_inputs(seed=len(steps)))  # type: ignore[attr-defined]
            assert set(answer.outputs) == set(engine.graph.outputs)
            steps.append(answer.step)

    with server_process(cache_dir) as (process, port):
        session = connect_engine(engine, f"127.0.0.1:{port}", chooser=told, verify=True, deadline_s=5.0)
        ask(session, 20)
        killer = threading.Timer(0.01, process.kill)
        killer.start()
        while process.poll() is None:
            ask(session, 1)
        ask(session, 20)
    split = {s.ran for s in steps[:20]}
    assert split == {"split"}
    assert steps[-1].ran == "device"
    assert steps[-1].trouble
    assert steps[-1].asked == told.choice.cut
    with session, server_process(cache_dir, port):
        assert session.wait_connected(LONGEST_PAUSE_S + 4)
        ask(session, 20)
    assert {s.ran for s in steps[-20:]} == {"split"}
    assert [s.wrong for s in steps] == [False] * len(steps)
    assert len({s.id for s in steps}) == len(steps)


class Slow:
    """An engine whose tail waits at a gate, and counts how often each half ran."""

    def __init__(self, engine: Engine) -> None:
        self.model, self.graph, self.cuts, self.slowdown = engine.model, engine.graph, engine.cuts, engine.slowdown
        self._engine = engine
        self.gate = threading.Event()
        self.tails = 0

    def whole(self, inputs: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        return self._engine.whole(inputs)

    def head(self, cut_id: str, inputs: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        return self._engine.head(cut_id, inputs)

    def tail(self, cut_id: str, tensors: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        self.tails += 1
        self.gate.wait(20)
        return self._engine.tail(cut_id, tensors)


def test_a_hanging_server_is_given_up_at_the_deadline_and_late_answers_are_not_mistaken(engine: Engine) -> None:
    slow = Slow(engine)
    told = Told(engine.cuts[1].id)
    with (
        serve(slow) as server,  # type: ignore[arg-type]
        connect_engine(engine, server.address, chooser=told, verify=True, deadline_s=0.3) as session,
    ):
        late = session.infer(engine.model.random_inputs(seed=1)).step
        assert late.ran == "device"
        assert "no answer within" in late.trouble
        assert late.seconds.lost > 0
        assert late.seconds.head > 0
        assert late.seconds.local > 0
        assert late.wrong is False
        # What was asked for is not computed again from the start: only the rest of it.
        waiting = session.infer(engine.model.random_inputs(seed=2)).step
        assert waiting.ran == "device"
        assert waiting.wrong is False
        slow.gate.set()
        assert until(lambda: any(s.kind == "probe" and s.late for s in told.steps)), "the late answer still teaches"
        assert session.wait_connected(10)
        back = [session.infer(engine.model.random_inputs(seed=k)).step for k in range(10, 15)]
        assert [s.wrong for s in back] == [False] * 5
        assert back[-1].ran == "split"


class Stuck(Slow):
    """The device's own engine, which never comes to the end of a tail before the gate opens."""

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)


def test_an_answer_that_comes_while_the_device_computes_too_is_taken(engine: Engine) -> None:
    there, here = Slow(engine), Stuck(engine)
    told = Told(engine.cuts[1].id)
    told.choice = told.choice.model_copy(update={"give_up_s": 0.1})
    with (
        serve(there) as server,  # type: ignore[arg-type]
        connect_engine(here, server.address, chooser=told, verify=engine, deadline_s=30.0) as session,  # type: ignore[arg-type]
    ):
        opener = threading.Timer(0.2, there.gate.set)
        opener.start()
        step = session.infer(engine.model.random_inputs(seed=1)).step
        again = session.infer(engine.model.random_inputs(seed=2)).step
        here.gate.set()
    assert here.tails == 1, "the device had begun"
    assert (step.ran, step.trouble, step.wrong) == ("split", "", False)
    assert (again.ran, again.wrong) == ("split", False), "nobody was given up"


def test_beside_the_server_the_device_may_be_first_and_nobody_is_late(engine: Engine) -> None:
    slow = Slow(engine)
    told = Told(engine.cuts[1].id)
    told.choice = told.choice.model_copy(update={"give_up_s": 20.0, "beside": True})
    with (
        serve(slow) as server,  # type: ignore[arg-type]
        connect_engine(engine, server.address, chooser=told, verify=True, deadline_s=30.0) as session,
    ):
        first = session.infer(engine.model.random_inputs(seed=1)).step
        assert (first.ran, first.cut, first.asked) == ("device", OUTPUT, told.choice.cut)
        assert (first.trouble, first.wrong) == ("", False)
        assert first.up_bytes > 0
        assert first.seconds.head > 0
        assert first.seconds.local > 0
        assert session.connected, "nothing was struck"
        assert not fell_back(first)
        slow.gate.set()
        assert until(lambda: any(s.kind == "probe" for s in told.steps)), "the answer nobody waits for still teaches"


def test_beside_the_device_the_server_may_be_first(engine: Engine) -> None:
    there, here = Slow(engine), Stuck(engine)
    there.gate.set()
    told = Told(engine.cuts[1].id)
    told.choice = told.choice.model_copy(update={"give_up_s": 20.0, "beside": True})
    with (
        serve(there) as server,  # type: ignore[arg-type]
        connect_engine(here, server.address, chooser=told, verify=engine, deadline_s=30.0) as session,  # type: ignore[arg-type]
    ):
        step = session.infer(engine.model.random_inputs(seed=1)).step
        here.gate.set()
    assert (step.ran, step.trouble, step.wrong) == ("split", "", False)


def test_beside_a_server_that_is_late_the_device_s_answer_counts_as_a_failure(engine: Engine) -> None:
    slow, here = Slow(engine), Stuck(engine)
    told = Told(engine.cuts[1].id)
    told.choice = told.choice.model_copy(update={"give_up_s": 0.1, "beside": True})
    with (
        serve(slow) as server,  # type: ignore[arg-type]
        connect_engine(here, server.address, chooser=told, verify=engine, deadline_s=30.0) as session,  # type: ignore[arg-type]
    ):
        opener = threading.Timer(0.3, here.gate.set)
        opener.start()
        step = session.infer(engine.model.random_inputs(seed=1)).step
        slow.gate.set()
    assert (step.ran, step.wrong) == ("device", False)
    assert "no answer within" in step.trouble


@pytest.mark.parametrize("why", [Refused("it will not"), None])
def test_beside_a_server_that_says_no_or_is_lost_the_device_s_answer_counts_as_a_failure(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, why: Refused | None
) -> None:
    here, wait = Stuck(engine), Beside.wait
    told = Told(engine.cuts[1].id)
    told.choice = told.choice.model_copy(update={"give_up_s": 20.0, "beside": True})

    def waited(beside: Beside) -> None:  # for the device, which is not done before there was a word
        here.gate.set()
        wait(beside)

    with (
        serve(engine) as server,
        connect_engine(here, server.address, chooser=told, verify=engine, deadline_s=30.0) as session,  # type: ignore[arg-type]
    ):
        keeper = session._keeper
        assert keeper is not None
        line = keeper.wait_line(10)

        def fails(*_: object) -> Done:
            assert until(lambda: here.tails == 1), "the device has begun"
            if why is None:
                line.close()
            raise why or Refused("nobody hears it")

        monkeypatch.setattr(server._desk, "run", fails)
        monkeypatch.setattr(Beside, "wait", waited)
        step = session.infer(engine.model.random_inputs(seed=1)).step
        assert (step.ran, step.asked, step.wrong) == ("device", told.choice.cut, False)
        assert step.trouble == ("the session was closed" if why is None else "it will not")
        assert fell_back(step)
        assert keeper._health.strikes == 1
        assert here.tails == 1, "what it made is the answer"


def test_a_choice_is_given_up_before_the_deadline_where_it_says_so(engine: Engine) -> None:
    slow = Slow(engine)
    told = Told(engine.cuts[1].id)
    told.choice = told.choice.model_copy(update={"give_up_s": 0.15})
    with serve(slow) as server:  # type: ignore[arg-type]
        with connect_engine(engine, server.address, chooser=told, verify=True, deadline_s=30.0) as session:
            given_up = session.infer(engine.model.random_inputs(seed=1)).step
        told.choice = told.choice.model_copy(update={"cut": INPUT, "beside": True})
        with connect_engine(engine, server.address, chooser=told, mode="prefer_on_server", deadline_s=1.0) as session:
            waited = session.infer(engine.model.random_inputs(seed=1)).step
        slow.gate.set()
    assert given_up.ran == "device"
    assert given_up.wrong is False
    assert given_up.seconds.lost < 10
    assert waited.seconds.lost > 0.5, "who wants the server's answer waits until the deadline"


def test_only_on_server_says_late_and_the_journal_has_it(engine: Engine) -> None:
    slow, told, kept = Slow(engine), Told(INPUT, "float16"), Kept()
    with (
        serve(slow) as server,  # type: ignore[arg-type]
        connect_engine(
            engine, server.address, chooser=told, mode="only_on_server", deadline_s=0.2, journal=kept
        ) as session,
    ):
        slow.whole = lambda inputs: (slow.gate.wait(20), engine.whole(inputs))[1]  # type: ignore[method-assign]
        with pytest.raises(Late):
            session.infer(engine.model.random_inputs())
        slow.gate.set()
    (gone,) = [s for s in kept.steps if s.kind == "lost"]
    assert (gone.ran, gone.cut, gone.codec, gone.asked, gone.batch) == ("server", INPUT, "float16", "", 1)
    assert gone.seconds.total >= gone.seconds.lost > 0.1
    assert gone.up_bytes > 0
    assert gone.trouble
    assert gone not in told.steps, "choosers hear of what came back"
    assert (summarise(kept.steps).requests, summarise(kept.steps).lost) == (1, 1)


def test_a_server_that_stops_gracefully_answers_what_it_has(engine: Engine) -> None:
    slow = Slow(engine)
    told = Told(engine.cuts[1].id)
    server = serve(slow)  # type: ignore[arg-type]
    with connect_engine(engine, server.address, chooser=told, verify=True, deadline_s=10) as session:
        steps: list[Step] = []
        asking = threading.Thread(target=lambda: steps.append(session.infer(engine.model.random_inputs()).step))
        asking.start()
        assert until(lambda: slow.tails > 0)
        stopping = threading.Thread(target=lambda: server.stop(grace_s=5))
        stopping.start()
        assert until(lambda: not session.connected), "the server has said that it is closing"
        time.sleep(5 * TICK_S)  # and the session had time to turn to another connection
        slow.gate.set()
        asking.join()
        stopping.join()
        assert (steps[0].ran, steps[0].wrong) == ("split", False)
        assert session.infer(engine.model.random_inputs()).ran == "device"


def test_a_tail_that_fails_costs_one_refusal(engine: Engine) -> None:
    slow = Slow(engine)
    failing = [True]

    def tail(cut_id: str, tensors: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        if failing.pop() if failing else False:
            raise ZeroDivisionError
        return engine.tail(cut_id, tensors)

    slow.tail = tail  # type: ignore[method-assign]
    told = Told(engine.cuts[1].id)
    with (
        serve(slow) as server,  # type: ignore[arg-type]
        connect_engine(engine, server.address, chooser=told, verify=True) as session,
    ):
        first = session.infer(engine.model.random_inputs()).step
        assert (first.ran, first.wrong) == ("device", False)
        assert "ZeroDivisionError" in first.trouble
        assert session.wait_connected(10)
        assert session.infer(engine.model.random_inputs()).ran == "split"


def test_pauses_double_and_end_below_a_second() -> None:
    health = Health()
    pauses = []
    for _ in range(8):
        health.struck(100.0)
        pauses.append(health.not_before_s - 100.0)
        assert not health.may_send(200.0)
        health.revived(200.0)
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0])
    health.served()
    health.struck(300.0)
    assert health.not_before_s == pytest.approx(300.1)

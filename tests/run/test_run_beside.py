"""A late answer and the device computing the same: whoever is first counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from isthmus.engine import Engine
from isthmus.errors import Late, Unreachable
from isthmus.run.beside import Beside, overtaken

WORD: Any = object()


class FakeTicket:
    """Says `word` (or raises it) at its `count`-th asking, and does something before that."""

    def __init__(self, count: int, word: Any = WORD, before: Callable[[], None] = lambda: None) -> None:
        self.asked, self._count, self._word, self._before = 0, count, word, before

    def wait(self, timeout_s: float) -> Any:
        self.asked += 1
        if self.asked < self._count:
            time.sleep(timeout_s)
            raise Late("not yet")
        self._before()
        if isinstance(self._word, Exception):
            raise self._word
        return self._word


def test_the_answer_that_comes_first_is_taken() -> None:
    gate = threading.Event()
    beside = Beside(lambda: {"y": np.ones(1) if gate.wait(10) else np.zeros(1)})
    assert overtaken(FakeTicket(3), beside) is WORD  # type: ignore[arg-type]
    assert not beside.ended
    gate.set()


def test_the_one_that_comes_second_is_broken_off(engine: Engine) -> None:
    inputs = engine.model.random_inputs(1)
    runs = 0

    def endless() -> dict[str, Any]:
        nonlocal runs
        while True:
            engine.whole(inputs)
            runs += 1

    beside = Beside(endless)
    assert overtaken(FakeTicket(10), beside) is WORD  # type: ignore[arg-type]
    for _ in range(1000):
        if beside.ended:
            break
        time.sleep(0.01)
    assert beside.ended, "a run that is broken off raises, and so ends the thread"
    assert runs, "it ran until then"
    assert engine.whole(inputs), "and the engine is none the worse for it"


def test_the_device_is_waited_for_no_longer_than_it_takes() -> None:
    beside = Beside(lambda: {"y": np.ones(1)})
    ticket = FakeTicket(1_000_000)
    assert overtaken(ticket, beside) is None  # type: ignore[arg-type]
    assert beside.ended
    assert beside.outputs is not None
    assert ticket.asked < 1000


def test_the_time_is_the_computation_s_own() -> None:
    times = iter([5.0, 7.5])
    beside = Beside(dict, lambda: next(times))
    assert overtaken(FakeTicket(1_000_000), beside) is None  # type: ignore[arg-type]
    assert beside.took_s == 2.5


def test_what_fails_there_has_made_nothing() -> None:
    def fails() -> dict[str, Any]:
        raise MemoryError

    beside = Beside(fails)
    assert overtaken(FakeTicket(1_000_000), beside) is None  # type: ignore[arg-type]
    assert beside.outputs is None


def test_where_the_connection_is_lost_the_device_goes_on() -> None:
    gate = threading.Event()
    beside = Beside(lambda: {"y": np.ones(1) if gate.wait(10) else np.zeros(1)})
    gone = Unreachable("gone")
    ticket = FakeTicket(2, gone, gate.set)
    assert overtaken(ticket, beside) is gone  # type: ignore[arg-type]
    assert ticket.asked == 2
    assert beside.outputs is not None
    assert beside.outputs["y"] == 1, "it was not begun anew"

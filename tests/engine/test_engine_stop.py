"""Runs that are broken off: they raise, and only they."""

from __future__ import annotations

import threading

import pytest

from isthmus.engine import Engine, Stop
from isthmus.errors import BadInput


def test_nothing_runs_any_more_once_it_was_stopped(engine: Engine) -> None:
    inputs, stop = engine.model.random_inputs(1), Stop()
    with stop:
        assert engine.whole(inputs)
        stop.now()
        stop.now()
        with pytest.raises(BadInput, match="terminate"):
            engine.whole(inputs)
        with pytest.raises(BadInput, match="terminate"):
            engine.head(engine.cuts[1].id, inputs)
    assert engine.whole(inputs), "outside all is as ever"


def test_another_thread_is_not_concerned(engine: Engine) -> None:
    inputs, stop, found = engine.model.random_inputs(1), Stop(), list[int]()
    stop.now()
    with stop:
        other = threading.Thread(target=lambda: found.append(len(engine.whole(inputs))))
        other.start()
        other.join()
    assert found == [len(engine.graph.outputs)]

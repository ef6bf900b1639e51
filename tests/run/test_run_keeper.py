"""The keeper looks whether a probe is wanted ten times a second, and once the request ends that kept it from that."""

from __future__ import annotations

import time
from typing import Any

import pytest
from run_rig import until

from isthmus.run import keeper as keeper_module
from isthmus.run.keeper import Keeper


class Line:
    """A connection on which nothing is ever wrong."""

    lost = None

    def ping(self, timeout_s: float) -> float:
        return 0.01

    def close(self) -> None:
        pass


def test_a_look_that_was_missed_is_made_up_for_when_the_request_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "TICK_S", 0.01)
    looked: list[float] = []

    def wanted(now_s: float) -> int:
        looked.append(now_s)
        return 0

    line: Any = Line()
    keeper = Keeper(lambda: line, clock=time.monotonic, wanted=wanted, probed=lambda _: None)
    try:
        assert until(lambda: len(looked) > 0)
        keeper.busy(+1)
        assert until(lambda: keeper._missed)
        monkeypatch.setattr(keeper_module, "TICK_S", 60.0)
        time.sleep(0.05)  # the keeper waits for a minute now
        before = len(looked)
        keeper.busy(-1)
        assert until(lambda: len(looked) > before)
    finally:
        keeper.close()

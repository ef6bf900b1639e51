"""By which clock a machine is profiled, as a person types it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Call

from isthmus.engine import profile_clock
from isthmus.profile import Profile
from isthmus.profile.measure import measure


@pytest.mark.parametrize("slowdown", [1.0, 3.0])
def test_the_clock_is_what_the_declared_slow_down_multiplies(
    slowdown: float, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks: list[Callable[[], float]] = []

    def noted(*given: Any, clock: Callable[[], float], **more: Any) -> Profile:
        clocks.append(clock)
        return measure(*given, clock=clock, **more)

    monkeypatch.setattr("isthmus.cli.profile.measure", noted)
    assert call("profile", "zoo:tiny", "--out", tmp_path / "p.json", "--runs", 1, "--slowdown", slowdown)[0] == 0
    assert clocks == [profile_clock(slowdown, 1)]

"""Made-up traces are what they say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from isthmus.errors import BadInput
from isthmus.link import constant, markov, steps


def test_steps_and_constant() -> None:
    trace = steps("20Mbit:10s, outage:500ms,1MB/s:5s", loop=True)
    assert trace.times_s.tolist() == [0, 10, 10.5]
    assert trace.rates_bps.tolist() == [20e6, 0, 8e6]
    assert trace.rate_at(15.5) == 20e6
    assert constant(0).rate_at(3) == 0


def test_markov_is_seeded_and_stays_as_long_as_asked() -> None:
    made = [markov([1e6, 5e6, 20e6], 10, 20_000, seed=seed).rates_bps for seed in (1, 1, 2)]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])
    assert set(made[0]) == {1e6, 5e6, 20e6}
    moves = int((np.diff(made[0]) != 0).sum())
    assert 20_000 / moves == pytest.approx(10, rel=0.15)


def test_markov_refuses_nonsense() -> None:
    for states, stay, long in (([1e6], 10, 60), ([1e6, 2e6], 0.1, 60), ([1e6, 2e6], 10, 0), ([1e6, -2e6], 1, 60)):
        with pytest.raises(BadInput):
            markov(states, stay, long, seed=0)
    usual: dict[str, Any] = {"states_bps": [1e6, 2e6], "stay_s": 10, "duration_s": 60, "seed": 1}
    for odd in (
        {"duration_s": math.nan},
        {"duration_s": math.inf},
        {"step_s": 1e-320},
        {"step_s": math.nan},
        {"seed": -1},
        {"seed": 1.5},
        {"states_bps": [1e308, 2e308], "noise": 5.0},
        {"noise": 1e3},
        {"noise": math.nan},
        {"stay_s": math.nan},
    ):
        with pytest.raises(BadInput):
            markov(**(usual | odd))

"""What the live chooser must reach in simulation: never worse than the best static plan by more than 1 %, and the right
cut soon after a step of the rate. On made-up traces, and on recorded ones where ISTHMUS_DATA is set."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from simulate_worlds import table_of

from isthmus.graph.types import INPUT, OUTPUT
from isthmus.link import Trace, constant, markov, read_trace, steps
from isthmus.plan.cost import CostTable
from isthmus.simulate import Informed, Requests, World, make_policy, play, statics

SLACK = 0.01
PROBE_S = 2.0
DEADLINE_S = 2.0
TABLES: dict[str, CostTable] = {
    "steep": table_of(((INPUT, 0, 10, 600), ("early", 15, 9, 200), ("late", 60, 5, 30), (OUTPUT, 120, 0, 0))),
    "flat": table_of(
        ((INPUT, 1, 20, 400), ("a", 15, 18, 200), ("b", 30, 15, 60), ("c", 45, 12, 30), (OUTPUT, 140, 0, 0))
    ),
    "close": table_of(
        ((INPUT, 1, 12, 300), ("a", 30, 9, 130), ("b", 31, 8, 125), ("c", 33, 8, 110), (OUTPUT, 110, 0, 0))
    ),
}
MADE: dict[str, Trace] = {
    "constant 3": constant(3e6),
    "constant 40": constant(40e6),
    "steps": steps("40Mbit:15s,3Mbit:15s,12Mbit:15s", loop=True),
    "walk": markov([1e6, 4e6, 16e6, 64e6], stay_s=8, duration_s=45, seed=2, noise=0.15, loop=True),
}
RESTLESS = markov([2e6, 6e6, 20e6], stay_s=2, duration_s=45, seed=5, noise=0.2, loop=True)
"""Changes threefold or tenfold every other second: what is known of it is out of date as soon as it is known."""
TUNNELS = steps("25Mbit:12s,0:3s,15Mbit:15s,0:1s,30Mbit:14s", loop=True)
"""Two outages in 45 s, which nobody can foresee: each may cost whoever sends one wait."""


def compared(trace: Trace, table: CostTable, every_s: float, length_s: float = 45.0) -> tuple[float, float]:
    """(dynamic over the best static plan, dynamic over the clairvoyant), as shares more."""
    world = World({1: table}, trace, deadline_s=DEADLINE_S)
    requests = Requests(until_s=length_s, every_s=every_s, from_s=1.0)
    mean_s = {
        name: float(np.mean([s.seconds.total for s in play(world, make_policy(name, world, requests), requests).steps]))
        for name in ("dynamic", "clairvoyant")
    }
    found = statics(world, requests)
    return mean_s["dynamic"] / float(found.mean_s[found.best]) - 1, mean_s["dynamic"] / mean_s["clairvoyant"] - 1


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("which", TABLES)
def test_never_worse_than_the_best_static_plan(name: str, which: str) -> None:
    loss, regret = compared(MADE[name], TABLES[which], 0.0)
    assert loss <= SLACK
    assert regret <= 0.15


@pytest.mark.parametrize("which", TABLES)
def test_not_much_worse_even_where_nothing_known_stays_true(which: str) -> None:
    assert compared(RESTLESS, TABLES[which], 0.0)[0] <= 0.05


@pytest.mark.parametrize("name", ["constant 3", "constant 40", "steps"])
@pytest.mark.parametrize("which", TABLES)
def test_nor_with_pauses_in_which_the_link_is_not_seen(name: str, which: str) -> None:
    assert compared(MADE[name], TABLES[which], 0.4)[0] <= SLACK


@pytest.mark.parametrize("which", TABLES)
def test_an_outage_costs_one_wait_and_no_more(which: str) -> None:
    world = World({1: TABLES[which]}, TUNNELS, deadline_s=DEADLINE_S)
    requests = Requests(until_s=45.0, every_s=0.4, from_s=1.0)
    steps_of = play(world, make_policy("dynamic", world, requests), requests).steps
    held_up = [s for s in steps_of if s.seconds.total > 0.5]
    assert len(held_up) <= 2
    found = statics(world, requests)
    usual = [s.seconds.total for s in steps_of if s.seconds.total <= 0.5]
    assert np.mean(usual) <= found.mean_s[found.best] * (1 + SLACK)


PITS = steps("8Mbit:1.6s,0.1Mbit:1.3s", loop=True)
"""Looks good enough to send a little, a tenth quicker than the device alone, and falls without notice ever again."""


def test_a_link_that_falls_again_and_again_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What forecasts never learn, the outcome tells (`isthmus.adapt.hindsight`)."""
    assert compared(PITS, TABLES["steep"], 0.73, 90.0)[0] <= SLACK
    monkeypatch.setattr("isthmus.adapt.hindsight.FIRST", np.inf)
    assert compared(PITS, TABLES["steep"], 0.73, 90.0)[0] > SLACK, "the case is easy"


def test_much_better_where_the_best_cut_moves() -> None:
    """The bounds above would hold for a chooser that never moves, too."""
    losses = [compared(MADE[name], TABLES["steep"], 0.0)[0] for name in ("steps", "walk")]
    assert max(losses) < -0.05
    assert min(losses) < -0.2


SENDING = (6e6, 60e6, 300e6)
"""Rates at which the best choice of `steep` sends enough to be measured: late, early, the input."""


@pytest.mark.parametrize("before", SENDING)
@pytest.mark.parametrize("after", [*SENDING, 1e6])
@pytest.mark.parametrize("every_s", [0.0, 0.7])
def test_the_right_cut_within_two_requests_of_a_step(before: float, after: float, every_s: float) -> None:
    if before == after:
        return
    world = World({1: TABLES["steep"]}, Trace.of([0, 20], [before, after], duration_s=30), deadline_s=5.0)
    requests = Requests(until_s=30.0, every_s=every_s)
    best = {rate: Informed(World({1: TABLES["steep"]}, constant(rate))).choose(0.0).cut for rate in (before, after)}
    assert best[before] != best[after]
    played = play(world, make_policy("dynamic", world, requests), requests)
    asked = [(s.t_s, s.asked or s.cut) for s in played.steps]
    assert all(cut == best[before] for t, cut in asked if 5 < t < 20)
    later = [cut for t, cut in asked if t >= 20]
    assert all(cut == best[after] for cut in later[2:]), later[:6]


def test_after_a_rise_the_device_is_left_at_the_next_probe() -> None:
    """Nothing is sent, so only a probe can tell; two of them, for one may be a lucky burst."""
    world = World({1: TABLES["steep"]}, steps("1Mbit:20s,60Mbit:10s"))
    requests = Requests(until_s=30.0)
    played = play(world, make_policy("dynamic", world, requests), requests)
    left = next(s.t_s for s in played.steps if s.t_s > 20 and s.cut != OUTPUT)
    assert left < 20 + PROBE_S + 0.5
    assert all(s.cut == OUTPUT for s in played.steps if 5 < s.t_s < 20)


@cache
def recorded() -> Path:
    folder = os.environ.get("ISTHMUS_DATA")
    if not folder or not Path(folder, "traces").is_dir():
        pytest.skip("ISTHMUS_DATA is not set or holds no traces: recorded links are not simulated")
    return Path(folder, "traces")


FAMILIES = ["ghent_4g", "us_5g_iperf_uplink", "oboe", "nyc_4g", "hsr_4g"]


def on_recorded(path: Path, tables: list[str]) -> None:
    whole = read_trace(path)
    trace = whole.part(0, min(90.0, whole.duration_s))
    for which in tables:
        world = World({1: TABLES[which]}, trace, deadline_s=DEADLINE_S)
        requests = Requests(until_s=trace.duration_s, from_s=1.0)
        played = play(world, make_policy("dynamic", world, requests), requests)
        found = statics(world, requests)
        mean_s = float(np.mean([s.seconds.total for s in played.steps]))
        assert mean_s <= found.mean_s[found.best] * (1 + SLACK), f"{path.name}, {which}"


@pytest.mark.parametrize("family", FAMILIES)
def test_on_recorded_links(family: str) -> None:
    files = sorted((recorded() / family).iterdir())
    assert files, f"{family} holds no traces"
    on_recorded(files[len(files) // 2], ["steep", "close"])


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_on_many_recorded_links(family: str) -> None:
    files = sorted((recorded() / family).iterdir())
    for path in files[:: max(1, len(files) // 6)]:
        on_recorded(path, [*TABLES])

"""The runtime optimiser follows the link from state to state of its map."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isthmus.adapt import EachRequest, MapChooser, TableChooser
from isthmus.graph.types import INPUT, OUTPUT
from isthmus.link.types import Link
from isthmus.plan.cost import CostTable
from isthmus.plan.map_types import ConfigMap, ConfigRow
from isthmus.record.types import Evidence, Seconds, Step

STATES = {0.5e6: (OUTPUT, "exit1"), 4e6: ("c", "exit2"), 32e6: (INPUT, "exit3")}


def config(states: dict[float, tuple[str, str]] = STATES) -> ConfigMap:
    rows = tuple(
        ConfigRow(
            state_bps=bps, exit=exit_, accuracy=0.9, cut=cut, codec="float32", latency_s=0.05, reward=1.0, meets=True,
            sends=cut != OUTPUT,
        )
        for bps, (cut, exit_) in states.items()
    )  # fmt: skip
    return ConfigMap(model="m", batch=1, reward="edgent", within_s=0.1, rows=rows)


def watch(start_bps: float = 4e6) -> TableChooser:
    link = Link(start_bps, start_bps, 0.01)
    numbers = (
        np.array([0.0, 0.03, 0.3]),
        np.array([0.02, 0.01, 0.0]),
        np.array([3e5, 4e4, 0.0]),
        np.array([40.0, 40, 0]),
    )
    return TableChooser(CostTable((INPUT, "c", OUTPUT), ("float32",) * 3, *numbers, link))


def chooser(start_bps: float = 4e6, states: dict[float, tuple[str, str]] = STATES) -> MapChooser:
    return MapChooser(config(states), watch(start_bps))


def request(now_s: float, up_bps: float, trouble: str = "") -> Step:
    return Step(
        id=0, t_s=now_s, ran="device" if trouble else "split", cut="c", codec="float32", seconds=Seconds(total=0.05),
        evidence=Evidence(up_bps=None if trouble else up_bps, rtt_s=None if trouble else 0.01), trouble=trouble,
    )  # fmt: skip


def test_the_strategy_is_that_of_the_state_the_link_is_in() -> None:
    made = chooser()
    assert (made.choose(0.0).cut, made.choose(0.0).exit) == ("c", "exit2")
    now = 0.0
    for bps in (0.6e6, 30e6, 5e6):
        expected = min(STATES, key=lambda s: abs(np.log(s / bps)))
        for _ in range(12):
            now += 0.2
            made.observe(request(now, bps))
        for _ in range(2):
            choice = made.choose(now)
            assert (choice.cut, choice.exit) == STATES[expected]
        now += 0.1


def test_a_step_is_followed_within_two_samples_and_a_stall_is_no_step() -> None:
    made, now = chooser(), 0.0
    for _ in range(20):
        now += 0.2
        made.observe(request(now, 4e6))
    made.observe(request(now + 0.2, 0.1e6))
    assert made.choose(now + 0.3).cut == "c"
    made.observe(request(now + 0.4, 4e6))
    for k in range(2):
        made.observe(request(now + 0.6 + 0.2 * k, 30e6))
    assert made.choose(now + 1.2).cut == INPUT


def test_without_a_server_the_device_goes_on_at_the_same_exit() -> None:
    made = chooser()
    made.choose(0.0)
    for k in range(6):
        made.observe(request(0.2 * k, 4e6, trouble="no answer"))
    choice = made.choose(1.5)
    assert (choice.cut, choice.exit, choice.why) == (OUTPUT, "exit2", "the server does not answer")


@pytest.mark.parametrize("seed", range(4))
def test_a_rate_on_the_border_of_two_states_does_not_flap(seed: int) -> None:
    """States 10 % apart, the true rate exactly half-way: the belief's mean crosses the border all the time."""
    close = {4e6: ("c", "exit2"), 4.4e6: (INPUT, "exit3")}
    made, now, crossed = chooser(states=close), 0.0, 0
    rng, border = np.random.default_rng(seed), math.sqrt(4e6 * 4.4e6)
    above = None
    for noise in rng.standard_normal(1000):
        now += 0.2
        made.observe(request(now, border * math.exp(0.05 * noise)))
        made.choose(now)
        up_bps, _ = made.beliefs
        assert up_bps is not None
        crossed += above is not None and (up_bps > border) != above
        above = up_bps > border
    assert crossed > 10, crossed
    assert made.state_changes <= 2


def test_a_stalled_sample_changes_no_state() -> None:
    made, now = chooser(), 0.0
    for k in range(200):
        now += 0.2
        made.observe(request(now, 0.05e6 if k % 25 == 20 else 4e6))
        made.choose(now)
    assert made.state_changes == 0


def test_a_rate_beyond_the_map_is_told_and_the_last_state_counts() -> None:
    made, now = chooser(), 0.0
    for _ in range(10):
        now += 0.2
        made.observe(request(now, 500e6))
    choice = made.choose(now)
    assert choice.cut == INPUT
    assert "is far above every state of the map; that of 32 Mbit/s is nearest and counts" in choice.why
    assert "far" not in chooser().choose(0.0).why


def test_planning_anew_goes_by_the_last_sample_and_stays_without_a_server() -> None:
    def plan(bps: float) -> ConfigRow:
        return config().at(bps).model_copy(update={"state_bps": bps})

    made = EachRequest(plan, watch(), 4e6, alone=config().rows[0])
    assert made.choose(0.0).exit == "exit2"
    for k in range(10):
        made.observe(request(0.2 * k, 4e6))
    made.observe(request(2.2, 0.4e6))
    choice = made.choose(2.4)
    assert (choice.cut, choice.exit) == (OUTPUT, "exit1")  # one sample is enough, where the map waits for a second
    made.observe(request(2.6, 30e6))
    assert made.choose(2.8).cut == INPUT
    for k in range(6):
        made.observe(request(3 + 0.2 * k, 4e6, trouble="no answer"))
    assert (made.choose(4.5).cut, made.choose(4.5).exit) == (OUTPUT, "exit1")  # what is best alone


def test_one_slow_sample_is_heeded_until_it_is_explained_and_changes_no_state() -> None:
    """While it is open whether the link has fallen, the strategy is that of the slower state; a fast sample waits."""
    for sample, cut in ((1.2e6, OUTPUT), (30e6, "c")):
        made = chooser()
        for k in range(20):
            made.observe(request(0.2 * k, 4e6))
        assert made.choose(4.0).cut == "c"
        made.observe(request(4.0, sample))
        assert (made.choose(4.2).cut, made.state_changes) == (cut, 0)
        for k in range(2):
            made.observe(request(4.2 + 0.2 * k, 4e6))
        assert (made.choose(4.8).cut, made.state_changes) == ("c", 0)


def test_what_the_map_knows_of_the_device_alone_is_used() -> None:
    """When to begin here, and which exit while nobody answers."""
    rows = tuple(row.model_copy(update={"give_up_s": 0.07 if row.sends else None}) for row in config().rows)
    known = config().model_copy(update={"rows": rows, "alone": rows[0]})
    made = MapChooser(known, watch())
    assert (made.choose(0.0).exit, made.choose(0.0).give_up_s) == ("exit2", 0.07)
    made.observe(request(0.2, 4e6, trouble="no answer"))
    choice = made.choose(0.4)
    assert (choice.cut, choice.exit, choice.give_up_s) == (OUTPUT, "exit1", None)
    without = chooser()
    without.observe(request(0.2, 4e6, trouble="no answer"))
    assert (without.choose(0.4).cut, without.choose(0.4).exit) == (OUTPUT, "exit2")


def test_where_the_device_cannot_keep_the_requirement_it_begins_when_the_answer_is_late() -> None:
    """Not only at the client's own deadline: 0.3 s of work are begun 75 ms after the 50 ms that were expected."""
    made = chooser()
    choice = made.choose(0.0)
    assert choice.cut == "c"
    assert choice.give_up_s == pytest.approx(0.05 + 0.25 * 0.3)
    anew = EachRequest(config().at, watch(), 4e6)
    assert anew.choose(0.0).give_up_s == choice.give_up_s
    made.races = False
    assert made.choose(0.1).give_up_s is None
    alone = chooser(0.5e6)
    assert (alone.choose(0.0).cut, alone.choose(0.0).give_up_s) == (OUTPUT, None)


def test_nobody_begins_on_a_device_that_may_not_run_it_all() -> None:
    two = np.array([0.0, 0.03]), np.array([0.02, 0.01]), np.array([3e5, 4e4]), np.array([40.0, 40])
    server_only = TableChooser(CostTable((INPUT, "c"), ("float32",) * 2, *two, Link(4e6, 4e6, 0.01)))
    assert MapChooser(config(), server_only).choose(0.0).give_up_s is None


def test_a_probe_is_sent_only_where_its_news_would_change_something() -> None:
    """At the top of the map requests tell of a slower link themselves; below it a faster state waits; on the device
    alone nothing tells of the link."""

    def wanted(made: MapChooser) -> bool:
        made.choose(0.0)
        return made.probe_bytes(100.0) > 0

    assert [wanted(chooser(start)) for start in (0.5e6, 4e6, 32e6)] == [True, True, False]
    same_above = {0.5e6: (OUTPUT, "exit1"), 4e6: (INPUT, "exit3"), 32e6: (INPUT, "exit3")}
    assert [wanted(chooser(start, same_above)) for start in (0.5e6, 4e6, 32e6)] == [True, False, False]
    near = {2.5e6: ("c", "exit2"), 4e6: (INPUT, "exit3")}  # a little slower is another strategy
    assert wanted(chooser(4e6, near))
    telling = chooser(4e6, near)
    telling.observe(request(0.0, 4e6))
    assert not wanted(telling)
    away = chooser(32e6)
    away.choose(0.0)
    away.observe(request(0.2, 4e6, trouble="no answer"))
    assert away.probe_bytes(100.0) > 0
    doubtful = chooser(32e6)
    for k in range(20):
        doubtful.observe(request(0.2 * k, 32e6))
    doubtful.choose(4.0)
    doubtful.observe(request(4.2, 8e6))
    assert doubtful.probe_bytes(100.0) > 0


def test_planning_anew_goes_by_a_request_that_crawled_too() -> None:
    """A kilobyte shows no rate; that it took two seconds does."""
    asked: list[float] = []

    def plan(bps: float) -> ConfigRow:
        asked.append(bps)
        return config().at(bps)

    made = EachRequest(plan, watch(), 4e6)
    for k in range(3):
        made.observe(request(0.2 * k, 4e6))
    made.choose(1.0)
    for k in range(2):
        slow = request(1.0 + 2 * k, 4e6).model_copy(update={"evidence": Evidence(), "up_bytes": 1000})
        made.observe(slow.model_copy(update={"seconds": Seconds(total=2.0, up=2.0)}))
    made.choose(5.0)
    assert asked[0] == 4e6
    assert asked[-1] < 50e3

"""The runtime optimiser follows the link from state to state of its map."""

from __future__ import annotations

import numpy as np

from isthmus.adapt import MapChooser, TableChooser
from isthmus.graph.types import INPUT, OUTPUT
from isthmus.link.types import Link
from isthmus.plan.cost import CostTable
from isthmus.plan.types import ConfigMap, ConfigRow
from isthmus.record.types import Evidence, Seconds, Step

STATES = {0.5e6: (OUTPUT, "exit1"), 4e6: ("c", "exit2"), 32e6: (INPUT, "exit3")}


def config() -> ConfigMap:
    rows = tuple(
        ConfigRow(
            state_bps=bps, exit=exit_, accuracy=0.9, cut=cut, codec="float32", latency_s=0.05, reward=1.0, meets=True,
            sends=cut != OUTPUT,
        )
        for bps, (cut, exit_) in STATES.items()
    )  # fmt: skip
    return ConfigMap(model="m", batch=1, reward="edgent", within_s=0.1, rows=rows)


def chooser(start_bps: float = 4e6) -> MapChooser:
    link = Link(start_bps, start_bps, 0.01)
    numbers = (
        np.array([0.0, 0.03, 0.3]),
        np.array([0.02, 0.01, 0.0]),
        np.array([3e5, 4e4, 0.0]),
        np.array([40.0, 40, 0]),
    )
    return MapChooser(config(), TableChooser(CostTable((INPUT, "c", OUTPUT), ("float32",) * 3, *numbers, link)))


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

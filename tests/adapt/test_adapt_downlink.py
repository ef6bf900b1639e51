"""The downlink is believed from long answers, and decides where the server runs first."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.adapt import Bandwidth, Habits, TableChooser
from isthmus.adapt.downlink import Downlink
from isthmus.adapt.map_chooser import MapChooser
from isthmus.graph.types import INPUT, OUTPUT
from isthmus.link.types import Link
from isthmus.plan.cost import CostTable
from isthmus.plan.map_types import ConfigMap, ConfigRow
from isthmus.record.types import Evidence, Ran, Seconds, Step


def table(down_bps: float = 10e6) -> CostTable:
    """In running order, the server first: nothing of it (all on the device), half, everything. The answer is long, so
    half is best; on a slow downlink it is the least that comes back."""
    return CostTable(
        cuts=(INPUT, "wide", "narrow", OUTPUT),
        codecs=("float32",) * 4,
        device_s=np.array([0.5, 0.02, 0.1, 0.0]),
        server_s=np.array([0.0, 0.02, 0.04, 0.05]),
        up_bytes=np.array([0.0, 50e3, 50e3, 50e3]),
        down_bytes=np.array([0.0, 100e3, 20e3, 400e3]),
        link=Link(10e6, down_bps, 0.01),
        first="server",
    )


def step(
    t_s: float, cut: str = "wide", *, up_bps: float = 10e6, down_bps: float | None = None, device_s: float = 0.02
) -> Step:
    ran: Ran = "device" if cut == OUTPUT else "split"
    return Step(
        id=0,
        t_s=t_s,
        ran=ran,
        cut=cut,
        codec="float32",
        first="device" if cut == OUTPUT else "server",
        seconds=Seconds(total=0.01, head=0.3, encode=0.2, tail=device_s),
        evidence=Evidence(
            up_bps=up_bps, down_bps=down_bps, device_s=device_s, server_s=0.04 if cut == "narrow" else 0.02
        ),
    )


def test_a_request_names_the_ends_as_ever() -> None:
    """In this order the table's first cut is the whole on the device; a request calls that @output."""
    assert table().asked == (OUTPUT, "wide", "narrow", INPUT)
    chooser = TableChooser(table())
    choice = chooser.choose(0.0)
    assert (choice.cut, choice.first) == ("wide", "server")
    assert choice.predicted_s == pytest.approx(table().latency_s(10e6, 10e6, 0.01)[1])
    for t in range(3):
        failed = step(float(t), OUTPUT).model_copy(update={"trouble": "gone", "evidence": Evidence()})
        chooser.observe(failed)
    away = chooser.choose(3.0)
    assert chooser.server_away
    assert (away.cut, away.why) == (OUTPUT, "the server does not answer")


def test_a_slow_downlink_moves_the_cut_to_where_less_comes_back() -> None:
    """The uplink stays as it is: without the samples the chooser could not tell."""
    told, untold = TableChooser(table(), Habits(margin=0)), TableChooser(table(), Habits(margin=0))
    for t in range(4):
        told.observe(step(t, down_bps=1e6))
        untold.observe(step(t))
    assert (told.choose(4.0).cut, untold.choose(4.0).cut) == ("narrow", "wide")
    for t in range(4, 12):
        told.observe(step(t, "narrow", down_bps=100e6, device_s=0.1))
    assert told.choose(12.0).cut == "wide"


def test_the_device_is_learnt_from_its_own_time_alone() -> None:
    """The head ran on the server: its seconds say nothing of the device. Here that is four times as slow."""
    chooser = TableChooser(table(), Habits(margin=0))
    for t in range(6):
        chooser.observe(step(t, "narrow", device_s=0.4))
    assert chooser.choose(6.0).predicted_s == pytest.approx(
        table().latency_s(10e6, 10e6, 0.01, 1.0, 4.0).min(), rel=0.03
    )


def test_the_device_is_learnt_from_what_it_ran_alone_too() -> None:
    """All on the device is the first row of this order's table, by the name that a request gives it."""
    chooser = TableChooser(table(), Habits(margin=0))
    for t in range(6):
        alone = step(float(t), OUTPUT).model_copy(
            update={"seconds": Seconds(total=2.0, local=2.0), "evidence": Evidence(up_bps=10e6)}
        )
        chooser.observe(alone)
    expected = table().latency_s(10e6, 10e6, 0.01, 1.0, 4.0).min()
    assert chooser.choose(6.0).predicted_s == pytest.approx(expected, rel=0.03)


def test_before_a_sample_it_is_in_proportion_and_after_it_moves_with_the_uplink() -> None:
    up = Bandwidth(10e6)
    down = Downlink(up, share=3.0)
    assert down.worth_bps(0.0) == 3 * up.worth_bps(0.0)
    assert down.low_bps(0.0) == 3 * up.low_bps(0.0)
    for bad in (0.0, -1.0, float("nan"), float("inf"), 1e15):
        down.observe(bad, 0.0)
    assert down.worth_bps(0.0) == 3 * up.worth_bps(0.0)
    for t in range(6):
        up.observe(10e6, t)
        down.observe(5e6, t)
    assert down.worth_bps(6.0) == pytest.approx(5e6, rel=0.03)
    assert down.low_bps(6.0) < down.worth_bps(6.0)
    for t in (6, 7):
        up.observe(2e6, t)  # a probe says that the link is five times slower
    assert down.worth_bps(7.0) == pytest.approx(1e6, rel=0.05)
    down.observe(5e6, 8.0)  # and an answer that this was the uplink alone
    assert down.worth_bps(8.0) == pytest.approx(5e6, rel=0.05)


def test_a_map_of_this_order_names_the_side_and_the_ends() -> None:
    rows = tuple(
        ConfigRow(
            state_bps=bps,
            exit=None,
            accuracy=0.9,
            cut=cut,
            codec="float32",
            latency_s=0.1,
            reward=1.0,
            meets=True,
            sends=cut != INPUT,
        )
        for bps, cut in ((1e6, INPUT), (10e6, "wide"), (100e6, OUTPUT))
    )
    config = ConfigMap(model="m", batch=1, reward="edgent", within_s=1.0, rows=rows)
    for bps, cut in ((1e6, OUTPUT), (10e6, "wide"), (100e6, INPUT)):
        chooser = MapChooser(config, TableChooser(table()))
        for t in range(4):
            chooser.observe(step(t, up_bps=bps))
        choice = chooser.choose(4.0)
        assert (choice.cut, choice.first) == (cut, "server")


def test_a_long_answer_that_crawls_is_not_taken_for_a_slow_uplink() -> None:
    """A short input, and time that may be the answer's: only where its rate was seen, the rest is the uplink's."""
    for down_bytes, down_bps, moved in ((400_000, None, False), (400_000, 8e6, True), (100, None, True)):
        chooser = TableChooser(table())
        for t in range(4):
            told = step(float(t)).model_copy(
                update={
                    "seconds": Seconds(total=0.5, up=0.4),
                    "up_bytes": 2_000,
                    "down_bytes": down_bytes,
                    "evidence": Evidence(rtt_s=0.01, down_bps=down_bps),
                }
            )
            chooser.observe(told)
        up_bps, _ = chooser.beliefs
        assert up_bps is not None
        assert (up_bps < 1e6) == moved

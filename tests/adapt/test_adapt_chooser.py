"""The chooser on made-up tables: cheapest, reluctant, in time, curious, and away from a server that is away."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from chooser_rig import MS, TABLE, settled, step, table_of
from hypothesis import given
from hypothesis import strategies as st

from isthmus.adapt import Habits, TableChooser
from isthmus.adapt.lateness import FIRST, LATE_S
from isthmus.errors import BadInput
from isthmus.graph.types import INPUT, OUTPUT
from isthmus.link.types import Link
from isthmus.record.types import Evidence, Seconds, Step


@given(st.floats(1e4, 1e9), st.floats(0.2, 50), st.floats(0.5, 5))
def test_it_takes_the_argmin_of_the_one_cost_function(bps: float, load: float, device: float) -> None:
    chooser = TableChooser(replace(TABLE, link=Link(bps, bps, rtt_s=5 * MS)), Habits(margin=0))
    for t in range(5):
        chooser.observe(step(t, total=0.0, server_s=load * (9.2 * MS) - 0.2 * MS, head=device * 15.2 * MS - 0.2 * MS))
    latency = TABLE.latency_s(bps, bps, 5 * MS, load, device)
    late = FIRST * (LATE_S + device * (TABLE.device_s[-1] - TABLE.device_s)) * (TABLE.up_bytes > 0)
    worth = latency + late  # what it may cost on top, as often as is believed at first
    choice = chooser.choose(4.0)
    asked = TABLE.cuts.index(choice.cut)
    at = TABLE.cuts.index(OUTPUT) if choice.beside else asked
    assert worth[at] == pytest.approx(worth.min(), rel=1e-6)
    assert choice.predicted_s == pytest.approx(latency[asked], rel=1e-6)


def test_every_place_is_best_somewhere() -> None:
    """The table is a hard one: each of its rows wins at some rate."""
    assert {settled(bps).choose(5).cut for bps in (1e9, 60e6, 5e6, 0.2e6)} == {INPUT, "early", "late", OUTPUT}


def test_a_drop_of_the_link_is_avoided_at_the_first_sample_and_believed_at_the_second() -> None:
    chooser = settled(100e6)
    before = chooser.choose(5).cut
    chooser.observe(step(5, up_bps=1e6))
    assert chooser.beliefs[0] == pytest.approx(100e6, rel=0.05)  # it may be a stall
    assert chooser.choose(6).cut != before  # but if it is none, sending costs 1.6 s
    assert chooser.probe_bytes(6.0) > 0  # so ask at once
    chooser.observe(step(6, probe=True, up_bps=1.1e6))
    assert chooser.choose(7).cut == OUTPUT
    assert chooser.beliefs[0] == pytest.approx(1.05e6, rel=0.05)


def test_a_stall_is_forgotten_when_a_probe_says_so() -> None:
    chooser = settled(100e6)
    before = chooser.choose(5).cut
    chooser.observe(step(5, up_bps=1e6))
    chooser.choose(6)
    chooser.observe(step(6, probe=True, up_bps=99e6))
    assert chooser.choose(6.1).cut == before


def test_a_wavering_link_is_worth_less_than_its_mean() -> None:
    """In turns 60 and 4 Mbit/s: the mean of the logarithm is 15, but a bit takes as long as at 7.5."""
    chooser = TableChooser(TABLE)
    for t in range(60):
        chooser.observe(step(t, up_bps=60e6 if t % 2 else 4e6))
    expected = [TABLE.latency_s(r, r, 5 * MS) for r in (60e6, 4e6)]
    best = int(np.argmin(np.mean(expected, axis=0)))
    assert chooser.choose(60).cut == TABLE.cuts[best]
    assert chooser._bandwidth.worth_bps(60) == pytest.approx(7.5e6, rel=0.25)


def test_a_small_gain_is_taken_once_staying_has_cost_as_much() -> None:
    near = table_of(("a", 50, 10, 10), ("b", 50, 10, 11), (OUTPUT, 500, 0, 0))
    chooser = settled(20e6, near, Habits(patience=0.08))
    assert chooser.choose(5).cut == "a"
    chooser._sizes.at(1).table = replace(near, device_s=np.array([0.053, 0.05, 0.5]))  # 3.4 % for b
    assert [chooser.choose(6 + t).cut for t in range(6)] == ["a", "a", "a", "b", "b", "b"]


def test_small_gains_are_not_worth_a_move() -> None:
    near = table_of(("a", 50, 10, 10), ("b", 50, 10, 11), (OUTPUT, 500, 0, 0))
    chooser = settled(20e6, near)
    assert chooser.choose(5).cut == "a"
    for t in range(6, 9):  # 3 % for b now
        chooser._sizes.at(1).table = replace(near, device_s=np.array([0.053, 0.05, 0.5]))
        kept = chooser.choose(t)
        assert kept.cut == "a"
        assert "too little" in kept.why
    chooser._sizes.at(1).table = replace(near, device_s=np.array([0.060, 0.05, 0.5]))
    assert chooser.choose(10).cut == "b"


def test_a_deadline_excludes_what_would_miss_it_if_anything_meets_it() -> None:
    """At the low end of the link only the slower but safe choice is in time."""
    risky = table_of((INPUT, 0, 5, 100), (OUTPUT, 60, 0, 0))
    free = settled(20e6, risky)
    assert free.choose(5).cut == INPUT
    tight = settled(20e6, risky, Habits(deadline_s=0.0605))
    assert tight.choose(5).cut == INPUT  # 50 ms expected, 57 ms at the low end
    assert tight.choose(60).beside  # nothing was heard for a minute: the link may carry less, and the device computes
    assert "nothing meets 10 ms" in settled(20e6, risky, Habits(deadline_s=0.01)).choose(5).why


def test_a_current_choice_that_would_be_late_is_left_however_small_the_gain() -> None:
    near = table_of(("a", 40, 10, 1), ("b", 41, 10, 1), (OUTPUT, 500, 0, 0))
    chooser = settled(20e6, near, Habits(deadline_s=0.060))
    assert chooser.choose(5).cut == "a"
    chooser._sizes.at(1).table = replace(near, device_s=np.array([0.0445, 0.0435, 0.5]))
    assert chooser.choose(6).cut == "b"


def test_a_plan_that_sends_nothing_still_learns() -> None:
    chooser = settled(0.2e6)
    assert chooser.choose(4.2).cut == OUTPUT
    assert chooser.probe_bytes(4.4) == 0  # the last sample is young
    asked = [t / 10 for t in range(50, 150) if chooser.probe_bytes(t / 10)]
    assert np.diff(asked) == pytest.approx(0.5, abs=0.11)  # one after the other: nobody waits behind them
    for at in range(15, 20):
        chooser.observe(step(at, probe=True, up_bps=0.2e6))
    later = [t / 10 for t in range(200, 300) if chooser.probe_bytes(t / 10)]
    assert np.diff(later) == pytest.approx(2.0, abs=0.11)
    for at_s in later[-2:]:
        chooser.observe(step(at_s, probe=True, up_bps=100e6))
    assert chooser.choose(30).cut != OUTPUT


def test_news_is_checked_soon() -> None:
    """What has just changed changes again: the first probes after a change come a quarter of a second apart."""
    chooser = settled(0.2e6)
    for t in (5.0, 5.1):
        chooser.observe(step(t, probe=True, up_bps=1e6))
    asked = [t / 100 for t in range(520, 620) if chooser.probe_bytes(t / 100)]
    assert len(asked) >= 2


def test_in_doubt_one_probe_follows_the_other() -> None:
    """A second sample like the strange one is there before the next request; a probe that told nothing is no reason to
    hurry, and neither is one that is still away."""
    chooser = settled(0.2e6)
    assert chooser.choose(5.0).cut == OUTPUT
    assert chooser.probe_bytes(6.5) > 0
    chooser.observe(step(6.5, probe=True, up_bps=60e6, total=0.01))
    assert chooser.in_doubt
    assert chooser.choose(6.51).cut == OUTPUT
    assert chooser.probe_bytes(6.515) > 0
    assert chooser.probe_bytes(6.52) == 0  # that one is away
    chooser.observe(step(6.515, probe=True, total=0.01))
    assert chooser.in_doubt
    assert chooser.probe_bytes(6.53) == 0
    assert chooser.probe_bytes(6.62) > 0
    chooser.observe(step(6.62, probe=True, up_bps=60e6, total=0.01))
    assert chooser.choose(6.64).cut != OUTPUT


def test_a_request_that_taught_nothing_is_followed_by_a_probe_that_fits_the_link() -> None:
    """12.5 kB take 0.1 s at 1 Mbit/s: with 10 % of the link, every second. None while requests tell of the link."""
    table = table_of((INPUT, 0, 10, 600), ("last", 80, 1, 1), (OUTPUT, 120, 0, 0))

    def asked(habits: Habits, *, telling: bool) -> list[float]:
        chooser = settled(1e6, table, habits)
        for t in range(5, 20):  # the rate has settled
            chooser.observe(step(t, up_bps=1e6))
        found = []
        for tick in range(200, 260):
            now = tick / 10
            if tick % 2 == 0:
                assert chooser.choose(now).cut == "last"
                if telling:
                    chooser.observe(step(now, up_bps=1e6))
            if chooser.probe_bytes(now):
                found.append(now)
                chooser.observe(step(now, probe=True))  # it came back, too short to tell
        return found

    assert asked(Habits(), telling=True) == []
    assert np.diff(asked(Habits(), telling=False)) == pytest.approx(0.4)  # 0.33, looked at every 0.1 s
    assert asked(Habits(probe_share=0.1), telling=False) == pytest.approx([20.1, 21.1, 22.1, 23.1, 24.1, 25.1])
    assert asked(Habits(probe_share=0), telling=False) == pytest.approx([21.1, 23.1, 25.1])


def test_a_probe_that_told_nothing_is_not_repeated_before_the_next_request() -> None:
    """On a link too quick to tell one would follow the other, thousands a second, while the device computes."""
    chooser = settled(1e9, table_of((INPUT, 0, 110, 2500), (OUTPUT, 120, 0, 0)))
    for begin in (5.0, 5.5, 6.0):
        assert chooser.choose(begin).cut == OUTPUT
        asked = 0
        for tick in range(1, 400):
            now = begin + tick / 1000
            if chooser.probe_bytes(now):
                asked += 1
                chooser.observe(step(now, probe=True, total=0.0005))
        assert asked == 1


def test_no_probe_where_nothing_could_change() -> None:
    hopeless = table_of((INPUT, 0, 500, 600), (OUTPUT, 20, 0, 0))
    assert TableChooser(hopeless).probe_bytes(100.0) == 0
    assert TableChooser(TABLE).probe_bytes(100.0) == Habits().probe_bytes > 0
    assert TableChooser(TABLE, Habits(probe_bytes=0)).probe_bytes(100.0) == 0


def test_a_bad_round_trip_does_not_end_all_curiosity() -> None:
    """Five requests that took 5 s each way: the device is best now, but a probe may find that it has passed."""
    chooser = TableChooser(TABLE)
    for t in range(5):
        chooser.observe(step(t, up_bps=100e6).model_copy(update={"evidence": Evidence(up_bps=100e6, rtt_s=5.0)}))
    assert chooser.choose(5).cut == OUTPUT
    assert chooser.probe_bytes(10) > 0


def test_an_absent_server_is_left_at_once_and_found_again_at_the_first_probe() -> None:
    chooser = settled(100e6)
    cut = chooser.choose(5).cut
    chooser.observe(step(5, trouble="the server did not answer", total=0.2))
    away = chooser.choose(5.3)
    assert (away.cut, away.why) == (OUTPUT, "the server does not answer")
    asked, now = [], 5.3
    while now < 15:
        if chooser.probe_bytes(now):
            asked.append(now)
            chooser.observe(step(now, probe=True, trouble="nobody there", total=0.0))
        now += 0.01
    assert max(b - a for a, b in pairwise(asked)) < 0.55
    assert len(asked) < 30
    chooser.observe(step(15, probe=True, up_bps=100e6, total=0.01))
    assert chooser.choose(15.1).cut == cut


def test_after_a_failure_one_strange_probe_is_not_enough() -> None:
    """The link fell to 0.5 Mbit/s: the first probe says so but may be a stall, the second settles it."""
    chooser = settled(100e6)
    chooser.observe(step(5, trouble="late", total=0.2))
    assert chooser.probe_bytes(5.3) > 0
    chooser.observe(step(5.3, probe=True, up_bps=0.5e6, total=0.1))
    assert chooser.probe_bytes(5.41) > 0  # at once
    assert chooser.choose(5.5).cut == OUTPUT
    chooser.observe(step(5.6, probe=True, up_bps=0.5e6, total=0.1))
    assert chooser.choose(5.8).cut == OUTPUT
    assert chooser.choose(5.8).why != "the server does not answer"
    assert chooser.beliefs[0] == pytest.approx(0.5e6, rel=0.1)


def test_a_busy_server_is_left_and_tried_again_later() -> None:
    chooser = settled(1e9)
    assert chooser.choose(5).cut == INPUT
    for t in range(5, 9):
        chooser.observe(step(t, INPUT, up_bps=1e9, server_s=0.3))
    assert chooser.choose(8.05).cut == OUTPUT
    assert chooser.beliefs[1] == pytest.approx(30, rel=0.05)
    assert chooser.choose(70).cut == INPUT  # load passes; nobody can see it from here


def test_waiting_at_the_server_counts_for_whatever_goes_there() -> None:
    chooser = settled(1e9)
    fast = chooser.choose(5).predicted_s
    for t in range(5, 9):
        chooser.observe(step(t, INPUT, up_bps=1e9, queue_s=0.03))
    slow = chooser.choose(8.05).predicted_s
    assert fast is not None
    assert slow is not None
    assert slow == pytest.approx(fast + 0.03, rel=0.01)


def test_without_the_whole_model_on_the_device_it_keeps_sending() -> None:
    chooser = TableChooser(table_of((INPUT, 0, 10, 600), ("late", 60, 5, 30)))
    chooser.observe(step(1, trouble="gone"))
    assert chooser.choose(2).cut in (INPUT, "late")
    assert chooser.probe_bytes(3) > 0


def test_choices_the_table_does_not_know_teach_no_load() -> None:
    chooser = settled(20e6)
    chooser.observe(step(6, "elsewhere", server_s=9.0, up_bps=20e6))
    assert chooser.beliefs[1] == pytest.approx(1.0)


def test_absurd_habits_are_refused() -> None:
    for habits in (
        {"deadline_s": 0},
        {"margin": 1},
        {"patience": -0.1},
        {"patience": math.nan},
        {"probe_every_s": 0},
        {"probe_bytes": -1},
        {"probe_share": 1.1},
        {"deadline_s": math.nan},
    ):
        with pytest.raises(BadInput):
            Habits(**habits)


def test_a_part_too_small_to_tell_says_nothing_of_a_machines_load() -> None:
    """Writing a picture took a third of what the profile says: the device is as slow as it was all the same."""
    table = table_of((INPUT, 0.8, 10, 100), ("late", 60, 0.1, 30), (OUTPUT, 70, 0, 0))
    chooser = TableChooser(replace(table, link=Link(120e6, 120e6, rtt_s=5 * MS)))
    for t in range(20):
        assert chooser.choose(t).cut == INPUT
        chooser.observe(step(t, INPUT, up_bps=120e6, head=0.25 * MS, server_s=25 * MS))
    assert chooser.beliefs[1] == pytest.approx(2.5, rel=0.05)
    for t in range(20, 26):
        chooser.observe(step(t, "late", up_bps=120e6, head=60 * MS, server_s=2 * MS))
    assert chooser.beliefs[1] == pytest.approx(2.5, rel=0.4), "a tail of 0.1 ms that took 2 does not mean 20 times"


def test_a_short_transfer_that_crawls_tells_of_the_link() -> None:
    """1 kB shows no dispersion; when it takes 0.3 s twice, the link has almost stopped and the device wins."""
    table = table_of((INPUT, 0, 10, 600), ("last", 80, 1, 1), (OUTPUT, 120, 0, 0))
    chooser = settled(1e6, table)
    assert chooser.choose(5).cut == "last"
    for t in range(5, 7):
        up = Seconds(total=0.4, head=80 * MS, up=0.3)
        chooser.observe(Step(id=t, t_s=t, ran="split", cut="last", codec="float32", seconds=up, up_bytes=1000))
    assert chooser.choose(7.5).cut == OUTPUT
    assert chooser.beliefs[0] == pytest.approx(8e3 / 0.2975, rel=0.1)


def test_a_short_transfer_that_is_a_little_late_tells_nothing() -> None:
    chooser = settled(1e6)
    for t in range(5, 8):
        up = Seconds(total=0.1, up=12 * MS)
        chooser.observe(Step(id=t, t_s=t, ran="split", cut="late", codec="float32", seconds=up, up_bytes=1000))
    assert chooser.beliefs[0] == pytest.approx(1e6, rel=0.01)

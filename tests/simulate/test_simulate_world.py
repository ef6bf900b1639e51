"""The world: at constant rates it is the cost table; over changes it is a slow walk in small steps; what is lost."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate_worlds import MS, ROWS, TABLE, table_of

from isthmus.errors import BadInput
from isthmus.graph.types import OUTPUT
from isthmus.link import Link, Trace, constant, steps
from isthmus.simulate import Away, Load, Others, World

EVERY = np.arange(len(ROWS))


def ends(world: World, start_s: float = 0.0, batch: int = 1) -> list[float]:
    found: list[float] = world.go(EVERY, np.array([start_s]), batch).ended_s.tolist()
    return found


@given(
    st.floats(1e5, 1e9), st.floats(0.1, 3), st.floats(0, 0.2), st.floats(0.3, 9), st.floats(0.3, 9), st.floats(0, 99)
)
def test_where_nothing_changes_it_is_the_cost_table(
    up: float, share: float, rtt_s: float, load: float, device: float, start: float
) -> None:
    world = World(
        {1: TABLE}, constant(up), constant(up * share), rtt_s, Load.constant(load), Load.constant(device)
    )  # fmt: skip
    priced = TABLE.latency_s(up, up * share, rtt_s, load, device)
    assert [e - start for e in ends(world, start)] == pytest.approx(priced.tolist(), rel=1e-9, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 4), st.sampled_from(range(len(ROWS))))
def test_over_changes_it_is_a_walk_in_small_steps(start: float, row: int) -> None:
    up = steps("3Mbit:1s,0:0.7s,40Mbit:0.4s,1Mbit:5s", loop=True)
    down = steps("2Mbit:0.3s,0.5Mbit:0.5s", loop=True)
    load = Load.of([0, 0.9, 1.4], [1, 9, 0.5])
    world = World({1: TABLE}, up, down, load=load, others=Others(12.0, 0.03, seed=5))
    # ticks end a little late, and at the edge of an outage a little is all of it: bracket by neighbouring starts
    early, late = (ends(world, max(0.0, start + shift))[row] for shift in (-5e-3, 5e-3))
    assert early - 8e-3 <= walked(world, row, start) <= late + 8e-3


def walked(world: World, row: int, start: float, tick: float = 1e-4) -> float:
    """The same in ticks of 0.1 ms: nothing is inverted here."""
    t = start + float(TABLE.device_s[row])
    if TABLE.up_bytes[row] == 0:
        return t
    t += TABLE.link.fixed_s
    t = carried(world.up.rate_at, t, 8 * float(TABLE.up_bytes[row]), tick) + world.round_trip_s / 2
    t += float(world.others.wait_s(np.array([t]))[0])
    t = carried(lambda now: 1 / world.load.at(now), t, float(TABLE.server_s[row]), tick)
    return carried(world.back.rate_at, t, 8 * float(TABLE.down_bytes[row]), tick) + world.round_trip_s / 2


def carried(rate_at: object, t: float, amount: float, tick: float) -> float:
    while amount > 0:
        amount -= rate_at(t) * tick  # type: ignore[operator]
        t += tick
    return t


def test_a_transfer_pays_each_rate_for_its_own_share() -> None:
    world = World({1: TABLE}, steps("8Mbit:100ms,4Mbit:10s"), constant(1e9), rtt_s=0.0)
    sent_early = world.go(np.array([1]), np.array([0.0])).sent
    # 200 kB from 15.5 ms on: 84.5 ms at 1 MB/s, the other 115.5 kB at 0.5 MB/s
    assert float(sent_early.left_s[0]) == pytest.approx(0.1 + 0.1155 / 0.5)


def test_moments_and_choices_broadcast() -> None:
    world = World({1: TABLE}, steps("3Mbit:1s,40Mbit:1s", loop=True))
    moments = np.array([0.0, 0.4, 0.95, 7.3])
    found = world.go(EVERY[None, :], moments[:, None]).ended_s
    assert found.tolist() == [pytest.approx(ends(world, t)) for t in moments]


def test_another_batch_size_has_its_own_table_or_a_scaled_one() -> None:
    world = World({1: TABLE, 4: table_of(scale=3)}, constant(10e6), rtt_s=0.0)
    assert ends(world, batch=4)[3] == pytest.approx(0.36)
    assert ends(world, batch=8)[3] == pytest.approx(0.72)


def test_a_late_answer_is_finished_by_the_device() -> None:
    slow = World({1: TABLE}, constant(1e6), deadline_s=0.35)
    went = slow.go(EVERY, np.array([10.0]))
    assert went.late.tolist() == [True, True, False, False]  # 4.8 s and 1.6 s of sending; 60 + 240 ms are in time
    assert (went.ended_s - 10).tolist() == pytest.approx([0.35 + 0.12, 0.35 + 0.105, float(went.ended_s[2]) - 10, 0.12])
    assert not World({1: TABLE}, constant(1e6)).go(EVERY, np.array([0.0])).late.any()


def test_an_answer_that_comes_while_the_device_computes_too_is_in_time() -> None:
    """`early` needs 15 ms, 160 ms of sending and 17 more; the other 105 ms of the device begin at `give_up_s`."""
    world = World({1: TABLE}, constant(10e6))
    alone = float(world.go(np.array([1]), np.array([0.0])).ended_s[0])
    for give_up_s, late in ((alone - 0.11, True), (alone - 0.10, False), (alone - 0.01, False)):
        went = world.go(np.array([1]), np.array([0.0]), give_up_s=give_up_s)
        assert went.late.tolist() == [late]
        assert float(went.ended_s[0]) == pytest.approx(give_up_s + 0.105 if late else alone)
        assert float(went.rest_s[0]) == pytest.approx(0.105 if late else 0.0)


def test_beside_the_server_the_device_begins_when_its_part_is_sent() -> None:
    """`early` needs 15 ms here before it is sent, and 105 more for the rest: 120 ms at most, however slow the link."""
    for rate_bps, device_first in ((10e6, True), (100e6, False), (1e3, True)):
        world = World({1: TABLE}, constant(rate_bps))
        alone = float(world.go(np.array([1]), np.array([0.0])).ended_s[0])
        went = world.go(np.array([1]), np.array([0.0]), give_up_s=10.0, beside=True)
        assert went.late.tolist() == [device_first]
        assert float(went.ended_s[0]) == pytest.approx(0.12 if device_first else alone)
        assert device_first == (alone > 0.12)


def test_where_the_device_cannot_race_nothing_is_done_beside() -> None:
    remote = table_of((("early", 15, 9, 200), ("late", 60, 5, 30)))
    for table in (replace(TABLE, first="server"), remote):
        world = World({1: table}, constant(10e6))
        plain, beside = (world.go(np.array([1]), np.array([0.0]), beside=asked) for asked in (False, True))
        assert beside.ended_s.tolist() == plain.ended_s.tolist()
        assert not beside.late.any()


def test_where_the_server_runs_first_the_device_does_not_race() -> None:
    back = replace(TABLE, first="server")
    world = World({1: back}, constant(10e6))
    alone = float(world.go(np.array([1]), np.array([0.0])).ended_s[0])
    went = world.go(np.array([1]), np.array([0.0]), give_up_s=alone - 0.03)
    assert went.late.tolist() == [True]
    assert float(went.ended_s[0]) == pytest.approx(alone - 0.03 + 0.12)


def test_a_head_longer_than_the_deadline_is_finished_at_once() -> None:
    went = World({1: TABLE}, constant(1e9), deadline_s=0.04).go(EVERY, np.array([0.0]))
    assert went.late.tolist() == [False, False, True, False]
    assert float(went.ended_s[2]) == pytest.approx(0.12)  # 60 ms of head and the other 60


def test_a_server_that_is_away_answers_nothing_it_had_begun() -> None:
    world = World({1: TABLE}, constant(100e6), away=Away(((1.0, 2.0),)), deadline_s=0.5)
    late = [bool(world.go(EVERY, np.array([t])).late[1]) for t in (0.9, 0.95, 0.96, 1.5, 1.96, 1.97)]
    # there after 34 ms, computed in 9: what is with the server between 1 and 2 s is lost
    assert late == [False, False, True, True, True, False]
    forever = World({1: TABLE}, constant(100e6), away=Away(((1.0, 2.0),)))
    assert math.isinf(ends(forever, 1.5)[1])
    assert ends(forever, 1.5)[3] == pytest.approx(1.62)


def test_what_cannot_be_sent_runs_on_the_device_at_once() -> None:
    went = World({1: TABLE}, constant(100e6)).go(EVERY, np.array([3.0]), cut_off=np.array([True, True, True, True]))
    assert went.off.tolist() == [True, True, True, False]
    assert (went.ended_s - 3).tolist() == pytest.approx([0.12] * 4)


def test_noise_is_by_number_and_the_same_for_everyone() -> None:
    world = World({1: TABLE}, constant(20e6), noise=0.2, seed=4)
    factors = np.array([world.draws.at(k) for k in range(5000)])
    assert factors.mean() == pytest.approx(1.0, abs=0.01)
    assert np.log(factors).std() == pytest.approx(0.2, rel=0.05)
    again = World({1: TABLE}, constant(1e6), noise=0.2, seed=4)
    assert again.draws.at(4711) == world.draws.at(4711)
    noisy = world.go(EVERY, np.array([0.0]), noise=(2.0, 3.0)).ended_s
    assert noisy.tolist() == pytest.approx(
        World({1: TABLE}, constant(20e6), load=Load.constant(3), device_load=Load.constant(2))
        .go(EVERY, np.array([0.0]))
        .ended_s.tolist()
    )


def test_waits_of_others_equal_a_queue_run_by_hand() -> None:
    others = Others(9.0, 0.1, seed=2)
    asked = np.random.default_rng(0).uniform(0, 800, 300)
    found = others.wait_s(asked)
    times = others._until(0.0)[0]
    for t, wait in zip(asked.tolist(), found.tolist(), strict=True):
        free = 0.0
        for came in times[times <= t].tolist():
            free = max(free, came) + 0.1
        assert wait == pytest.approx(max(0.0, free - t), abs=1e-9)
    assert (found > 0.2).any()
    assert (found == 0).any()
    assert Others(9.0, 0.1, seed=2).wait_s(asked[::-1]).tolist() == pytest.approx(found[::-1].tolist())


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"up": Trace.of([0], [0.0])}, r"rate is 0 all along.*give a deadline"),
        ({"deadline_s": 0.0}, r"a deadline must be finite and above zero, not 0\.0"),
        ({"rtt_s": -1.0}, r"a round trip must be finite and at least zero"),
        ({"noise": -0.1}, r"noise needs a standard deviation"),
        ({"noise": math.nan}, r"noise needs a standard deviation"),
        ({"tables": {}}, r"needs a cost table for at least one batch size"),
        ({"tables": {0: TABLE}}, r"needs a cost table for at least one batch size"),
    ],
)
def test_worlds_that_make_no_sense_are_refused(changed: dict[str, object], sentence: str) -> None:
    made: dict[str, object] = {"tables": {1: TABLE}, "up": constant(1e6), **changed}
    with pytest.raises(BadInput, match=sentence):
        World(**made)  # type: ignore[arg-type]


def test_a_dead_link_needs_a_deadline_and_a_device_that_can_do_it_all() -> None:
    dead = Trace.of([0], [0.0])
    assert ends(World({1: TABLE}, dead, deadline_s=1.0))[0] == pytest.approx(1.12)
    remote_only = table_of(ROWS[:3])
    with pytest.raises(BadInput, match=r"rate is 0 all along"):
        World({1: remote_only}, dead, deadline_s=1.0)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: Load.of([0, 1], [1, 0]),
            r"a load factor is a number from 1e-06 to 1e\+06 \(1 is as profiled\), not 0",
        ),
        (lambda: Load.of([0, 1], [1, -2]), r"\(1 is as profiled\), not -2"),
        (lambda: Others(10, 0.2), r"10 requests a second of 0\.2 s each never end"),
        (lambda: Others(-1, 0.2), r"at least zero"),
        (lambda: Away(((2, 1),)), r"away from 2 to 1 s"),
        (lambda: Away(((0, 2), (1, 3))), r"away from 1 to 3 s"),
    ],
)
def test_loads_that_make_no_sense_are_refused(make: object, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        make()  # type: ignore[operator]


def test_the_downlink_keeps_the_ratio_of_the_tables_link() -> None:
    table = replace(TABLE, link=Link(20e6, 5e6), down_bytes=np.array([1e5, 1e5, 1e5, 0]))
    world = World({1: table}, steps("8Mbit:1s,16Mbit:1s"))
    assert [world.back.rate_at(t) for t in (0.5, 1.5)] == [2e6, 4e6]
    assert world.at_rate(40e6).back.rate_at(3) == 10e6


def test_times_are_never_negative_and_the_device_needs_no_link() -> None:
    world = World({1: TABLE}, steps("1Mbit:1s,0:1s", loop=True))
    for start in np.linspace(0, 4, 41):
        sent = world.go(EVERY, np.array([start])).sent
        moments = [sent.start_s + 0 * sent.headed_s, sent.headed_s, sent.begins_s, sent.left_s, sent.arrived_s]
        moments += [sent.begun_s, sent.done_s, sent.back_s]
        assert all((after >= before).all() for before, after in pairwise(moments))
        assert ends(world, start)[3] == pytest.approx(start + 120 * MS)
    assert TABLE.cuts[3] == OUTPUT

"""States in the paper's way, gains in both readings, and what a trace must be."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulate_worlds import ROWS, TABLE, table_of

from isthmus.errors import BadInput
from isthmus.graph.types import INPUT, OUTPUT
from isthmus.link import Trace, constant, steps
from isthmus.simulate import (
    PAPER_BATCHES,
    PAPER_RATES_BPS,
    Clairvoyant,
    Requests,
    States,
    World,
    compare,
    evaluate,
    gain,
    gain_in_time,
    make_policy,
    play,
    regret,
    usable,
)

TABLES = {b: table_of(scale=b**0.9) for b in PAPER_BATCHES}
times = st.lists(st.floats(1e-3, 10), min_size=1, max_size=20)


def test_the_papers_grid() -> None:
    grid = States.grid()
    assert len(grid.batches) == len(set(zip(grid.batches, grid.rates_bps, strict=True))) == 56
    assert set(grid.rates_bps) == {8e6, 16e6, 32e6, 64e6, 128e6, 256e6, 512e6, 1024e6}
    assert set(grid.batches) == {1, 2, 4, 8, 16, 32, 64}


def test_every_state_is_priced_by_the_cost_table() -> None:
    found = evaluate(TABLES, States.grid(), rtt_s=0.003, load=2.0, down_share=0.5)
    for at, (batch, rate) in enumerate(product(PAPER_BATCHES, PAPER_RATES_BPS)):
        assert found.seconds[at].tolist() == TABLES[batch].latency_s(rate, rate / 2, 0.003, 2.0).tolist()
    assert found.names == tuple((row[0], "float32") for row in ROWS)


def test_policies_over_states_equal_trying_each() -> None:
    found = evaluate(TABLES, States.grid())
    slow = [[TABLES[b].latency_s(r, r, 0.005)[c] for c in range(4)] for b, r in product(PAPER_BATCHES, PAPER_RATES_BPS)]
    assert found.seconds_of("dynamic").sum() == pytest.approx(sum(min(row) for row in slow))
    sums = [sum(row[c] for row in slow) for c in range(4)]
    assert found.seconds_of("static").sum() == pytest.approx(min(sums))
    assert found.seconds_of("device").sum() == pytest.approx(sums[3])
    assert found.seconds_of("server").sum() == pytest.approx(sums[0])
    assert found.seconds_of("cut:late").sum() == pytest.approx(sums[2])
    best = [min(range(4), key=row.__getitem__) for row in slow]
    assert found.wins() == {(ROWS[c][0], "float32"): best.count(c) for c in range(4) if c in best}
    assert len(found.wins()) >= 3  # a hard grid: the best moves
    assert gain(found.seconds_of("dynamic"), found.seconds_of("static")).ratio_of_sums == pytest.approx(
        1 - sum(min(r) for r in slow) / min(sums)
    )
    with pytest.raises(BadInput, match=r"'best' is no policy"):
        found.seconds_of("best")


def test_states_where_a_rate_holds_are_what_is_played() -> None:
    """Once a second over a trace that changes only in between: the paper's evaluation and the played one agree."""
    trace = steps("3Mbit:10s,40Mbit:10s,200Mbit:10s")
    world = World({1: TABLE}, trace)
    requests = Requests(count=30, every_s=1.0)
    found = evaluate({1: TABLE}, States((1,) * 30, tuple(trace.rate_at(k) for k in range(30))))
    for policy in ("table", "clairvoyant", "static", "device"):
        played = play(world, make_policy(policy, world, requests), requests)
        assert [s.seconds.total for s in played.steps] == pytest.approx(found.seconds_of(policy).tolist(), rel=1e-9)


@given(times, st.floats(0.1, 3))
def test_a_uniform_gain_reads_the_same_both_ways(other: list[float], share: float) -> None:
    found = gain([share * t for t in other], other)
    assert found.mean_of_savings == pytest.approx(1 - share, abs=1e-9)
    assert found.ratio_of_sums == pytest.approx(1 - share, abs=1e-9)


def test_the_readings_differ_where_savings_do() -> None:
    found = gain([1.0, 8.0], [2.0, 10.0])
    assert [found.mean_of_savings, found.ratio_of_sums] == pytest.approx([0.35, 0.25])
    assert regret([1.0, 2.0], [1.0, 1.0]) == pytest.approx(0.5)


def test_walks_with_other_starts_are_compared_moment_by_moment() -> None:
    """4 s each: two requests of 2 s against one of 1 s and one of 3 s."""
    found = gain_in_time([0.0, 2.0], [2.0, 2.0], [0.0, 1.0], [1.0, 3.0])
    # moments in the first second: 2 against 1; then 2 against 3 for three seconds
    assert found.mean_of_savings == pytest.approx((-1 + 3 * (1 / 3)) / 4, abs=1e-9)
    assert found.ratio_of_sums == 0.0
    later = gain_in_time([100.0, 102.0], [2.0, 2.0], [100.0, 101.0], [1.0, 3.0])
    assert later.mean_of_savings == pytest.approx(found.mean_of_savings, abs=1e-9)
    # only from 9 to 10 s both walk, 1 s against 2
    late = gain_in_time([0.0, 9.0], [9.0, 1.0], [9.0], [2.0])
    assert late.mean_of_savings == pytest.approx(1 / 2, abs=1e-9)
    assert gain_in_time([0.0, 5.0], [1.0, 8.0], [0.0, 5.0], [2.0, 10.0]) == gain([1.0, 8.0], [2.0, 10.0])


@pytest.mark.parametrize(
    ("mine", "other"), [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([1.0], [-1.0]), ([1.0], [np.inf])]
)
def test_gains_of_nonsense_are_refused(mine: list[float], other: list[float]) -> None:
    with pytest.raises(BadInput, match=r"a gain needs"):
        gain(mine, other)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: States((), ()), r"at least one, not 0 and 0"),
        (lambda: States((1,), (0.0,)), r"rate must be finite and above zero, not 0 bit/s"),
        (lambda: States((0,), (1.0,)), r"batch is at least 1, not 0"),
        (lambda: evaluate({1: table_of(ROWS[:1]), 2: table_of(ROWS[3:])}, States((1, 2), (1e6, 1e6))), r"in common"),
    ],
)
def test_states_of_nonsense_are_refused(make: object, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        make()  # type: ignore[operator]


def test_gaps_are_told_and_too_many_refused() -> None:
    assert usable(constant(1e6)) == []
    assert usable(Trace.of([0, 600], [1e6, 2e6])) == []  # written by hand: two long steps are no gap
    often = [*range(20), *range(40, 60)]
    assert usable(Trace.of(often, [1e6] * 40)) == ["1 gap of 21 s in all, from 19 s on: the last value holds"]
    with pytest.raises(BadInput, match=r"no samples for 181 s of its 220 s"):
        usable(Trace.of([*range(20), *range(200, 220)], [1e6] * 40))


def test_long_steps_written_by_hand_are_no_gaps() -> None:
    trace = steps("20Mbit:1s,1Mbit:100s,20Mbit:1s,0:1s,20Mbit:1s")
    assert usable(trace, recorded=False) == ["no link for 0.962 % of the time"]
    with pytest.raises(BadInput, match="no samples for 100 s"):
        usable(trace)


def test_policies_beside_each_other() -> None:
    world = World({1: TABLE}, steps("2Mbit:10s,40Mbit:10s", loop=True))
    reference, rows = compare(world, Requests(until_s=40.0), ["dynamic", "static", "clairvoyant", "cuts"])
    assert reference == "dynamic"
    by_name = {row.policy: row for row in rows}
    assert [n for n in by_name if n.startswith("cut:")] == [f"cut:{row[0]}/float32" for row in ROWS]
    assert by_name["static"].mean_s == min(r.mean_s or 9 for n, r in by_name.items() if n.startswith("cut:"))
    assert by_name["static"].plays.split("/")[0] in (INPUT, "early", "late", OUTPUT)
    assert by_name["clairvoyant"].regret == 0
    assert all((row.regret or 0) >= 0 for row in rows)
    with pytest.raises(BadInput, match=r"name at least one policy"):
        compare(world, Requests(count=1), [])
    assert Clairvoyant(world).beliefs == (None, None)

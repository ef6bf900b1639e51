"""The switch table against trying every choice at every rate: ties, duplicates, choices that send nothing."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_worlds import diamond_problem, random_problem

from isthmus.errors import BadInput, NoPlan
from isthmus.link import Link
from isthmus.plan import CostTable, SwitchTable, candidates_for, switch_table

RATES = [10.0**k for k in range(0, 12)]


def table(choices: list[tuple[int, int, int, int]], link: Link | None = None) -> CostTable:
    """A cost table from (device s, server s, bytes up, bytes down), choice i called `ci`."""
    columns = np.array(choices, dtype=np.float64).T
    return CostTable(
        cuts=tuple(f"c{i}" for i in range(len(choices))),
        codecs=("float32",) * len(choices),
        device_s=columns[0],
        server_s=columns[1],
        up_bytes=columns[2],
        down_bytes=columns[3],
        link=link or Link(1e6, 1e6),
    )


def best_exactly(choices: list[tuple[int, int, int, int]], rate: Fraction) -> set[int]:
    """Every choice of least cost at this rate, in rational numbers; up and down alike, no round trip."""
    costs = [d + s + Fraction(8 * (up + down)) / rate for d, s, up, down in choices]
    return {i for i, cost in enumerate(costs) if cost == min(costs)}


def first_by_rule(choices: list[tuple[int, int, int, int]], among: set[int]) -> str:
    """The stated rule for ties: fewest bytes, then the first of the list."""
    return f"c{min(among, key=lambda i: (sum(choices[i][2:]), i))}"


def drawn_choice(rng: random.Random) -> tuple[int, int, int, int]:
    return rng.randint(0, 3), rng.randint(0, 3), rng.randint(0, 3), rng.randint(0, 3)


small = st.integers(0, 3)
some_choices = st.lists(st.tuples(small, small, small, small), min_size=1, max_size=9)


@settings(max_examples=300, deadline=None)
@given(some_choices)
def test_exact_at_every_boundary_and_between_with_ties_by_rule(choices: list[tuple[int, int, int, int]]) -> None:
    """Small whole numbers: duplicates, choices that send nothing and several that meet in one point are the rule."""
    made = switch_table(table(choices))
    assert all(row.to_bps is None or row.from_bps < row.to_bps for row in made.rows)
    crossings = {
        Fraction(8 * (sum(a[2:]) - sum(b[2:])), sum(b[:2]) - sum(a[:2]))
        for a in choices
        for b in choices
        if sum(b[:2]) != sum(a[:2])
    }
    marks = sorted(x for x in crossings if x > 0)
    between = [(a + b) / 2 for a, b in pairwise(marks)]
    for rate in [Fraction(1, 1000), *between, *(Fraction(k) for k in (1, 7, 10**6))]:
        if rate not in crossings:
            assert made.at(float(rate)).cut == first_by_rule(choices, best_exactly(choices, rate))
    for rate in marks:
        if rate.denominator == 1:  # a rate that a float holds exactly
            assert made.at(float(rate)).cut == first_by_rule(choices, best_exactly(choices, rate))


def test_the_cases_are_hard() -> None:
    """The property above would say little were most tables of one row, or without ties."""
    rng = random.Random(3)
    drawn = [[drawn_choice(rng) for _ in range(rng.randint(1, 9))] for _ in range(200)]
    assert sum(len(switch_table(table(c)).rows) > 1 for c in drawn) > 80
    assert sum(len({(sum(x[:2]), sum(x[2:])) for x in c}) < len(c) for c in drawn) > 50


@pytest.mark.parametrize("seed", range(40))
def test_equal_to_trying_all_choices_of_a_problem_at_any_rate_and_load(seed: int) -> None:
    rng = random.Random(seed)
    problem = random_problem(rng, machines=2)
    if problem.home:
        problem = type(problem)(problem.graph, problem.machines, problem.links, default_codecs=problem.default_codecs)
    costs = CostTable.of(problem, candidates_for(problem))
    share, rtt = 10 ** rng.uniform(-1, 1), rng.choice((0.0, 0.02))
    load, device_load = 10 ** rng.uniform(-1, 1.5), 10 ** rng.uniform(-0.5, 0.5)
    made = switch_table(costs, rtt_s=rtt, down_share=share, load=load, device_load=device_load)
    for rate in [10 ** rng.uniform(2, 10) for _ in range(60)]:
        all_s = costs.latency_s(rate, rate * share, rtt, load, device_load)
        row = made.at(rate)
        named = [i for i in range(len(all_s)) if (costs.cuts[i], costs.codecs[i]) == (row.cut, row.codec)]
        assert all_s[named].min() == pytest.approx(all_s.min(), rel=1e-12)
        assert row.latency_s(rate) == pytest.approx(all_s.min(), rel=1e-12)


def test_the_rate_the_load_and_the_device_decide() -> None:
    costs = CostTable.of(problem := diamond_problem(), candidates_for(problem))
    seen = [
        {switch_table(costs, load=k, device_load=d).at(r).cut for r in RATES} for k, d in ((1, 1), (1, 30), (99, 1))
    ]
    assert seen[1] > seen[0]  # a slow device makes cuts worth while
    assert seen[2] == {"@output"}  # a busy server none


def test_rows_follow_each_other_and_state_the_latency_at_their_ends() -> None:
    made = switch_table(table([(9, 0, 0, 0), (4, 1, 100, 0), (0, 2, 900, 10)]), batch=4)
    assert made.batch == 4
    assert [r.cut for r in made.rows] == ["c0", "c1", "c2"]
    assert made.rows[0].from_bps == 0
    assert made.rows[-1].to_bps is None
    for slower, faster in pairwise(made.rows):
        assert slower.to_bps == faster.from_bps
        assert slower.to_s == pytest.approx(faster.from_s)
    assert made.rows[0].from_s == made.rows[0].to_s == 9
    assert made.rows[-1].to_s == 2
    assert SwitchTable.model_validate_json(made.model_dump_json()) == made


def test_a_boundary_belongs_to_the_slower_range() -> None:
    made = switch_table(table([(9, 0, 0, 0), (1, 0, 100, 0)]))
    assert made.rows[0].to_bps == 100
    assert [made.at(r).cut for r in (99.9, 100, 100.1)] == ["c0", "c0", "c1"]


def test_rates_of_zero_and_without_end() -> None:
    made = switch_table(table([(9, 0, 0, 0), (0, 1, 100, 0)]))
    assert made.at(0).cut == "c0"
    assert made.at(math.inf).cut == "c1"
    assert made.rows[1].latency_s(0) == math.inf
    assert made.rows[0].latency_s(0) == 9
    sends = switch_table(table([(0, 1, 100, 0), (1, 1, 10, 0)]))
    assert sends.rows[0].from_s is None
    with pytest.raises(NoPlan, match=r"rate of zero.*c1 as float32, sends 10 bytes"):
        sends.at(0)


@pytest.mark.parametrize("rate", [-1.0, math.nan, -math.inf])
def test_no_rate(rate: float) -> None:
    with pytest.raises(BadInput, match=r"zero or more"):
        switch_table(table([(9, 0, 0, 0)])).at(rate)


@pytest.mark.parametrize("what", ["load", "device_load", "down_share"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_no_load_and_no_share(what: str, value: float) -> None:
    with pytest.raises(BadInput, match=what):
        switch_table(table([(9, 0, 0, 0)]), **{what: value})  # type: ignore[arg-type]


def test_no_batch() -> None:
    with pytest.raises(BadInput, match=r"batch of 1 or more, not 0"):
        switch_table(table([(9, 0, 0, 0)]), 0)


def test_the_downlink_follows_the_link_of_the_cost_table() -> None:
    slow, even = (switch_table(table([(9, 0, 0, 0), (0, 1, 100, 50)], Link(1e6, d))) for d in (1e5, 1e6))
    assert (slow.down_share, even.down_share) == (0.1, 1.0)
    assert slow.rows[1].wire_bytes == 600
    assert even.rows[1].wire_bytes == 150
    assert switch_table(table([(9, 0, 0, 0)], Link(math.inf, math.inf))).down_share == 1.0


def test_a_boundary_beyond_all_floats() -> None:
    made = switch_table(table([(0, 0, 0, 0), (0, 0, 10**9, 0)]))
    assert len(made.rows) == 1
    costs = table([(1, 0, 0, 0), (0, 0, 10**9, 0)])
    costs.device_s[0] = 5e-324
    assert switch_table(costs).at(1e300).cut == "c0"

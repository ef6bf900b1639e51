"""Edgent's static search against trying every exit, cut and codec."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from plan_worlds import Op, branchy_problem, graph, random_problem, times

from isthmus.errors import NoPlan
from isthmus.graph import INPUT, OUTPUT, all_cuts, cut_at, narrow_cuts
from isthmus.link.types import Link
from isthmus.plan import PLANNERS, Limits, Problem, price
from isthmus.plan.cost import allowed_codecs
from isthmus.plan.planners.edgent import best_partitions, in_time
from isthmus.plan.strategies import link_at, strategies
from isthmus.plan.types import Exit


def by_trying_everything(problem: Problem, *, narrow: bool) -> tuple[str, float] | None:
    """(exit, seconds) of the most accurate exit with any choice in time, and its fastest; None where there is none."""
    in_time: list[tuple[float, int, str, float]] = []
    for depth, place in enumerate(problem.exits):
        at = problem.at_exit(place.output)
        best = min(
            (
                price(at, [cut], codec).total_s
                for cut in (narrow_cuts(at.graph) if narrow else all_cuts(at.graph))
                for codec in allowed_codecs(at, [cut])
                if not (problem.limits.private and sends_raw(at, cut.crossing, cut.id))
            ),
            default=float("inf"),
        )
        if best <= (problem.limits.latency_s or float("inf")):
            in_time.append((place.accuracy or 0.0, depth, place.output, best))
    if not in_time:
        return None
    _, _, output, seconds = max(in_time)
    return output, seconds


def sends_raw(problem: Problem, crossing: tuple[str, ...], cut_id: str) -> bool:
    if problem.home == 0:
        return not set(crossing).isdisjoint(problem.graph.inputs)
    return cut_id != INPUT  # the server runs first: it needs the input


@pytest.mark.parametrize("planner", ["edgent", "edgent_mincut"])
def test_the_exit_and_the_partition_are_those_of_trying_everything(planner: str) -> None:
    not_last = inside = server_first = none = unsorted = passed_over = 0
    for seed in range(500):
        problem = branchy_problem(random.Random(seed))
        expected = by_trying_everything(problem, narrow=planner == "edgent")
        if expected is None:
            with pytest.raises(NoPlan, match=r"comes nearest at|would send the raw input"):
                PLANNERS[planner](problem)
            none += 1
            continue
        plan = PLANNERS[planner](problem)
        assert plan.exit == expected[0], f"seed {seed}"
        assert plan.cost.total_s == pytest.approx(expected[1], abs=2e-7), f"seed {seed}"
        not_last += plan.exit != problem.exits[-1].output
        inside += plan.cuts[0] not in (INPUT, OUTPUT)
        server_first += problem.home == 1 and plan.cuts[0] not in (INPUT, OUTPUT)
        passed_over += len(plan.exits) > 1
        unsorted += [e.accuracy for e in problem.exits] != sorted(e.accuracy or 0 for e in problem.exits)
    # the cases are hard: early exits, inner cuts, both directions, requirements nothing meets
    assert not_last > 150, not_last
    assert inside > 90, inside
    assert server_first > 8, server_first
    assert none > 50, none
    assert passed_over > 100, passed_over
    assert unsorted > 60, unsorted


def test_without_a_requirement_the_most_accurate_exit_wins() -> None:
    problem = branchy_problem(random.Random(5))
    plan = PLANNERS["edgent"](replace(problem, limits=Limits()))
    best = max(problem.exits, key=lambda e: e.accuracy or 0.0)
    assert plan.exit == best.output
    assert f"exit {best.output}" in plan.why
    assert "the most accurate" in plan.why


def test_the_reason_names_the_exit_that_was_too_slow() -> None:
    of = graph([Op("a", ("x",)), Op("early", ("a",), 10), Op("late", ("a",), 10)], {"x": 10_000}, ["early", "late"])
    machines = (times(of, [0.01, 0.01, 0.5]), times(of, [0.01, 0.01, 0.5]))
    problem = Problem(
        of, machines, (Link(1e6, 1e6),), limits=Limits(latency_s=0.1), exits=(Exit("early", 0.7), Exit("late", 0.9))
    )
    plan = PLANNERS["edgent"](problem)
    assert (plan.exit, [e.output for e in plan.exits]) == ("early", ["late", "early"])
    assert "exit early (70.0%): exit late (90.0%) takes 510 ms at best, 100 ms are allowed" in plan.why
    with pytest.raises(NoPlan, match=r"no exit within 1 ms: exit early \(70\.0%\), all on the device, comes nearest"):
        PLANNERS["edgent"](replace(problem, limits=Limits(latency_s=0.001)))


def test_without_accuracies_the_later_exit_counts_as_the_better() -> None:
    problem = branchy_problem(random.Random(3))
    blind = replace(problem, limits=Limits(), exits=tuple(Exit(e.output) for e in problem.exits))
    assert PLANNERS["edgent"](blind).exit == problem.exits[-1].output


def test_a_network_without_exits_is_partitioned_as_a_whole() -> None:
    problem = random_problem(random.Random(1), machines=2)
    assert PLANNERS["edgent"](problem).cost == PLANNERS["neurosurgeon"](problem).cost
    with pytest.raises(NoPlan, match=r"the whole network"):
        PLANNERS["edgent"](replace(problem, limits=Limits(latency_s=1e-9)))


@pytest.mark.parametrize("late", [0.0, 0.5])
def test_over_tables_made_ahead_it_answers_the_same(late: float) -> None:
    """`in_time` against `edgent` at many rates: the same exit, the same partition, the same seconds."""
    met = missed = exits = 0
    for seed in range(60):
        problem = replace(branchy_problem(random.Random(seed)), limits=Limits(latency_s=0.012))
        problem = replace(problem, links=(replace(problem.links[0], late=late),))
        ahead = strategies(problem)
        for rate in (2e5, 3e6, 2e7, 3e8):
            link = link_at(problem.links[0], rate)
            row = in_time(ahead, link, problem.limits.latency_s)
            there = replace(problem, links=(link,))
            try:
                plan = PLANNERS["edgent"](there)
            except NoPlan:
                missed += 1
                assert late or not row.meets
                nearest = min(b.cost.total_s for _, b in best_partitions(there.surely, PLANNERS["neurosurgeon"]))
                at = there.surely.at_exit(row.exit or "")
                assert price(at, [cut_at(at.graph, row.cut)], row.codec).total_s == pytest.approx(nearest, rel=1e-12)
                continue
            met += 1
            exits += plan.exit != problem.exits[-1].output
            assert row.meets
            assert (row.exit, (row.cut,), row.codec) == (plan.exit, plan.cuts, plan.codec), f"seed {seed} at {rate}"
            assert row.latency_s == pytest.approx(plan.cost.total_s, rel=1e-12)
    assert met > 60, met
    assert missed > 15, missed
    assert exits > 20, exits

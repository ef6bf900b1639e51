"""A problem seen from one exit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plan_worlds import Op, graph, times, timing

from isthmus.graph import INPUT, OUTPUT, Graph
from isthmus.link.types import Link
from isthmus.plan import Problem
from isthmus.plan.planners import PLANNERS
from isthmus.profile.times import Times

NODE_S = (0.01, 0.02, 0.04, 0.08)


def world() -> tuple[Graph, Problem]:
    of = graph(
        [Op("a", ("x",)), Op("early", ("a",), 10), Op("b", ("a",)), Op("late", ("b",), 10)],
        {"x": 1000},
        ["early", "late"],
    )
    machines = (times(of, NODE_S), times(of, NODE_S, factor=0.1))
    return of, Problem(of, machines, (Link(1e6, 1e6),), ready=(INPUT, "a", OUTPUT))


def test_only_the_layers_of_the_exit_are_priced() -> None:
    _, problem = world()
    early, late = (PLANNERS["device_only"](problem.at_exit(o)).cost.total_s for o in ("early", "late"))
    assert early == pytest.approx(0.03)
    assert late == pytest.approx(0.01 + 0.04 + 0.08)
    assert problem.at_exit("early").ready == (INPUT, "a", OUTPUT)
    assert PLANNERS["device_only"](problem).cost.total_s == pytest.approx(sum(NODE_S))


def test_what_was_measured_at_an_exit_counts() -> None:
    of, problem = world()

    def measured(m: Times, whole_s: float) -> Times:
        part = m.profile.batches[1].model_copy(
            update={"whole": timing(whole_s), "heads": {"a": timing(0.5)}, "tails": {"a": timing(0.25)}}
        )
        return Times(m.profile.model_copy(update={"exits": {"early": {1: part}}}), of, m.factor)

    problem = replace(problem, machines=(measured(problem.machines[0], 0.7), measured(problem.machines[1], 0.6)))
    at = problem.at_exit("early")
    assert at.ready == (INPUT, "a", OUTPUT)
    assert PLANNERS["device_only"](at).cost.total_s == pytest.approx(0.7)
    split = next(c for c in PLANNERS["neurosurgeon"](at).candidates if c.cuts == ("a",))
    assert split.cost.compute_s == pytest.approx((0.5, 0.025))

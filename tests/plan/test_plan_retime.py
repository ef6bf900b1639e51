"""Re-timing takes what the clock says, asks no more than it was told to, and says so."""

from __future__ import annotations

import math

import pytest
from plan_worlds import diamond_problem

from isthmus.errors import BadInput
from isthmus.graph import Cut, cut_at
from isthmus.link.types import Link
from isthmus.plan import PLANNERS, Candidate, Limits, Plan, Problem, Promise, price, retime


def a_plan() -> Plan:
    return PLANNERS["mincut"](diamond_problem(default_codecs=("float32", "int8"), links=(Link(1e6, 1e6),)))


def test_the_measured_best_becomes_the_plan() -> None:
    plan, asked = a_plan(), []

    def measure(candidate: Candidate) -> float:
        asked.append(candidate)
        return 1e-3 if candidate.cuts == ("@output",) else 9e-3

    timed = retime(plan, measure, best=3)
    assert plan.cuts == ("b+c",)
    assert timed.cuts == ("@output",)
    assert timed.cost.total_s == pytest.approx(5e-3)
    assert [c.cost.total_s for c in asked] == sorted(c.cost.total_s for c in plan.candidates)[:3]
    assert "all on the device: took 1 ms, predicted 5 ms" in timed.why
    assert "cut after b+c as int8, which took 9 ms" in timed.why
    measured = {c.cuts: c.measured_s for c in timed.candidates if c.measured_s is not None}
    assert measured[("@output",)] == 1e-3
    assert len([c for c in timed.candidates if c.measured_s is not None]) == 3


def test_a_confirmed_plan_says_that_it_was_confirmed() -> None:
    plan = a_plan()
    timed = retime(plan, lambda c: c.cost.total_s, best=2)
    assert (timed.cuts, timed.codec) == (plan.cuts, plan.codec)
    assert timed.why.startswith(plan.why)
    assert "best of the 2 timed" in timed.why


@pytest.mark.parametrize(("within_s", "sure"), [(0.008, None), (0.016, 0.95)])
def test_choices_known_to_be_late_are_not_timed(within_s: float, sure: float | None) -> None:
    """Late typically, or for too many requests; what is promised is what the new choice keeps."""
    limits = Limits(latency_s=within_s, sure=sure)
    problem = diamond_problem(limits=limits, links=(Link(8e6, 8e6, 4e-3, late=1.0),))
    plan, asked = PLANNERS["neurosurgeon"](problem), []

    def measure(candidate: Candidate) -> float:
        asked.append(candidate.cuts)
        return 1e-3 / len(asked)

    timed = retime(plan, measure, best=99, within_s=within_s)
    sure_s = {c.cuts: price(problem.surely, cuts_of(problem, c), c.codec).total_s for c in plan.candidates}
    assert asked == [("@output",), ("a",)] == [cuts for cuts in reversed(sure_s) if sure_s[cuts] <= within_s]
    assert (plan.cuts, timed.cuts) == (("@output",), ("a",))
    assert (timed.promise is None) == (sure is None)
    if timed.promise is not None:
        assert timed.promise.sure_s == pytest.approx(sure_s["a",])
        assert (timed.promise.within_s, timed.promise.share) == (within_s, sure)


def cuts_of(problem: Problem, choice: Plan | Candidate) -> list[Cut]:
    return [cut_at(problem.graph, name) for name in choice.cuts]


def test_a_promise_that_nobody_worked_out_is_not_kept() -> None:
    plan = a_plan().model_copy(update={"promise": Promise(within_s=1, share=0.95, sure_s=0.5)})
    assert retime(plan, lambda c: c.cost.total_s).promise == plan.promise
    assert retime(plan, lambda c: -c.cost.total_s + 1).promise is None


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0])
def test_a_measurement_that_is_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(BadInput, match="no time"):
        retime(a_plan(), lambda _: seconds)


def test_nothing_to_time_is_refused() -> None:
    with pytest.raises(BadInput, match="at least 1"):
        retime(a_plan(), lambda _: 1.0, best=0)
    with pytest.raises(BadInput, match="no candidates"):
        retime(a_plan().model_copy(update={"candidates": ()}), lambda _: 1.0)

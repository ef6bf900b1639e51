"""Re-timing takes what the clock says, asks no more than it was told to, and says so."""

from __future__ import annotations

import math

import pytest
from plan_worlds import diamond_problem

from isthmus.errors import BadInput
from isthmus.link.types import Link
from isthmus.plan import PLANNERS, Candidate, Plan, retime


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


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0])
def test_a_measurement_that_is_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(BadInput, match="no time"):
        retime(a_plan(), lambda _: seconds)


def test_nothing_to_time_is_refused() -> None:
    with pytest.raises(BadInput, match="at least 1"):
        retime(a_plan(), lambda _: 1.0, best=0)
    with pytest.raises(BadInput, match="no candidates"):
        retime(a_plan().model_copy(update={"candidates": ()}), lambda _: 1.0)

"""A problem from two profiles and a link."""

from __future__ import annotations

import pytest
from plan_worlds import Op, diamond, graph, times

from isthmus.errors import BadInput
from isthmus.graph import OUTPUT, cut_at
from isthmus.link.types import Link
from isthmus.plan import Problem, candidates_for, price, problem_for
from isthmus.plan.build import MOST_COMBINATIONS


def test_factors_multiply_each_machine() -> None:
    of = diamond()
    profile = times(of, [1e-3] * 5).profile
    problem = problem_for(of, profile, profile, Link(1e6, 1e6), device_factor=4.0, load=2.0, codecs={"a": ["int8"]})
    cost = price(problem, [cut_at(of, "a")])
    assert cost.compute_s == pytest.approx((4e-3, 8e-3))
    assert problem.codecs_at("a") == ("int8",)
    assert problem.codecs_at("d") == ("float32",)
    assert price(problem, [cut_at(of, OUTPUT)]).total_s == pytest.approx(20e-3)


def test_nonsense_is_refused() -> None:
    of = diamond()
    profile = times(of, [1e-3] * 5).profile
    with pytest.raises(BadInput, match="load must be"):
        problem_for(of, profile, profile, Link(1e6, 1e6), load=float("nan"))
    with pytest.raises(BadInput, match="another model"):
        problem_for(of, profile, profile.model_copy(update={"fingerprint": "0" * 64}), Link(1e6, 1e6))


def test_too_many_combinations_are_counted_not_listed() -> None:
    count = 80
    of = graph([Op(f"n{i}", (f"n{i - 1}" if i else "x",), 10) for i in range(count)], {"x": 10}, [f"n{count - 1}"])
    machines = tuple(times(of, [1e-3] * count) for _ in range(4))
    problem = Problem(of, machines, (Link(1e6, 1e6),) * 3)
    with pytest.raises(BadInput, match=rf"combinations, more than {MOST_COMBINATIONS}; use mincut"):
        candidates_for(problem)

"""A problem as nested layers: what a codec cannot write is not priced as if it weighed nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plan_worlds import Op, graph, times

from isthmus.graph import INPUT, OUTPUT, Graph, Tensor, cut_at
from isthmus.link.types import Link
from isthmus.plan.layers import Layers
from isthmus.plan.planners import PLANNERS
from isthmus.plan.planners.mincut import MOST_TRIES, cheapest_allowed
from isthmus.plan.types import Problem

JPEG = "jpeg:75"


def chain(nodes: int) -> Graph:
    """A picture of 3 × 32 × 32 that becomes `nodes` feature vectors, one after the other: JPEG writes the first."""
    ops = [Op(f"n{i}", (f"n{i - 1}" if i else "x",)) for i in range(nodes)]
    of = graph(ops, {"x": 3 * 32 * 32}, [ops[-1].name])
    return replace(of, tensors={**of.tensors, "x": Tensor("x", (1, 3, 32, 32), "float32", 4)})


def problem(nodes: int, *, home: int = 0) -> Problem:
    """Each machine is quick where the other is slow, so that every cut tempts that sends nothing; home comes first or
    last."""
    of = chain(nodes)
    half = nodes // 2
    first, last = [1e-6] * half + [1.0] * (nodes - half), [1.0] * half + [1e-6] * (nodes - half)
    return Problem(of, (times(of, first), times(of, last)), (Link(1e8, 1e8),), home=home, default_codecs=(JPEG,))


@pytest.mark.parametrize("home", [0, 1])
def test_the_cheapest_layers_never_send_what_the_codec_cannot_write(home: int) -> None:
    made = problem(8, home=home)
    found = Layers(made, JPEG).cheapest()
    assert found is not None
    (head,) = found[1]
    assert len(head) in (0, 8)
    raw = Layers(replace(made, default_codecs=("float32",)), "float32").cheapest()
    assert raw is not None
    assert len(raw[1][0]) == 4  # the cut that tempts


@pytest.mark.parametrize("home", [0, 1])
def test_a_long_network_is_solved_though_most_of_its_tensors_cannot_be_written(home: int) -> None:
    """More forbidden cuts than the branching tries: they must not be candidates in the first place."""
    made = problem(MOST_TRIES + 20, home=home)
    cuts, proven = cheapest_allowed(made, JPEG)
    assert proven
    assert cuts is not None
    plan = PLANNERS["mincut"](made)
    assert plan.cost.total_s == pytest.approx(PLANNERS["exhaustive"](made).cost.total_s)
    assert plan.cuts[0] in (INPUT, OUTPUT)
    assert "exact" in plan.why
    assert cuts == (cut_at(made.graph, plan.cuts[0]),)


@pytest.mark.parametrize("rate_bps", [1e-3, 1e-300])
def test_ages_are_no_reason_to_cross(rate_bps: float) -> None:
    """Longer than 64 bits of nanoseconds hold, and longer than a float does."""
    of = chain(6)
    slow = Link(rate_bps, rate_bps, rtt_s=1e9, fixed_s=1e12, late=1e6)
    far = Problem(of, (times(of, [0.1] * 6), times(of, [1e-6] * 6)), (slow,), default_codecs=("float32",))
    for name in ("mincut", "neurosurgeon"):
        assert PLANNERS[name](far).cuts == (OUTPUT,)


def test_a_long_network_stays_at_home_where_its_input_must_not_be_sent_by_that_codec() -> None:
    """Home comes last, so whatever runs before it was sent the input: that is no candidate, either."""
    of = chain(MOST_TRIES + 20)
    machines = times(of, [1e-6] * len(of.nodes)), times(of, [1.0] * len(of.nodes))
    made = Problem(of, machines, (Link(1e8, 1e8),), home=1, default_codecs=("int8",), codecs={INPUT: ("float32",)})
    cuts, proven = cheapest_allowed(made, "int8")
    assert proven
    assert cuts == (cut_at(of, INPUT),)
    free = replace(made, codecs={})
    assert cheapest_allowed(free, "int8") == ((cut_at(of, OUTPUT),), True), "the case is hard"

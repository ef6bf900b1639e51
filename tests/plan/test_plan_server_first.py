"""The server runs first: the problem turned round, what may be written how, and what the plan says of it."""

from __future__ import annotations

import random

import pytest
from plan_worlds import random_problem, times

from isthmus.graph import INPUT, OUTPUT, Graph, Node, Tensor, cut_at, narrow_cuts
from isthmus.link.types import Link
from isthmus.plan import PLANNERS, CostTable, Problem, candidates_for, price
from isthmus.plan.cost import allowed_codecs


def test_a_problem_turned_twice_is_itself_and_its_ends_cost_the_same() -> None:
    """All on the device and all on the server do not hang on the order; what lies between does."""
    other = 0
    for seed in range(40):
        problem = random_problem(random.Random(seed), machines=2)
        turned = problem.turned()
        assert turned.turned() == problem
        assert (turned.home, turned.machines) == (1 - problem.home, problem.machines[::-1])
        for end, same in ((INPUT, OUTPUT), (OUTPUT, INPUT)):
            here, there = (price(p, [cut_at(p.graph, c)]).total_s for p, c in ((problem, end), (turned, same)))
            assert here == pytest.approx(there)
        for cut in narrow_cuts(problem.graph)[1:-1]:
            other += price(problem, [cut]).total_s != pytest.approx(price(turned, [cut]).total_s)
    assert other > 20


def picture_problem() -> Problem:
    """A picture in, and a codec for pictures allowed there alone."""
    picture = Tensor("x", (1, 3, 64, 64), "float32", 4)
    tensors = {t.name: t for t in (picture, Tensor("a", (1, 64), "float32", 4), Tensor("y", (1, 10), "float32", 4))}
    nodes = (Node("a", "Op", ("x",), ("a",)), Node("y", "Op", ("a",), ("y",)))
    of = Graph("pictures", 1, nodes, tensors, ("x",), ("y",))
    machines = (times(of, [1e-2] * 2), times(of, [1e-3] * 2))
    codecs = {INPUT: ("float32", "jpeg:90", "int8"), "a": ("int8", "float32")}
    return Problem(of, machines, (Link(1e6, 1e6),), codecs=codecs)


def test_a_picture_goes_to_the_server_as_one_where_the_server_runs_everything() -> None:
    """What comes back from there is an answer, and raw; at a cut the codec must do for the picture and the tensor."""
    here = picture_problem()
    turned = here.turned()
    everything = allowed_codecs(here, (cut_at(here.graph, INPUT),))
    assert everything == ("float32", "jpeg:90", "int8")
    assert allowed_codecs(turned, (cut_at(here.graph, OUTPUT),)) == everything
    assert set(allowed_codecs(turned, (cut_at(here.graph, "a"),))) == {"float32", "int8"}
    assert allowed_codecs(turned, (cut_at(here.graph, INPUT),)) == ("float32",)


def test_plans_and_tables_say_the_order_and_how_a_request_names_the_ends() -> None:
    here = picture_problem()
    for problem, first in ((here, "device"), (here.turned(), "server")):
        assert PLANNERS["neurosurgeon"](problem).first == first
        table = CostTable.of(problem, candidates_for(problem))
        assert table.first == first
        local = [asked for asked, up in zip(table.asked, table.up_bytes, strict=True) if not up]
        assert local == [OUTPUT]
        assert table.asked.count(INPUT) == 3

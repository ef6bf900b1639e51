"""Tensors of element types that no link carries: whatever is cheapest, they do not cross."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from plan_worlds import random_problem

from isthmus.graph import Graph, cut_at
from isthmus.plan import PLANNERS, Problem

NAMES = ("mincut", "neurosurgeon", "qdmp", "dads", "edgent")


def with_bfloat16(of: Graph, rng: random.Random) -> Graph:
    """The same with some inner tensors in half as many bytes, of a type that cannot cross."""
    inner = [node.name for node in of.nodes if node.name not in of.outputs]
    chosen = {name for name in inner if rng.random() < 0.4}
    changed = {name: replace(of.tensors[name], dtype="bfloat16", itemsize=2) for name in chosen}
    return replace(of, tensors={**of.tensors, **changed})


def crossing(problem: Problem, cuts: tuple[str, ...]) -> set[str]:
    return {problem.graph.tensors[t].dtype for cut in cuts for t in cut_at(problem.graph, cut).crossing}


def test_the_best_without_them_is_found() -> None:
    rng = random.Random(3)
    bites = inner = 0
    for _ in range(120):
        free = random_problem(rng, machines=2)
        of = with_bfloat16(free.graph, rng)
        problem = replace(free, graph=of, machines=tuple(replace(m, graph=of) for m in free.machines))
        best = PLANNERS["exhaustive"](problem)
        assert "bfloat16" not in crossing(problem, best.cuts)
        for name in (*NAMES, *(("dynamic",) if problem.home == 0 else ())):
            found = PLANNERS[name](problem)
            assert "bfloat16" not in crossing(problem, found.cuts)
            assert found.cost.total_s >= best.cost.total_s * (1 - 1e-9)
        assert PLANNERS["mincut"](problem).cost.total_s == pytest.approx(best.cost.total_s, abs=1e-7)
        inner += best.cuts[0][0] != "@"
        chosen = PLANNERS["exhaustive"](free).cuts[0].partition("!")[0].split("+")
        bites += any(of.tensors[t].dtype == "bfloat16" for t in chosen if t in of.tensors)
    assert bites > 10
    assert inner > 10

"""What a part of given widths needs: the same as in a list of solutions, and by hand for a small chain."""

from __future__ import annotations

import random
from dataclasses import replace

from bit_worlds import bit_problem, branched, chain, weighted
from plan_worlds import Op, graph

from isthmus.graph import INPUT, OUTPUT, cut_at, cut_of
from isthmus.plan.joint import joint
from isthmus.plan.needs import needs
from isthmus.plan.types import Limits
from isthmus.plan.whole_part import whole_part
from isthmus.quant import BitPlan


def test_a_listed_solution_needs_what_its_row_says() -> None:
    seen = 0
    for seed in range(6):
        rng = random.Random(seed)
        problem = bit_problem(chain(rng, 5) if seed % 2 else branched(rng), rng)
        assert problem.distortions is not None
        for row in joint(problem).solutions:
            if row.bits is None or row.cut == INPUT or 16 in row.bits.weights.values():
                continue
            found = needs(problem.graph, problem.distortions, cut_at(problem.graph, row.cut), row.bits)
            assert (found.weight_bytes, found.activation_bytes) == (row.weight_bytes, row.activation_bytes), row.name
            assert found.container_bytes >= row.memory_bytes
            seen += 1
    assert seen > 50


def test_containers_by_hand() -> None:
    """x (100) → a (400) → b (40): weights 20·9 and 4·5; scales one a column."""
    ops = [Op("a", ("x",), 400), Op("b", ("a",), 40)]
    of = weighted(graph(ops, {"x": 100}, ["b"]), {"a": (20, 20, 9), "b": (10, 4, 5)})
    problem = bit_problem(of, random.Random(3))
    assert problem.distortions is not None
    bits = BitPlan(weights={"a": 2, "b": 4}, outputs={"x": 8, "a": 4, "b": 8})
    found = needs(of, problem.distortions, cut_at(of, OUTPUT), bits)
    scales = 4 * (20 + 4)
    assert found.weight_bytes == (180 * 2 + 20 * 4) // 8 + scales
    assert found.activation_bytes == 400 // 2 + 100
    assert found.container_bytes == 180 + 20 + scales + max(4 * 100 + 400 + 4 * 400, 400 + 40 + 4 * 40)
    head = needs(of, problem.distortions, cut_of(of, frozenset([0])), bits)
    assert head.weight_bytes == 45 + 80


def test_the_whole_network_for_the_device() -> None:
    rng = random.Random(4)
    problem = bit_problem(chain(rng, 5), rng)
    found = whole_part(problem, 0.01)
    assert found is not None
    assert found.cut == OUTPUT
    assert found.weight_bits <= 8
    assert found.loss is not None
    assert found.loss <= 0.01
    truest = whole_part(problem, 0.0)
    assert truest is not None
    assert truest.loss is not None
    assert truest.loss <= found.loss
    tight = replace(problem, limits=Limits(home_memory_bytes=found.memory_bytes // 2))
    smaller = whole_part(tight, 0.01)
    assert smaller is None or smaller.memory_bytes <= found.memory_bytes // 2
    assert whole_part(replace(problem, limits=Limits(home_memory_bytes=100)), 0.01) is None
    assert found.total_s <= truest.total_s

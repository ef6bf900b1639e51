"""DADS and QDMP against trying every cut."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from plan_worlds import Op, diamond_problem, graph, random_problem, times

from isthmus.errors import BadInput, NoPlan
from isthmus.graph import INPUT, OUTPUT, all_cuts, cut_at
from isthmus.link.types import Link
from isthmus.plan import PLANNERS, Limits, Plan, Problem, price
from isthmus.plan.cost import allowed_codecs
from isthmus.plan.limits import home_bytes


def best_stage_s(problem: Problem) -> float:
    """The fastest slowest stage over all cuts and codecs."""
    return min(
        price(problem, [cut], codec).stage_s
        for cut in all_cuts(problem.graph)
        for codec in allowed_codecs(problem, [cut])
    )


def test_the_heavy_search_keeps_its_guarantee_and_is_mostly_exact() -> None:
    ratios, inside, differs = [], 0, 0
    for seed in range(30):
        problem = random_problem(random.Random(seed), most=7, machines=2)
        plan = PLANNERS["dads_heavy"](problem)
        ratios.append(stage_s(problem, plan) / best_stage_s(problem))
        inside += plan.cuts[0] not in (INPUT, OUTPUT)
        light = PLANNERS["mincut"](problem)
        differs += light.cuts != plan.cuts
    assert min(ratios) >= 1 - 1e-9
    assert max(ratios) <= 3, max(ratios)
    assert sum(r > 1.001 for r in ratios) <= 12, ratios
    assert inside > 8, inside
    assert differs > 6, differs


def test_dads_looks_at_latency_until_inputs_come_too_fast() -> None:
    heavier = lighter = 0
    for seed in range(20):
        problem = random_problem(random.Random(seed), most=7, machines=2)
        light, heavy = PLANNERS["mincut"](problem), PLANNERS["dads_heavy"](problem)
        slow = stage_s(problem, light)
        easy = PLANNERS["dads"](replace(problem, arrivals_hz=0.5 / slow))
        hard = PLANNERS["dads"](replace(problem, arrivals_hz=2 / slow))
        assert easy.planner == hard.planner == "dads"
        assert easy.cuts == light.cuts
        assert hard.cuts == heavy.cuts
        assert "heavy load" in hard.why
        heavier += hard.cuts != easy.cuts
        lighter += hard.cost.total_s > easy.cost.total_s
    assert heavier > 3, heavier
    assert lighter > 3, lighter


def test_the_inputs_of_a_batch_pass_together() -> None:
    problem = random_problem(random.Random(0), most=7, machines=2)
    light = PLANNERS["mincut"](problem)
    fast_hz = 2 / stage_s(problem, light)
    four = replace(problem, graph=replace(problem.graph, batch=4), arrivals_hz=fast_hz)
    assert "heavy load" in PLANNERS["dads"](replace(problem, arrivals_hz=fast_hz)).why
    assert "heavy load" not in PLANNERS["dads"](four).why
    heavy = PLANNERS["dads"](replace(four, arrivals_hz=4 * fast_hz)).why
    assert f"least latency passes {4 / stage_s(problem, light):.3g}" in heavy


def test_a_long_way_takes_no_throughput() -> None:
    """Nobody is busy while bytes are on their way: more of them follow."""
    sent = 0
    for seed in range(20):
        problem = random_problem(random.Random(seed), most=7, machines=2)
        link = problem.links[0]
        far = replace(problem, links=(replace(link, rtt_s=link.rtt_s + 2.0, fixed_s=1.0),))
        near_by, far_off = PLANNERS["dads_heavy"](problem), PLANNERS["dads_heavy"](far)
        slow = stage_s(problem, near_by)
        assert stage_s(far, far_off) == pytest.approx(slow, rel=1e-9), seed
        assert PLANNERS["dads"](replace(far, arrivals_hz=1e6)).cuts == far_off.cuts
        sent += far_off.cost.up_s[0] > 0
    assert sent > 8, sent


def test_the_heavy_search_keeps_limits_and_says_what_it_cannot() -> None:
    problem = diamond_problem(links=(Link(1e6, 1e6, 1e-3),), limits=Limits(private=True))
    plan = PLANNERS["dads_heavy"](problem)
    assert plan.cuts != (INPUT,)
    with pytest.raises(NoPlan, match="no partition that keeps the limits"):
        PLANNERS["dads_heavy"](replace(problem, limits=Limits(latency_s=1e-6)))
    three = random_problem(random.Random(0), machines=3)
    with pytest.raises(BadInput, match="not 3 machines"):
        PLANNERS["dads_heavy"](three)
    with pytest.raises(BadInput, match="not 3; use mincut"):
        PLANNERS["qdmp"](three)


def test_a_small_memory_leaves_it_no_worse_than_the_partition_of_least_latency() -> None:
    """Nor without an answer, though no weighting may find a cut that fits."""
    tight = 0
    for seed in range(80):
        rng = random.Random(seed)
        problem = random_problem(rng, most=7, machines=2)
        needed = sorted({home_bytes(problem, (cut,)) for cut in all_cuts(problem.graph)})
        small = replace(problem, limits=Limits(home_memory_bytes=rng.choice(needed)))
        heavy, light = PLANNERS["dads_heavy"](small), PLANNERS["mincut"](small)
        assert stage_s(small, heavy) <= stage_s(small, light) * (1 + 1e-9), seed
        tight += light.cuts != PLANNERS["mincut"](problem).cuts
    assert tight > 10, tight


def stage_s(problem: Problem, plan: Plan) -> float:
    return price(problem, [cut_at(problem.graph, cut) for cut in plan.cuts], plan.codec).stage_s


def blocks(rng: random.Random, count: int) -> Problem:
    """Blocks of two or three branches between single tensors: cut vertices with something to cut in between."""
    ops, last = [], "x"
    for k in range(count):
        ops.append(Op(f"a{k}", (last,), rng.randint(200, 3000)))
        names = [f"b{k}{j}" for j in range(rng.choice((2, 3)))]
        ops += [Op(name, (f"a{k}",), int(10 ** rng.uniform(1, 3))) for name in names]
        ops.append(Op(f"c{k}", tuple(names), rng.randint(100, 3000)))
        last = f"c{k}"
    of = graph(ops, {"x": rng.randint(2000, 9000)}, [last])
    device, server = ([rng.uniform(0.1, 3) * s for _ in of.nodes] for s in (3e-3, 5e-4))
    rate = 10 ** rng.uniform(6.3, 7.4)
    return Problem(of, (times(of, device), times(of, server)), (Link(rate, rate, 1e-3),))


def test_between_two_cut_vertices_lies_the_best_of_all() -> None:
    within = pruned = 0
    for seed in range(60):
        problem = blocks(random.Random(seed), 3)
        plan = PLANNERS["qdmp"](problem)
        assert plan.cost.total_s <= PLANNERS["mincut"](problem).cost.total_s + 1e-8, seed
        if seed < 12:
            assert plan.cost.total_s <= PLANNERS["exhaustive"](problem).cost.total_s + 1e-8, seed
        within += "+" in plan.cuts[0]
        flows, pairs = (int(w) for w in plan.why.split("; ")[-1].split() if w.isdigit())
        pruned += flows < pairs
    assert within > 10, within
    assert pruned > 50, pruned


def test_it_is_exact_on_any_network_of_two_machines() -> None:
    inside = 0
    for seed in range(120):
        problem = random_problem(random.Random(seed), most=7, machines=2)
        plan = PLANNERS["qdmp"](problem)
        assert plan.cost.total_s <= PLANNERS["exhaustive"](problem).cost.total_s + 2e-7, seed
        inside += plan.cuts[0] not in (INPUT, OUTPUT)
    assert inside > 20, inside


def test_the_camera_uploads_eight_bits() -> None:
    problem = diamond_problem(links=(Link(1e9, 1e9),))
    plan = PLANNERS["cloud16"](problem)
    assert plan.cuts == (INPUT,)
    assert plan.codec == "int8"
    assert plan.cost.up_bytes == (1008,)
    with pytest.raises(NoPlan, match="cloud16 would send the raw input"):
        PLANNERS["cloud16"](replace(problem, limits=Limits(private=True)))

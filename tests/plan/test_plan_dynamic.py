"""Dynamic split computing: which places it chooses among, what it does with limits, its switch tables by batch."""

from __future__ import annotations

import io
import math
import random
from dataclasses import replace

import pytest
from plan_worlds import Op, diamond_problem, graph, random_problem, times
from rich.console import Console

from isthmus.cli.show_plan import show_plan
from isthmus.errors import BadInput, NoPlan
from isthmus.graph import INPUT, OUTPUT, Graph, block_cuts, graph_of
from isthmus.link import Link
from isthmus.model import load_model
from isthmus.plan import PLANNERS, Limits, Plan, Problem, problem_for
from isthmus.plan.planners.dynamic import options, places
from isthmus.profile import BatchProfile, CodecTiming, Machine, Profile, Timing


def chain(floats: list[int]) -> Graph:
    """x(100) → n0 → n1 → …, each as many floats as said; the last is the output."""
    ops = [Op(f"n{i}", (f"n{i - 1}" if i else "x",), count) for i, count in enumerate(floats)]
    return graph(ops, {"x": 100}, [f"n{len(floats) - 1}"])


def problem_of(of: Graph, **changed: object) -> Problem:
    """A slow device, a server thirty times as fast; measured nowhere, so nodes alone count."""
    machines = (times(of, [3e-3] * len(of.nodes)), times(of, [1e-4] * len(of.nodes)))
    made: dict[str, object] = {"graph": of, "machines": machines, "links": (Link(1e5, 1e5, 1e-3),), **changed}
    return Problem(**made)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def network() -> tuple[Problem, Problem]:
    """EfficientNet-B0 at batches 1 and 8 with times in proportion to its multiply-accumulates, input as JPEG too."""
    model = load_model("zoo:efficientnet_b0", weights=False)
    graphs = [graph_of(model, b) for b in (1, 8)]

    def profile(macs_per_s: float) -> Profile:
        batches = {}
        for g in graphs:
            nodes = {n.name: n.macs * g.batch / macs_per_s + 1e-6 for n in g.nodes}
            total = sum(nodes.values())
            batches[g.batch] = BatchProfile(
                whole=Timing(low_s=total, median_s=total, high_s=total, runs=1), nodes=nodes
            )
        return Profile(
            model=model.name,
            fingerprint=model.fingerprint,
            machine=Machine(name="m", cpu="c", system="s", runtime="r", threads=1),
            taken="2026-01-01",
            batches=batches,
            codecs={"jpeg:90": CodecTiming(encode_s_per_element=2e-8, decode_s_per_element=1e-8)},
        )

    made = problem_for(
        graphs[0], profile(4e9), profile(4e11), Link(8e6, 8e6, 2e-3), codecs={INPUT: ("float32", "jpeg:90")}
    )
    return replace(made, batches=(graphs[1],)), made


def test_the_places_are_the_compressive_blocks_of_the_paper(network: tuple[Problem, Problem]) -> None:
    assert [c.id for c in places(network[0], "block")] == ["conv_27", "conv_56", "conv_85", "conv_173"]
    listed = [(cuts[0].id, codec) for cuts, codec in options(network[0], "block")]
    assert listed[:3] == [(OUTPUT, "float32"), (INPUT, "float32"), (INPUT, "jpeg:90")]
    assert len(listed) == 3 + 4


def test_one_switch_table_a_batch_each_equal_to_planning_at_that_rate(network: tuple[Problem, Problem]) -> None:
    plan = PLANNERS["dynamic"](network[0])
    assert [t.batch for t in plan.switch] == [1, 8]
    for problem, table in ((network[1], plan.switch[0]), (network[1].at_batch(network[0].batches[0]), plan.switch[1])):
        for rate in [10 ** (4.5 + k / 4) for k in range(24)]:
            there = PLANNERS["dynamic"](replace(problem, links=(Link(rate, rate, 2e-3),)))
            row = table.at(rate)
            assert (row.cut, row.codec) == (there.cuts[0], there.codec)
            assert row.latency_s(rate) == pytest.approx(there.cost.total_s)
    raw = PLANNERS["dynamic"](replace(network[0], codecs={}))
    used = {row.cut for table in raw.switch for row in table.rows}
    assert used > {INPUT, OUTPUT}  # where no picture is sent instead, a bottleneck is the best somewhere
    assert plan.batch == 1


def test_the_input_is_priced_raw_and_as_a_picture(network: tuple[Problem, Problem]) -> None:
    """A batch of pictures is a batch of files: eight times the bytes and the seconds of one."""
    sent = {}
    for problem in (network[1], network[1].at_batch(network[0].batches[0])):
        plan = PLANNERS["dynamic"](problem)
        costs = {c.codec: c.cost for c in plan.candidates if c.cuts == (INPUT,)}
        assert set(costs) == {"float32", "jpeg:90"}
        assert costs["float32"].up_bytes == (problem.graph.input_bytes,)
        assert costs["jpeg:90"].codec_s == pytest.approx(problem.graph.input_bytes / 4 * 3e-8)
        sent[problem.graph.batch] = costs["jpeg:90"].up_bytes[0]
    assert sent[8] == 8 * sent[1]
    raw_only = replace(network[1], codecs={})
    assert sum(c.cuts == (INPUT,) for c in PLANNERS["dynamic"](raw_only).candidates) == 1
    rows = PLANNERS["dynamic"](network[1]).switch[0].rows
    assert [r.codec for r in rows if r.cut == INPUT] == ["jpeg:90", "float32"]  # raw where coding is the slower part


def test_private_and_private_until_leave_what_is_made_later(network: tuple[Problem, Problem]) -> None:
    private = PLANNERS["dynamic"](replace(network[1], limits=Limits(private=True)))
    assert {c.cuts[0] for c in private.candidates} == {OUTPUT, "conv_27", "conv_56", "conv_85", "conv_173"}
    assert INPUT not in {row.cut for row in private.switch[0].rows}
    until = PLANNERS["dynamic"](replace(network[1], limits=Limits(private_until="add_71")))
    assert [c.cuts[0] for c in until.candidates] == ["add_71", "conv_85", "conv_173", OUTPUT]


def test_bottlenecks_are_judged_among_those_that_may_leave() -> None:
    """n1 is the smallest of all; without it n3 is compressive after n2."""
    of = chain([50, 10, 40, 20, 30, 5])
    assert [c.id for c in places(problem_of(of), "narrow")] == ["n0", "n1"]
    later = problem_of(of, limits=Limits(private_until="n2"))
    assert [c.id for c in places(later, "narrow")] == ["n2", "n3"]


def test_a_bottleneck_that_is_not_ready_gives_its_place_to_the_next_of_its_size() -> None:
    of = chain([50, 50, 50, 20, 30, 5])
    ready = problem_of(of, ready=(INPUT, "n2", "n4", OUTPUT))
    assert [c.id for c in places(ready, "narrow")] == ["n2", "n3"]
    plan = PLANNERS["dynamic"](ready)
    assert "not kept ready and priced by the fit: n3" in plan.why
    assert "not kept ready" not in PLANNERS["dynamic"](problem_of(of)).why


def test_without_blocks_every_narrow_place_counts(network: tuple[Problem, Problem]) -> None:
    of = chain([50, 10, 5])
    assert not block_cuts(of)
    assert {c.cuts[0] for c in PLANNERS["dynamic"](problem_of(of)).candidates} == {INPUT, "n0", "n1", OUTPUT}
    narrow = {c.cuts[0] for c in PLANNERS["dynamic_narrow"](network[1]).candidates}
    assert narrow - {c.cuts[0] for c in PLANNERS["dynamic"](network[1]).candidates} == {"globalaveragepool_236"}


def test_no_bottleneck_at_all_leaves_device_and_server() -> None:
    wide = problem_of(chain([200, 100, 100]))
    plan = PLANNERS["dynamic"](wide)
    assert {c.cuts[0] for c in plan.candidates} == {INPUT, OUTPUT}
    assert "0 compressive bottlenecks" in plan.why
    assert [r.cut for r in plan.switch[0].rows] == [OUTPUT, INPUT]
    alone = PLANNERS["dynamic"](replace(wide, limits=Limits(private=True)))
    assert [r.cut for r in alone.switch[0].rows] == [OUTPUT]


def test_never_worse_than_either_end_and_never_better_than_all_narrow_cuts() -> None:
    inside = 0
    for seed in range(120):
        problem = replace(random_problem(random.Random(seed), machines=2), home=0)
        plan = PLANNERS["dynamic"](problem)
        ends = [PLANNERS[n](problem).cost.total_s for n in ("device_only", "server_only")]
        assert plan.cost.total_s <= min(ends) * (1 + 1e-12)
        assert plan.cost.total_s >= PLANNERS["neurosurgeon"](problem).cost.total_s * (1 - 1e-12)
        row = plan.switch[0].at(problem.links[0].up_bps)
        assert row.latency_s(problem.links[0].up_bps) == pytest.approx(plan.cost.total_s)
        inside += plan.cuts[0] not in (INPUT, OUTPUT)
    assert inside > 10, inside


def test_the_loads_of_the_machines_stand_in_the_table(network: tuple[Problem, Problem]) -> None:
    machines = network[1].machines
    busy = replace(network[1], machines=(machines[0], replace(machines[1], factor=50.0)))
    idle, loaded = (PLANNERS["dynamic"](p).switch[0] for p in (network[1], busy))
    assert (idle.load, loaded.load, loaded.device_load) == (1.0, 50.0, 1.0)
    ends = [next(r.from_bps for r in t.rows if r.cut == INPUT) for t in (idle, loaded) if t.at(math.inf).cut == INPUT]
    assert len(ends) < 2 or ends[1] > ends[0]


def test_what_it_refuses() -> None:
    of = diamond_problem().graph
    three = Problem(of, (times(of, [1e-3] * 5),) * 3, (Link(1e6, 1e6),) * 2)
    with pytest.raises(BadInput, match=r"dynamic is for a device first .* 3 machines with home=0; use mincut"):
        PLANNERS["dynamic"](three)
    with pytest.raises(NoPlan, match=r"dynamic finds no plan within 1 µs"):
        PLANNERS["dynamic"](diamond_problem(limits=Limits(latency_s=1e-6)))
    with pytest.raises(NoPlan, match=r"at a batch of 1 no choice keeps privacy and memory"):
        PLANNERS["dynamic"](diamond_problem(limits=Limits(private=True, home_memory_bytes=10)))


def test_the_picture_shows_every_table_and_plans_without_one_still_read(network: tuple[Problem, Problem]) -> None:
    plan = PLANNERS["dynamic"](network[0])
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(show_plan(plan))
    text = console.export_text()
    assert "best choice by uplink rate" in text
    assert "on wire" in text, "both ways: more than the sentence says is sent"
    assert sum("all on the device" in line for line in text.splitlines()) >= 2
    old = plan.model_dump(mode="json")
    del old["switch"]
    assert Plan.model_validate(old).switch == ()

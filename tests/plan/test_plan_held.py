"""What a process holds for a part: by hand, against counting what is alive step by step, and as a limit of plans."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from bit_worlds import bit_problem, branched, chain, measured_problem, weighted
from plan_worlds import Op, graph, used_bytes

from isthmus.errors import NoPlan
from isthmus.graph import INPUT, OUTPUT, Cut, Graph, cut_at, cut_of
from isthmus.plan.arena import GRAIN_BYTES, Arena
from isthmus.plan.held import Holding, held
from isthmus.plan.joint import joint
from isthmus.plan.planners.autosplit import autosplit
from isthmus.plan.types import Limits
from isthmus.profile import RuntimeMemory
from isthmus.quant import BitPlan

KERNELS = RuntimeMemory(session_bytes=1, product_bytes=1000, other_bytes=100)


def test_a_small_chain_by_hand() -> None:
    """x (100) → a (400) → b (40): weights 20·9 and 4·5, all at 8 bits, which is unsigned and needs 32-bit sums."""
    ops = [Op("a", ("x",), 400), Op("b", ("a",), 40)]
    of = weighted(graph(ops, {"x": 100}, ["b"]), {"a": (20, 20, 9), "b": (10, 4, 5)})
    bits = BitPlan(weights={"a": 8, "b": 8}, outputs={"x": 8, "a": 8, "b": 8})
    found = held(of, cut_at(of, OUTPUT), bits, KERNELS)
    packed = 512 + 256  # 32·(12 + 4) and 16·(8 + 4) bytes, in grains
    running = 256 + 512 + 1792  # the input's levels, a's, a's sums
    assert found.arena_bytes == packed + running
    assert found.mapped_bytes == 0
    assert found.session_bytes == 1 + 2 * (1000 + 5000) + 12 * (20 + 4)
    assert found.ends_bytes == 4 * 100 + 4 * 40
    assert found.total_bytes == found.arena_bytes + found.session_bytes + found.ends_bytes
    assert held(of, Cut(INPUT, of.inputs, frozenset()), bits, KERNELS).total_bytes == 0


def test_sums_are_kept_where_weights_are_unsigned_only() -> None:
    of = _convolution()
    cut = cut_at(of, OUTPUT)
    wide = held(of, cut, BitPlan(weights={"a": 8}, outputs={"x": 8, "a": 8}))
    narrow = held(of, cut, BitPlan(weights={"a": 4}, outputs={"x": 8, "a": 8}))
    signed = held(of, cut, BitPlan(weights={"a": 8}, outputs={"x": 8, "a": 8}), RuntimeMemory(signed=True))
    assert narrow.arena_bytes == signed.arena_bytes
    levels = 2 * 65536
    assert narrow.arena_bytes == 16 * 144 + levels + 8 * 9 * 4096, "a pointer for every number of a window"
    assert wide.arena_bytes == 2560 + levels + 4 * 4096 * 16 + 144 * 4096, "sums, and windows laid out"
    fewer = held(of, cut, BitPlan(weights={"a": 4}, outputs={"x": 8, "a": 4}))
    assert fewer.session_bytes > narrow.session_bytes, "what holds levels down is a node of its own"


def _convolution() -> Graph:
    """3 × 3 over 64 × 64 places, 16 channels in and out."""
    of = weighted(graph([Op("a", ("x",), 65536)], {"x": 65536}, ["a"]), {"a": (4096, 16, 144)})
    return replace(of, nodes=(replace(of.nodes[0], kernel=(3, 3), strides=(1, 1)),))


def test_in_floating_point_the_arena_holds_what_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    take = Arena.take

    def watched(arena: Arena, name: str, size_bytes: int) -> None:
        take(arena, name, size_bytes)
        used.append(used_bytes(arena))

    monkeypatch.setattr(Arena, "take", watched)
    seen = 0
    for seed in range(40):
        rng = random.Random(seed)
        of = chain(rng, 6) if seed % 2 else branched(rng)
        of = replace(of, nodes=tuple(replace(n, op="MaxPool", product=None, parameters=0) for n in of.nodes))
        for count in range(1, len(of.nodes) + 1):
            used.clear()
            found = held(of, cut_of(of, frozenset(range(count))), None)
            assert max(used) == _alive(of, count), (seed, count)
            assert found.arena_bytes >= max(used)
            seen += max(used) < sum(of.tensors[t].bytes for n in of.nodes[:count] for t in n.outputs)
    assert seen > 60, "tensors that die on the way are what makes this hard"


def _alive(of: Graph, count: int) -> int:
    """By looking at every step: what was made before and is read there or later, or leaves."""
    inside = of.nodes[:count]
    most = 0
    for step in range(count):
        total = 0
        for made, node in enumerate(inside[: step + 1]):
            for name in node.outputs:
                readers = [k for k, other in enumerate(of.nodes) if name in other.inputs]
                leaves = name in of.outputs or any(k >= count for k in readers)
                if made == step or leaves or any(step <= k < count for k in readers):
                    total += -(-of.tensors[name].bytes // GRAIN_BYTES) * GRAIN_BYTES
        most = max(most, total)
    return most


def test_an_addition_in_floating_point_writes_over_what_nobody_reads_again() -> None:
    ops = [Op("a", ("x",), 10_240), Op("b", ("a",), 10_240), Op("c", ("a", "b"), 10_240)]
    of = graph(ops, {"x": 10_240}, ["c"])
    added = replace(of, nodes=(*of.nodes[:2], replace(of.nodes[2], op="Add")))
    plain = replace(of, nodes=(*of.nodes[:2], replace(of.nodes[2], op="Concat")))
    cut = cut_at(of, OUTPUT)
    assert held(added, cut, None).arena_bytes == 2 * 4 * 10_240
    assert held(plain, cut, None).arena_bytes == 3 * 4 * 10_240


def test_a_limit_of_a_runtimes_memory_is_kept_by_what_is_held() -> None:
    told_apart = 0
    for seed in range(8):
        rng = random.Random(seed)
        problem = measured_problem(chain(rng, 5, floats=400_000), rng, 0.5)
        free = joint(replace(problem, limits=Limits(memory_of="runtime"))).solutions
        own = sorted(s.held_bytes for s in free if s.held_bytes)
        limit = own[len(own) // 2]
        asked = replace(problem, limits=Limits(home_memory_bytes=limit, memory_of="runtime"))
        holding = Holding.at_home(problem)
        found = joint(asked).solutions
        for row in found:
            if row.bits is not None:
                assert row.held_bytes is not None
                assert row.held_bytes <= limit
                assert row.held_bytes == holding.of(cut_at(problem.graph, row.cut), row.bits).total_bytes
        told_apart += any(s.held_bytes and s.held_bytes > limit >= s.memory_bytes for s in free)
    assert told_apart >= 4, "what fits at its widths and not in a process is what makes this hard"


def test_a_plan_says_what_a_process_holds() -> None:
    rng = random.Random(5)
    problem = measured_problem(chain(rng, 5, floats=40_000), rng, 0.5)
    plan = autosplit(replace(problem, limits=Limits(loss=1.0, private=True)))
    own = next(s for s in plan.solutions if s.bits == plan.bits and s.cut == plan.cuts[0])
    assert own.held_bytes is not None
    assert "a process" in plan.why
    assert plan.memory_of == "accelerator"
    simulated = autosplit(replace(bit_problem(chain(rng, 5), rng), limits=Limits(loss=1.0, private=True)))
    assert all(s.held_bytes is None for s in simulated.solutions)
    asked = Limits(loss=1.0, private=True, home_memory_bytes=1000, memory_of="runtime")
    with pytest.raises(NoPlan, match=r"do not fit 1 kB even at 2 bits.*needs \d{4,} bytes"):
        autosplit(replace(problem, limits=asked))


def test_a_profile_tells_its_machines_figures() -> None:
    rng = random.Random(6)
    problem = measured_problem(chain(rng, 4), rng, 0.5)
    home = problem.machines[0]
    heavy = home.profile.model_copy(update={"memory": RuntimeMemory(session_bytes=7_000_000)})
    machines = (replace(home, profile=heavy), problem.machines[1])
    bits = BitPlan(weights={n.name: 8 for n in problem.graph.nodes}, outputs=dict.fromkeys(problem.graph.tensors, 8))
    cut = cut_at(problem.graph, OUTPUT)
    own = Holding.at_home(replace(problem, machines=machines)).of(cut, bits).total_bytes
    assert own - Holding.at_home(problem).of(cut, bits).total_bytes == 7_000_000 - RuntimeMemory().session_bytes

"""The joint choice of split and widths: against trying everything on small networks, and what it says if it cannot."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product

import pytest
from bit_worlds import BITS, bit_problem, branched, chain, measured_problem, tables, weighted
from plan_worlds import Op, graph

from isthmus.errors import BadInput, NoPlan
from isthmus.graph import INPUT, OUTPUT, all_cuts, cut_at
from isthmus.plan import PLANNERS, Limits, Plan, Problem, price
from isthmus.plan.baselines import IN_FLOATS, baselines
from isthmus.plan.joint import joint
from isthmus.plan.planners.qdmp import in_floats
from isthmus.plan.potential import potential
from isthmus.plan.solution import Solution
from isthmus.plan.splits import at_bits
from isthmus.plan.storage import Storage
from isthmus.profile.devices.widths import WidthWork
from isthmus.quant.types import BitPlan

CHOOSE_BITS = ("autosplit", "qdmp_e", "qdmp_e_u4", "u2", "u4", "u6", "u8")


def narrow_tables(problem: Problem, rng: random.Random) -> Problem:
    """Two widths only, so that everything can be tried."""
    return replace(problem, distortions=tables(problem.graph, rng, (2, 8)))


def by_trying_everything(problem: Problem, most: float) -> tuple[float, int]:
    """(least seconds, how many choices keep the limits) over all cuts, all widths of weights and tensors, and
    everything else the list of solutions may hold: floating point and the upload."""
    found = joint(problem)
    best = min(s.total_s for s in found.solutions if s.cut == INPUT and (s.distortion or 0.0) <= most)
    count = 0
    memory = problem.limits.home_memory_bytes
    for cut in all_cuts(problem.graph):
        if not cut.head:
            continue
        for plan, distortion, bits in _choices(problem, cut.id):
            if distortion > most or (memory is not None and bits > 8 * memory):
                continue
            crossing = [t for t in cut.crossing if problem.graph.consumers[t]]
            wire = {plan.outputs[t] for t in crossing}
            if len(wire) > 1:
                continue
            codec = f"int{wire.pop()}" if wire else "float32"
            count += 1
            best = min(best, price(at_bits(problem, plan), (cut,), codec).total_s)
    return best, count


def _reference(problem: Problem) -> float:
    """What the whole network at 8 bits distorts."""
    found = problem.distortions
    assert found is not None
    relative = [layer.weights[-1] / layer.weight_power for layer in found.layers if layer.weights]
    relative += [layer.outputs[-1] / layer.output_power for layer in found.layers]
    return sum(relative) + 4.0**-8


def _choices(problem: Problem, cut_id: str) -> list[tuple[BitPlan, float, int]]:
    """(widths, Σ D, bits of memory) of every combination for one head, written down independently of the planner."""
    graph, found = problem.graph, problem.distortions
    assert found is not None
    head = cut_at(graph, cut_id).head
    nodes = [graph.nodes[i] for i in sorted(head)]
    heavy = [n for n in nodes if n.parameters]
    layer = {one.node: one for one in found.layers}
    made = []
    for weights in product(range(2), repeat=len(heavy)):
        for outputs in product(range(2), repeat=len(nodes)):
            w = {n.name: found.bits[p] for n, p in zip(heavy, weights, strict=True)}
            a = {n.outputs[0]: found.bits[p] for n, p in zip(nodes, outputs, strict=True)}
            error = sum(
                layer[n.name].weights[p] / layer[n.name].weight_power for n, p in zip(heavy, weights, strict=True)
            )
            error += sum(
                layer[n.name].outputs[p] / layer[n.name].output_power for n, p in zip(nodes, outputs, strict=True)
            )
            bits = sum(n.parameters * w[n.name] for n in heavy) + _peak(problem, sorted(head), {**a, "x": 8})
            made.append((BitPlan(weights=w, outputs={**a, "x": 8}), error + 4.0**-8, bits))
    return made


def _peak(problem: Problem, order: list[int], widths: dict[str, int]) -> int:
    """The most bits alive at once while these nodes run; the input is there from the start."""
    graph = problem.graph
    most = 0
    for step, i in enumerate(order):
        ran = set(order[: step + 1])
        alive = 0
        for name in ["x", *(t for k in order[: step + 1] for t in graph.nodes[k].outputs)]:
            later = any(c not in ran or c == i for c in graph.consumers[name]) or name in graph.outputs
            if later or name in graph.nodes[i].outputs:
                alive += graph.tensors[name].elements * widths[name]
        most = max(most, alive)
    return most


def test_as_good_as_trying_everything_on_small_networks() -> None:
    inside = mixed = tight = 0
    worst = []
    for seed in range(24):
        rng = random.Random(seed)
        of = chain(rng, 4) if seed % 3 else branched(rng)
        made = narrow_tables(bit_problem(of, rng, up_bps=10 ** rng.uniform(5.0, 5.9)), rng)
        whole = joint(made).splits
        full = sum(whole.memory(whole.uniform(len(whole.storage.heads) - 1, 8))) // 8
        most = _reference(made) * 10 ** rng.uniform(1.0, 3.7)
        limits = Limits(home_memory_bytes=int(full * rng.uniform(0.55, 1.0)), distortion=most)
        problem = replace(made, limits=limits)
        best, count = by_trying_everything(problem, most)
        plan = PLANNERS["autosplit"](problem)
        worst.append(plan.cost.total_s / best - 1)
        inside += plan.cuts[0] not in (INPUT, OUTPUT)
        mixed += plan.bits is not None and len({*plan.bits.weights.values(), *plan.bits.outputs.values()}) > 1
        tight += PLANNERS["autosplit"](replace(made, limits=Limits(distortion=most))).cost.total_s < plan.cost.total_s
        assert count > 0 or plan.cuts[0] == INPUT
    # nothing beats trying everything; what is missed of it is small
    assert min(worst) >= -1e-9
    assert max(worst) <= 0.02, max(worst)
    assert sum(w > 1e-3 for w in worst) <= 4, worst
    # the cases are hard
    assert inside > 6, inside
    assert mixed > 3, mixed
    assert tight > 12, tight


@pytest.mark.parametrize("name", CHOOSE_BITS)
def test_a_planner_that_chooses_widths_is_deterministic_and_priced_by_the_one_cost_function(name: str) -> None:
    for seed in range(6):
        rng = random.Random(seed)
        problem = bit_problem(chain(rng, 5), rng, up_bps=10 ** rng.uniform(5, 6.5))
        plan = PLANNERS[name](problem)
        assert plan == PLANNERS[name](problem)
        assert plan.planner == name
        assert plan.cost.total_s == pytest.approx(_priced_again(problem, plan), rel=1e-12)
        assert Plan.model_validate_json(plan.model_dump_json()) == plan


def _priced_again(problem: Problem, plan: Plan) -> float:
    if plan.cuts[0] == INPUT or plan.bits is None:
        return price(problem, [cut_at(problem.graph, plan.cuts[0])], plan.codec).total_s
    return price(at_bits(problem, plan.bits), [cut_at(problem.graph, plan.cuts[0])], plan.codec).total_s


def test_no_slower_than_any_baseline_that_loses_as_little() -> None:
    beaten = compared = 0
    for seed in range(12):
        rng = random.Random(seed)
        problem = bit_problem(chain(rng, 6) if seed % 2 else branched(rng), rng, up_bps=10 ** rng.uniform(5.2, 6.6))
        found = joint(problem)
        for row in baselines(problem, found):
            if row.loss is None:
                continue
            ours = [s for s in found.solutions if (s.loss or 0.0) <= row.loss * (1 + 1e-9)]
            assert ours, row.name
            compared += 1
            assert min(s.total_s for s in ours) <= row.total_s * (1 + 1e-9), (seed, row.name)
            beaten += min(s.total_s for s in ours) < row.total_s * 0.98
    assert compared > 100, compared
    assert beaten > 20, beaten


def test_every_solution_is_what_it_says() -> None:
    rng = random.Random(4)
    problem = replace(bit_problem(chain(rng, 5), rng), limits=Limits(home_memory_bytes=7000))
    found = joint(problem)
    assert len(found.solutions) > 12
    assert [s.total_s for s in found.solutions] == sorted(s.total_s for s in found.solutions)
    front = [s for s in found.solutions if s.front]
    losses = [s.loss or 0.0 for s in front]
    assert losses == sorted(losses, reverse=True)
    for row in front:
        assert row.memory_bytes <= 7000
        if row.bits is not None:
            assert row.total_s == pytest.approx(_again(problem, row), rel=1e-12)
            assert _table_sum(problem, row.bits) == pytest.approx(row.distortion, rel=1e-9, abs=1e-15)


def _again(problem: Problem, row: Solution) -> float:
    return price(at_bits(problem, row.bits), [cut_at(problem.graph, row.cut)], row.codec).total_s


def _table_sum(problem: Problem, bits: BitPlan) -> float:
    """Σ D of widths, straight from the tables."""
    found = problem.distortions
    assert found is not None
    layer = {one.node: one for one in found.layers}
    if set(bits.weights.values()) == {16}:
        return 0.0

    def at(errors: tuple[float, ...], width: int) -> float:
        return 0.0 if width == 16 or not errors else errors[found.bits.index(width)]

    total = sum(at(layer[n].weights, b) / layer[n].weight_power for n, b in bits.weights.items())
    return total + sum(at(found.tensor(n).errors, b) / found.tensor(n).power for n, b in bits.outputs.items())


def test_the_candidates_are_those_of_the_formula() -> None:
    """T_n ≤ T_0 and b_min·(Σ s_w + what is alive) + scales ≤ M, by hand for every prefix of a branched network."""
    dropped_for: set[str] = set()
    for seed in range(20):
        rng = random.Random(seed)
        of = branched(rng)
        problem = replace(bit_problem(of, rng), limits=Limits(home_memory_bytes=rng.randint(300, 4000)))
        assert problem.distortions is not None
        storage = Storage.of(of, problem.distortions, BITS)
        found = potential(problem, storage)
        widths = dict.fromkeys(of.tensors, 2) | {"x": 8}
        for step, cut in enumerate(storage.cuts):
            sent = sum(of.tensors[t].elements for t in cut.crossing if of.consumers[t]) * 2
            order = sorted(cut.head)
            scales = sum(node.product.columns for i in order if (node := of.nodes[i]).product is not None)
            need = sum(of.nodes[i].parameters for i in order) * 2 + 32 * scales + _peak(problem, order, widths)
            fits = not order or -(-need // 8) <= (problem.limits.home_memory_bytes or 0)
            travels = cut.id == INPUT or sent <= of.tensors["x"].elements * 8
            assert (step in found.steps) == (fits and travels), (seed, cut.id)
        dropped_for |= {d.reason for d in found.dropped}
        assert len(found.steps) + len(found.dropped) == len(storage.heads)
    assert dropped_for == {"does not fit"} or "sends more" in dropped_for


def test_a_place_that_sends_as_much_as_the_input_is_a_candidate_and_one_bit_more_is_not() -> None:
    ops = [Op("a", ("x",), 400), Op("b", ("a",), 401), Op("c", ("b",), 10)]
    of = weighted(graph(ops, {"x": 100}, ["c"]), dict.fromkeys("abc", (5, 5, 5)))
    problem = bit_problem(of, random.Random(1))
    assert problem.distortions is not None
    found = potential(problem, Storage.of(of, problem.distortions, BITS))
    assert found.steps == (0, 1, 3)  # 400 numbers of 2 bits are what 100 of 8 are
    assert [(d.cut, d.reason) for d in found.dropped] == [("b", "sends more")]
    assert "3 of 4 places are candidates (1 send more than the input even at 2 bits)" in found.summary(None)


def test_an_early_answer_is_stored_to_the_end() -> None:
    ops = [Op("a", ("x",), 50), Op("early", ("a",), 900), Op("b", ("a",), 40), Op("c", ("b",), 30)]
    of = weighted(graph(ops, {"x": 20}, ["early", "c"]), dict.fromkeys(("a", "early", "b", "c"), (5, 5, 5)))
    problem = bit_problem(of, random.Random(1))
    assert problem.distortions is not None
    lives = Storage.of(of, problem.distortions, BITS).lives
    assert lives.alive_bits(lives.uniform(4)).tolist() == [20 * 8 + 200, 200 + 3600, 200 + 3600 + 160, 3600 + 160 + 120]
    head = Storage.of(of, problem.distortions, BITS, head=cut_at(of, "a")).lives
    assert head.last == [0, 0]  # the input is read by a only, a crosses


def test_the_literal_working_set_is_the_largest_tensor() -> None:
    rng = random.Random(1)
    of = branched(rng)
    problem = bit_problem(of, rng)
    assert problem.distortions is not None
    ours = Storage.of(of, problem.distortions, BITS).lives
    theirs = Storage.of(of, problem.distortions, BITS, literal=True).lives
    largest = max(of.tensors[n.outputs[0]].elements for n in of.nodes) * 8
    assert theirs.peak_bits(theirs.uniform(8)) == max(largest, of.tensors["x"].elements * 8)
    assert ours.peak_bits(ours.uniform(8)) > theirs.peak_bits(theirs.uniform(8))
    tight = replace(problem, limits=Limits(home_memory_bytes=3000), literal=True)
    assert len(potential(tight, Storage.of(of, problem.distortions, BITS, literal=True)).steps) >= len(
        potential(tight, Storage.of(of, problem.distortions, BITS)).steps
    )


def test_a_head_too_large_leaves_the_server_and_names_the_nearest() -> None:
    rng = random.Random(2)
    problem = replace(bit_problem(chain(rng, 4), rng), limits=Limits(home_memory_bytes=100))
    plan = PLANNERS["autosplit"](problem)
    assert plan.cuts == (INPUT,)
    assert "no head fits: the smallest, up to n0, needs" in plan.why
    assert [(d.cut, d.reason) for d in plan.dropped] == [(c, "does not fit") for c in ("n0", "n1", "n2", OUTPUT)]
    assert all(d.bytes > 100 for d in plan.dropped)
    private = replace(problem, limits=Limits(home_memory_bytes=100, private=True))
    with pytest.raises(NoPlan, match=r"the smallest head, up to n0, needs \d+ bytes; raise the memory limit"):
        PLANNERS["autosplit"](private)


def test_the_nearest_is_a_head_that_memory_alone_stands_in_the_way_of() -> None:
    """What sends more than the input is no candidate however much memory there is."""
    rng = random.Random(2)
    of = graph([Op("wide", ("x",), 90_000), Op("n1", ("wide",), 40)], {"x": 3000}, ["n1"])
    of = weighted(of, {"wide": (60, 4, 9), "n1": (40, 40, 90)})
    problem = replace(bit_problem(of, rng), limits=Limits(home_memory_bytes=10, private=True))
    assert problem.distortions is not None
    assert {"wide", OUTPUT} <= {cut.id for cut in Storage.of(of, problem.distortions, BITS).cuts}
    with pytest.raises(
        NoPlan, match=r"1 send more than the input .* the smallest head, up to @output, needs \d+ bytes"
    ):
        PLANNERS["autosplit"](problem)


def test_no_distortion_at_all_is_floating_point_or_the_nearest_miss() -> None:
    rng = random.Random(2)
    free = bit_problem(chain(rng, 4), rng, up_bps=1e5)
    plan = PLANNERS["autosplit"](replace(free, limits=Limits(distortion=0.0)))
    assert plan.bits is not None
    assert set(plan.bits.weights.values()) == {16}
    private = replace(free, limits=Limits(distortion=0.0, private=True, home_memory_bytes=7000))
    least = min(s.distortion or 0.0 for s in joint(private).solutions)
    assert least > 0
    with pytest.raises(NoPlan, match=r"no solution within a distortion of 0: \S+/w\S+ comes nearest with a loss of"):
        PLANNERS["autosplit"](private)


def test_without_tables_it_says_how_to_get_them() -> None:
    problem = replace(bit_problem(chain(random.Random(1), 3), random.Random(1)), distortions=None)
    for name in CHOOSE_BITS:
        with pytest.raises(BadInput, match=rf"{name} chooses bit widths .* isthmus quantize made"):
            PLANNERS[name](problem)


def test_tables_of_another_network_are_refused() -> None:
    rng = random.Random(1)
    problem = bit_problem(chain(rng, 3), rng)
    other = replace(problem, distortions=tables(chain(rng, 2), rng))
    with pytest.raises(BadInput, match=r"know no tensor 'n2'.* another network than made"):
        PLANNERS["autosplit"](other)
    with pytest.raises(BadInput, match="device at home that runs first"):
        PLANNERS["autosplit"](replace(problem, machines=problem.machines[::-1], home=1))


def test_measured_losses_decide_and_are_said() -> None:
    rng = random.Random(6)
    problem = bit_problem(chain(rng, 5), rng)
    guessed = PLANNERS["autosplit"](replace(problem, limits=Limits(loss=0.02)))
    assert "estimated from the distortion" in guessed.why
    name = next(s.name for s in guessed.solutions if s.bits == guessed.bits and s.cut == guessed.cuts[0])
    measured = PLANNERS["autosplit"](replace(problem, limits=Limits(loss=0.02), losses={name: 0.3}))
    assert (measured.cuts, measured.bits) != (guessed.cuts, guessed.bits)
    assert measured.cost.total_s >= guessed.cost.total_s
    good = PLANNERS["autosplit"](replace(problem, limits=Limits(loss=0.02), losses={name: 0.001}))
    assert "(measured" in good.why


def test_a_deadline_names_the_nearest() -> None:
    rng = random.Random(6)
    problem = replace(bit_problem(chain(rng, 5), rng), limits=Limits(latency_s=1e-6))
    with pytest.raises(NoPlan, match=r"no solution within 1 µs .* comes nearest at"):
        PLANNERS["autosplit"](problem)


def test_a_measured_device_gains_by_its_own_factor() -> None:
    of = chain(random.Random(3), 5)
    fast = PLANNERS["u8"](measured_problem(of, random.Random(3), 0.35))
    same = PLANNERS["u2"](measured_problem(of, random.Random(3), 0.35))
    plain = PLANNERS["device_only"](measured_problem(of, random.Random(3), 0.35))
    assert fast.cost.total_s == pytest.approx(0.35 * plain.cost.total_s)
    assert same.cost.total_s == fast.cost.total_s


def test_fewer_bits_move_faster_and_are_multiplied_no_faster() -> None:
    rng = random.Random(3)
    problem = bit_problem(chain(rng, 5), rng, moved=1e6)
    times = [PLANNERS[f"u{b}"](problem).cost.total_s for b in (2, 4, 6, 8)]
    assert times == sorted(times)
    assert times[0] < times[-1]
    floats = price(at_bits(problem, BitPlan()), [cut_at(problem.graph, OUTPUT)], "float32").total_s
    assert floats > times[-1]
    work = problem.machines[0].work
    assert work is not None
    moved_at_once = WidthWork(work.device.model_copy(update={"bandwidth_bytes_per_s": 1e15}), problem.graph)
    busy = replace(problem, machines=(replace(problem.machines[0], work=moved_at_once), problem.machines[1]))
    assert PLANNERS["u2"](busy).cost.total_s == PLANNERS["u8"](busy).cost.total_s


def test_baselines_are_named_and_know_whether_they_fit() -> None:
    rng = random.Random(8)
    problem = replace(bit_problem(chain(rng, 5), rng, up_bps=1e5), limits=Limits(home_memory_bytes=3500))
    rows = {row.name: row for row in baselines(problem)}
    assert {"cloud16", "u2", "u8", "qdmp_e", "qdmp_e_u4", *IN_FLOATS} <= rows.keys()
    assert rows["u2"].memory_bytes < rows["u8"].memory_bytes
    assert [rows[f"u{b}"].fits for b in (2, 8)] == [rows[f"u{b}"].memory_bytes <= 3500 for b in (2, 8)]
    assert not rows["u8"].fits
    with pytest.raises(NoPlan, match=r"u8 needs [\d.]+ kB on the device, more than 3.5 kB"):
        PLANNERS["u8"](problem)
    assert rows["qdmp"].total_s == PLANNERS["qdmp"](in_floats(problem)).cost.total_s
    assert rows["cloud16"].sent_bytes == problem.graph.tensors["x"].elements + 8

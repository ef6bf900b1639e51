"""The cost function against sums done by hand, and the table against the function."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from plan_worlds import Op, diamond, diamond_problem, graph, random_graph, random_problem, times

from isthmus.errors import BadInput
from isthmus.graph import INPUT, OUTPUT, Cut, all_cuts, cut_at
from isthmus.link.types import Link
from isthmus.plan import CostTable, Problem, price
from isthmus.plan.cost import Option


def test_a_multi_tensor_cut_by_hand() -> None:
    problem = diamond_problem()
    cost = price(problem, [cut_at(problem.graph, "b+c")], "int8")
    sent = (50 + 8) + (60 + 8)  # int8 sends its range in eight bytes
    assert cost.up_bytes == (sent,)
    assert cost.down_bytes == (40,)  # the answer goes home raw, whatever the codec
    assert cost.compute_s == pytest.approx((3e-3, 2e-4))
    assert cost.up_s[0] == pytest.approx(2e-3 + sent * 8 / 1e6)
    assert cost.down_s[0] == pytest.approx(2e-3 + 40 * 8 / 2e6)
    assert cost.fixed_s == 5e-4
    coding = 2 * (2e-6 + 2e-6) + 110 * (1e-9 + 5e-10) + (1e-6 + 1e-6) + 10 * 3e-10
    assert cost.codec_s == pytest.approx(coding)
    assert cost.total_s == pytest.approx(sum([*cost.compute_s, *cost.up_s, *cost.down_s, cost.codec_s, cost.fixed_s]))


def test_nothing_sent_costs_no_round_trip_and_no_fixed_part() -> None:
    problem = diamond_problem()
    cost = price(problem, [cut_at(problem.graph, OUTPUT)])
    assert (cost.up_s, cost.down_s, cost.fixed_s, cost.codec_s) == ((0.0,), (0.0,), 0.0, 0.0)
    assert cost.total_s == pytest.approx(5e-3)


def test_a_stage_is_as_long_as_it_is_busy() -> None:
    """A machine's is its work and its coding, a link's the bytes in either direction; the way keeps nobody busy."""
    problem = diamond_problem(links=(Link(1e9, 1e9, 4.0, 5.0),))
    cut = [cut_at(problem.graph, "a")]
    device_s = 1e-3 + (2e-6 + 400 * 1e-9) + (1e-6 + 10 * 2e-10)
    assert price(problem, cut, "int8").stage_s == pytest.approx(device_s)
    assert price(replace(problem, links=(Link(1e6, 1e9, 4.0),)), cut, "int8").stage_s == pytest.approx(408 * 8 / 1e6)
    assert price(replace(problem, links=(Link(1e9, 1e4, 4.0),)), cut, "int8").stage_s == pytest.approx(40 * 8 / 1e4)
    slow = replace(problem.machines[1], factor=1000)
    answer_s = 0.4 + 1000 * (2e-6 + 400 * 5e-10 + 1e-6 + 10 * 1e-10)
    cost = price(replace(problem, machines=(problem.machines[0], slow)), cut, "int8")
    assert cost.stage_s == pytest.approx(answer_s)
    assert price(problem, [cut_at(problem.graph, OUTPUT)]).stage_s == pytest.approx(5e-3)


def test_a_tensor_read_twice_is_sent_once() -> None:
    problem = diamond_problem()
    assert price(problem, [cut_at(problem.graph, "a")]).up_bytes == (1600,)


def test_home_second_uploads_the_input_backwards() -> None:
    """Edgent's order: the server runs first, the device finishes, and the device is home."""
    of = diamond()
    machines = (times(of, [1e-4] * 5), times(of, [1e-3] * 5))
    problem = Problem(of, machines, (Link(1e6, 2e6, 4e-3, 5e-4),), home=1)
    split = price(problem, [cut_at(of, "b+c")])
    assert (split.up_bytes, split.down_bytes) == ((4000,), (440,))
    all_home = price(problem, [cut_at(of, INPUT)])
    assert (all_home.up_bytes, all_home.down_bytes, all_home.fixed_s) == ((0,), (0,), 0.0)
    all_away = price(problem, [cut_at(of, OUTPUT)])
    assert (all_away.up_bytes, all_away.down_bytes) == ((4000,), (40,))


def test_an_answer_that_is_also_read_further_on_travels_once_and_raw() -> None:
    of = graph([Op("a", ("x",), 100), Op("b", ("a",), 10)], {"x": 1000}, ["a", "b"])
    server_first = Problem(of, (times(of, [1e-4] * 2), times(of, [1e-3] * 2)), (Link(1e6, 1e6),), home=1)
    assert price(server_first, [cut_at(of, "a")], "int8").down_bytes == (400,)
    device_first = replace(server_first, home=0)
    cost = price(device_first, [cut_at(of, "a")], "int8")
    assert (cost.up_bytes, cost.down_bytes) == ((108,), (40,))  # a is at home already: only b comes back


def test_other_dtypes_cross_raw() -> None:
    of = graph([Op("a", ("x",), 100, "int64"), Op("b", ("a",), 10)], {"x": 1000}, ["b"])
    problem = Problem(of, (times(of, [1e-3] * 2), times(of, [1e-4] * 2)), (Link(1e6, 1e6),))
    assert price(problem, [cut_at(of, "a")], "int8").up_bytes == (800,)


def test_bytes_that_were_measured_count_for_every_sample_of_a_batch_and_only_away_from_home() -> None:
    problem = diamond_problem(sample_bytes={("a", "int8"): 17.25, ("b+c", "int8"): 9.0})
    assert price(problem, [cut_at(problem.graph, "a")], "int8").up_bytes == (18,)
    assert price(problem, [cut_at(problem.graph, "a")]).up_bytes == (1600,), "nobody measured this codec"
    four = replace(problem, graph=replace(problem.graph, batch=4))
    assert price(four, [cut_at(four.graph, "a")], "int8").up_bytes == (69,)
    server_first = replace(problem, machines=problem.machines[::-1], home=1)
    cost = price(server_first, [cut_at(problem.graph, "a")], "int8")
    assert (cost.up_bytes, cost.down_bytes) == ((1008,), (408,)), "the input goes up, and what crosses comes down"


def test_a_choice_stays_only_where_nothing_comes_down_either() -> None:
    problem = diamond_problem()
    table = CostTable.of(problem, [((cut_at(problem.graph, cut),), "float32") for cut in (INPUT, "a", OUTPUT, "d")])
    assert table.stays.tolist() == [False, False, True, False]
    fetched = replace(table, up_bytes=np.array([1.0, 0.0, 0.0, 0.0]), down_bytes=np.array([0.0, 1.0, 0.0, 1.0]))
    assert fetched.stays.tolist() == [False, False, True, False]


def test_three_machines_home_in_the_middle() -> None:
    of = diamond()
    machines = tuple(times(of, [s] * 5) for s in (1e-4, 1e-3, 1e-4))
    links = (Link(1e6, 2e6, 2e-3, 1e-4), Link(3e6, 4e6, 6e-3, 2e-4))
    problem = Problem(of, machines, links, home=1)
    cost = price(problem, [cut_at(of, "a"), cut_at(of, "d")])
    assert cost.up_bytes == (4000, 1200)
    assert cost.down_bytes == (1600, 40)
    assert cost.up_s == pytest.approx((1e-3 + 4000 * 8 / 1e6, 3e-3 + 1200 * 8 / 3e6))
    assert cost.down_s == pytest.approx((1e-3 + 1600 * 8 / 2e6, 3e-3 + 40 * 8 / 4e6))
    assert cost.compute_s == pytest.approx((1e-4, 3e-3, 1e-4))
    assert cost.fixed_s == pytest.approx(3e-4)


@pytest.mark.parametrize(
    ("cuts", "said"),
    [
        ([], "one"),
        (["d", "a"], "nested"),
    ],
)
def test_bad_cuts_are_refused(cuts: list[str], said: str) -> None:
    of = diamond()
    machines = tuple(times(of, [1e-3] * 5) for _ in range(3))
    problem = Problem(of, machines, (Link(1e6, 1e6), Link(1e6, 1e6)))
    with pytest.raises(BadInput, match="nested" if said == "nested" else "need 2 cuts"):
        price(problem, [cut_at(of, c) for c in cuts])


def test_an_open_or_lying_cut_is_refused() -> None:
    problem = diamond_problem()
    with pytest.raises(BadInput, match="cannot run before"):
        price(problem, [Cut("d", ("d",), frozenset({3}))])
    with pytest.raises(BadInput, match="but its head sends"):
        price(problem, [Cut("b", ("b",), frozenset({0, 1, 2}))])


def _options(problem: Problem, rng: random.Random) -> list[Option]:
    return [((cut,), rng.choice(("float32", "int8"))) for cut in all_cuts(problem.graph)]


def test_the_table_is_the_function_under_any_rates_and_loads() -> None:
    rng = random.Random(5)
    checked = 0
    for _ in range(30):
        made = random_problem(rng, machines=2)
        problem = replace(made, home=rng.randrange(2))
        options = _options(problem, rng)
        table = CostTable.of(problem, options)
        up, down, rtt, load, slow = 10 ** rng.uniform(5, 8), 10 ** rng.uniform(5, 8), rng.random() / 50, 1.7, 1.3
        found = table.latency_s(up, down, rtt, load=load, device_load=slow)
        factors = (slow, load) if problem.home == 0 else (load, slow)
        changed = replace(
            problem,
            machines=tuple(replace(m, factor=m.factor * f) for m, f in zip(problem.machines, factors, strict=True)),
            links=(replace(problem.links[0], up_bps=up, down_bps=down, rtt_s=rtt),),
        )
        truth = [price(changed, cuts, codec).total_s for cuts, codec in options]
        np.testing.assert_allclose(found, truth, rtol=1e-12, atol=0)
        assert table.cuts == tuple(cuts[0].id for cuts, _ in options)
        checked += len(options)
    assert checked > 200


def test_the_table_refuses_other_shapes() -> None:
    problem = random_problem(random.Random(2), machines=3)
    with pytest.raises(BadInput, match="not for 3 machines"):
        CostTable.of(problem, [((cut_at(problem.graph, OUTPUT),) * 2, "float32")])
    with pytest.raises(BadInput, match="at least one"):
        CostTable.of(diamond_problem(), [])


def test_random_graphs_are_worth_testing() -> None:
    graphs = [random_graph(random.Random(seed)) for seed in range(100)]
    assert sum(len(g.outputs) > 1 for g in graphs) > 20
    assert sum(any(len(c.crossing) > 1 for c in all_cuts(g)) for g in graphs) > 80

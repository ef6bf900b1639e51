"""The configuration map against trying every strategy in every state."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from plan_worlds import Op, branchy_problem, graph, random_problem, times
from privacy import sends_input

from isthmus.errors import BadInput, NoPlan
from isthmus.graph import INPUT, OUTPUT, cut_at, narrow_cuts
from isthmus.link.types import Link
from isthmus.plan import PLANNERS, Limits, Plan, Problem, price
from isthmus.plan.cost import allowed_codecs
from isthmus.plan.map_types import ConfigMap, RewardName
from isthmus.plan.planners.edgent import in_time
from isthmus.plan.planners.edgent_map import configuration_map
from isthmus.plan.rewards import reward
from isthmus.plan.strategies import strategies as strategies_of
from isthmus.plan.types import Exit
from isthmus.profile.types import lateness

STATES = (1e6, 6e6, 40e6, 300e6)


def strategies(problem: Problem, state_bps: float) -> list[tuple[str, str, str, float, float]]:
    """Every (exit, cut, codec) with its latency and accuracy in one state."""
    link = problem.links[0]
    share = link.down_bps / link.up_bps
    there = replace(problem, links=(replace(link, up_bps=state_bps, down_bps=share * state_bps),))
    found = []
    for place in there.exits:
        at = there.at_exit(place.output)
        for cut in narrow_cuts(at.graph):
            if problem.limits.private and sends_input(at, [cut]):
                continue
            for codec in allowed_codecs(at, [cut]):
                seconds = price(at, [cut], codec).total_s
                found.append((place.output, cut.id, codec, seconds, place.accuracy or 0.0))
    return found


@pytest.mark.parametrize("name", ["edgent", "accuracy_first"])
def test_every_state_holds_the_greatest_reward_there_is(name: str) -> None:
    different = missed = early = 0
    for seed in range(120):
        problem = replace(branchy_problem(random.Random(seed)), states_bps=STATES)
        within = problem.limits.latency_s or math.inf
        try:
            config = configuration_map(problem, name)  # type: ignore[arg-type]
        except NoPlan:
            assert not strategies(problem, 1e6)
            continue
        assert [row.state_bps for row in config.rows] == list(STATES)
        for row in config.rows:
            every = strategies(problem, row.state_bps)
            if name == "edgent":
                worth = {s[:3]: math.exp(s[4]) + 1 / s[3] if s[3] <= within else 0.0 for s in every}
            else:
                worth = {s[:3]: s[4] + 1e-3 * (1 / s[3]) / (1 + 1 / s[3]) if s[3] <= within else 0.0 for s in every}
            assert row.reward == pytest.approx(max(worth.values()), rel=1e-9), f"seed {seed}"
            took = next(s for s in every if s[:3] == (row.exit, row.cut, row.codec))
            assert row.latency_s == pytest.approx(took[3], rel=1e-9)
            assert row.meets == (took[3] <= within)
            if not row.meets:
                assert row.latency_s == pytest.approx(min(s[3] for s in every), rel=1e-9)
                missed += 1
            early += row.exit != problem.exits[-1].output
        different += len({(r.exit, r.cut, r.codec) for r in config.rows}) > 1
    assert different > 40, different
    assert missed > 20, missed
    assert early > 80, early


def test_of_equal_strategies_the_later_counts() -> None:
    of = graph([Op("a", ("x",), 1000), Op("b", ("a",), 1000), Op("y", ("b",), 1000)], {"x": 1000}, ["y"])
    machines = (times(of, [0.0] * 3), times(of, [0.0] * 3))
    free = tuple(replace(m, profile=m.profile.model_copy(update={"codecs": {}})) for m in machines)
    problem = Problem(of, free, (Link(1e6, 1e12),), states_bps=(1e6,), exits=(Exit("y", 0.9),))
    row = configuration_map(replace(problem, ready=("a", "b"))).rows[0]
    assert row.cut == "b"  # 'a' and 'b' cost the same


def test_the_paper_s_reward_prefers_speed_and_the_other_accuracy() -> None:
    assert reward("edgent", 0.75, 0.01, 1.0) > reward("edgent", 0.99, 0.011, 1.0)
    assert reward("accuracy_first", 0.751, 0.9, 1.0) > reward("accuracy_first", 0.749, 1e-6, 1.0)
    assert reward("accuracy_first", 0.75, 0.1, 1.0) > reward("accuracy_first", 0.75, 0.2, 1.0)
    assert reward("edgent", 0.75, 1.01, 1.0) == 0
    assert reward("edgent", 0.5, 0.5, None) == pytest.approx(math.exp(0.5) + 2)
    with pytest.raises(BadInput, match=r"'best' is no reward"):
        reward("best", 0.5, 0.5, None)  # type: ignore[arg-type]


def test_a_batch_is_rewarded_for_the_inferences_in_it() -> None:
    """At one rate the map at a batch of 8 says what the seconds it tells make of it, with and without a spread."""
    one = replace(branchy_problem(random.Random(2)), limits=Limits(), states_bps=STATES)
    problem = one.at_batch(replace(one.graph, batch=8))
    for spread in ((), (1.0,)):
        for row in configuration_map(replace(problem, states_spread=spread)).rows:
            assert row.reward == pytest.approx(math.exp(row.accuracy or 0) + 8 / row.latency_s)
    link = problem.links[0]
    row = in_time(strategies_of(problem), link, None)
    assert row.reward == pytest.approx(math.exp(row.accuracy or 0) + 8 / row.latency_s)
    assert reward("accuracy_first", 0.5, 0.5, None, 4) == pytest.approx(0.5 + 1e-3 * 8 / 9)


def test_a_rate_finds_the_nearest_state() -> None:
    problem = replace(branchy_problem(random.Random(2)), limits=Limits(), states_bps=(4e6, 1e6, 16e6))
    config = configuration_map(problem)
    assert [config.state_of(bps) for bps in (1.0, 1e6, 1.9e6, 2.1e6, 7.9e6, 8.1e6, 1e12)] == [0, 0, 0, 1, 1, 2, 2]
    assert config.at(1e6) is config.rows[0]
    for bps in (0.0, -1.0, math.nan):
        with pytest.raises(BadInput, match=r"above zero"):
            config.at(bps)
    assert ConfigMap.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValueError, match=r"must rise"):
        ConfigMap.model_validate({**config.model_dump(), "rows": [r.model_dump() for r in reversed(config.rows)]})


def test_the_planner_answers_for_its_own_rate_and_gives_the_map() -> None:
    for seed in range(40):
        problem = replace(branchy_problem(random.Random(seed)), limits=Limits(latency_s=0.5))
        plan = PLANNERS["edgent_map"](problem)
        assert plan.config is not None
        assert len(plan.config.rows) > 20
        best = max(strategies(problem, problem.links[0].up_bps), key=lambda s: math.exp(s[4]) + 1 / s[3])
        assert plan.cost.total_s == pytest.approx(best[3], rel=1e-9)
        assert plan.exit == best[0]
        assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_what_a_map_cannot_be_made_of() -> None:
    problem = branchy_problem(random.Random(1))
    with pytest.raises(BadInput, match=r"give the exits' table"):
        configuration_map(replace(problem, exits=(Exit("main"),)))
    with pytest.raises(BadInput, match=r"states are rates above zero"):
        configuration_map(replace(problem, states_bps=(0.0, 1e6)))
    with pytest.raises(NoPlan, match=r"no exit has a partition that keeps the limits"):
        configuration_map(replace(problem, limits=Limits(home_memory_bytes=0, private=True)))
    with pytest.raises(BadInput, match=r"not for 3 machines"):
        configuration_map(random_problem(random.Random(2), machines=3))


def test_with_a_spread_the_expected_reward_is_the_greatest_there_is() -> None:
    """Against pricing every strategy at every rate; and it is not what the mean rate would have chosen."""
    spread = (0.2, 1.0, 2.0)
    other = 0
    for seed in range(20):
        problem = replace(branchy_problem(random.Random(seed)), states_bps=STATES)
        within = problem.limits.latency_s or math.inf
        try:
            config = configuration_map(replace(problem, states_spread=spread))
        except NoPlan:
            continue
        plain = configuration_map(problem)
        assert (config.spread, plain.spread) == (spread, ())
        for row, mean in zip(config.rows, plain.rows, strict=True):
            worth: dict[tuple[str, str, str], float] = {}
            for factor in spread:
                for exit_, cut, codec, seconds, accuracy in strategies(problem, factor * row.state_bps):
                    gained = math.exp(accuracy) + 1 / seconds if seconds <= within else 0.0
                    worth[exit_, cut, codec] = worth.get((exit_, cut, codec), 0.0) + gained / len(spread)
            assert row.reward == pytest.approx(max(worth.values()), rel=1e-9)
            if row.reward:
                assert worth[row.exit or "", row.cut, row.codec] == pytest.approx(row.reward, rel=1e-9)
            other += (row.exit, row.cut, row.codec) != (mean.exit, mean.cut, mean.codec)
    assert other >= 3, other


def test_with_a_spread_in_time_is_what_surely_is() -> None:
    """Against pricing every strategy on the link as late as one exchange in twenty is; and it changes the choice."""
    late, other = 3.0, 0
    for seed in range(20):
        problem = replace(branchy_problem(random.Random(seed)), states_bps=STATES, states_spread=(0.7, 1.0, 1.4))
        link = replace(problem.links[0], late=late)
        slow = replace(problem, links=(problem.links[0].slowed(1 + late * lateness(0.95)),))
        within = problem.limits.latency_s or math.inf
        try:
            config = configuration_map(replace(problem, links=(link,)))
        except NoPlan:
            continue
        plain = configuration_map(problem)
        for row, careless in zip(config.rows, plain.rows, strict=True):
            worth = 0.0
            found: dict[tuple[str, str, str], float] = {}
            for factor in problem.states_spread:
                typical = strategies(problem, factor * row.state_bps)
                surely = strategies(slow, factor * row.state_bps / (1 + late * lateness(0.95)))
                for (exit_, cut, codec, seconds, accuracy), (*_, most, _) in zip(typical, surely, strict=True):
                    gained = math.exp(accuracy) + 1 / seconds if most <= within else 0.0
                    found[exit_, cut, codec] = found.get((exit_, cut, codec), 0.0) + gained / 3
            worth = max(found.values())
            assert row.reward == pytest.approx(worth, rel=1e-9)
            other += (row.exit, row.cut, row.codec) != (careless.exit, careless.cut, careless.codec)
    assert other >= 3, other


def test_a_spread_of_nothing_but_the_state_is_no_spread() -> None:
    problem = replace(branchy_problem(random.Random(3)), states_bps=STATES)
    assert configuration_map(replace(problem, states_spread=(1.0,))).rows == configuration_map(problem).rows
    with pytest.raises(BadInput, match=r"their spread is of such multiples"):
        configuration_map(replace(problem, states_spread=(0.0, 1.0)))


def test_home_begins_while_it_can_still_keep_the_requirement() -> None:
    """`give_up_s` and what the device surely takes alone are the requirement together; not before the answer is due."""
    waits = never = alone = 0
    for seed in range(60):
        base = branchy_problem(random.Random(seed))
        local = {e.output: home_alone_s(base.at_exit(e.output)) for e in base.exits}
        within_s = 1.6 * min(local.values())
        problem = replace(base, states_bps=STATES, limits=replace(base.limits, latency_s=within_s, private=False))
        config = configuration_map(problem)
        assert config.alone is None or not config.alone.sends
        alone += config.alone is not None
        for row in config.rows:
            spare_s = within_s - local[row.exit or ""]
            if row.give_up_s is None:
                never += 1
                assert not row.sends or spare_s <= row.latency_s * (1 + 1e-9)
            else:
                waits += 1
                assert row.give_up_s == pytest.approx(spare_s)
                assert row.latency_s < row.give_up_s
    assert waits > 20, waits
    assert never > 20, never
    assert alone > 30, alone


@pytest.mark.parametrize("name", ["edgent", "accuracy_first"])
def test_alone_is_the_best_that_sends_nothing(name: RewardName) -> None:
    """Also where a later exit, which does not fit the memory at home, would be worth more on any link."""
    beside = 0
    for seed in range(60):
        base = branchy_problem(random.Random(seed))
        nodes = tuple(replace(node, weight_bytes=1_000_000) for node in base.graph.nodes)
        heavy = replace(base, graph=replace(base.graph, nodes=nodes))
        heavy = replace(heavy, machines=tuple(replace(m, graph=heavy.graph) for m in heavy.machines))
        problem = replace(heavy, limits=Limits(home_memory_bytes=4_500_000), states_bps=STATES)
        config = configuration_map(problem, name)
        fits = [e for e in problem.exits if len(problem.at_exit(e.output).graph.nodes) <= 4]
        worth = {
            e.output: float(reward(name, e.accuracy or 0.0, home_alone_s(problem.at_exit(e.output)), None))
            for e in fits
        }
        if not fits:
            assert config.alone is None
            continue
        assert config.alone is not None
        assert not config.alone.sends
        assert config.alone.reward == pytest.approx(max(worth.values()), rel=1e-9)
        assert worth[config.alone.exit or ""] == pytest.approx(config.alone.reward, rel=1e-9)
        beside += len(fits) < len(problem.exits)
    assert beside > 20, beside


def home_alone_s(problem: Problem) -> float:
    """Seconds of everything on the machine at home."""
    whole = cut_at(problem.graph, INPUT if problem.home else OUTPUT)
    return price(problem, [whole]).total_s

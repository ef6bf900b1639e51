"""Policies that choose exits: played as they plan, worth what Edgent's reward says, by the code that runs live."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from isthmus.adapt import Fixed, MapChooser, bandwidth_states
from isthmus.errors import BadInput
from isthmus.graph import graph_of
from isthmus.link import Link, Trace
from isthmus.model import load_model
from isthmus.plan import PLANNERS, CostTable, Limits, Problem, candidates_for, problem_for
from isthmus.plan.rewards import reward
from isthmus.plan.strategies import link_at, strategies
from isthmus.plan.types import Exit
from isthmus.profile.regression import profile_for
from isthmus.record import Choice, Seconds, Step
from isthmus.simulate import RIGHT_SIZING, Away, Requests, World, compare, make_policy, play, served

WITHIN_S = 1.6
ACCURACY = (0.747, 0.755, 0.765, 0.775, 0.782)
RATES = Trace.of([0, 80, 160, 240], [0.3e6, 0.05e6, 0.12e6, 0.04e6], duration_s=320)
"""The device alone is in time up to the first exit, the server up to the last while more than 65 kbit/s are there."""


@pytest.fixture(scope="module")
def problem() -> Problem:
    """The published set-up: B-AlexNet with five exits on a Raspberry Pi 3 and a desktop machine."""
    model = load_model("zoo:b_alexnet", weights=False)
    device, server = (profile_for(name, model, [1], taken="") for name in ("edgent2018_device", "edgent2018_server"))
    bare = problem_for(graph_of(model), device, server, Link(1e6, 1e6, 0.01), limits=Limits(latency_s=WITHIN_S))
    exits = tuple(Exit(f"exit{k}", share) for k, share in enumerate(ACCURACY, 1))
    return replace(bare, exits=exits, states_bps=bandwidth_states([RATES]))


def world_of(problem: Problem) -> World:
    whole = CostTable.of(problem, candidates_for(problem))
    exits = {each.exit.output: {1: each.table} for each in strategies(problem)}
    return World({1: whole}, RATES, exits=exits)


@pytest.fixture(scope="module")
def world(problem: Problem) -> World:
    return world_of(problem)


ASKED = Requests(until_s=320.0, every_s=2.0)


def test_at_constant_rates_a_request_takes_what_its_exit_s_table_says(problem: Problem, world: World) -> None:
    seen = set()
    for rate, within_s in ((0.03e6, 1.6), (0.05e6, 1.9), (0.1e6, 1.6), (4e6, 0.065)):
        there = world.at_rate(rate)
        at = replace(problem, limits=Limits(latency_s=within_s))
        plan = PLANNERS["edgent"](replace(at, links=(link_at(problem.links[0], rate),)))
        played = play(there, make_policy("edgent", there, ASKED, problem=at), Requests(count=3))
        for step in played.steps:
            assert (step.exit, (step.cut,), step.codec) == (plan.exit, plan.cuts, plan.codec)
            assert step.seconds.total == pytest.approx(plan.cost.total_s, rel=1e-9)
        seen.add((plan.exit, plan.cuts))
    assert len(seen) == 4, seen


def test_dynamic_is_in_time_more_often_and_worth_more_than_static(problem: Problem, world: World) -> None:
    _, rows = compare(world, ASKED, list(RIGHT_SIZING), problem=problem)
    found = {row.policy: row for row in rows}
    worth = {name: row.served for name, row in found.items() if row.served is not None}
    assert set(worth) == set(RIGHT_SIZING)
    assert worth["edgent_map"].reward > 1.2 * worth["edgent"].reward
    assert worth["edgent_map"].met > worth["edgent"].met + 0.3
    assert worth["edgent_map_accuracy"].accuracy_first > worth["edgent"].accuracy_first + 0.2
    assert worth["edgent_map"].state_changes is not None
    assert 2 <= worth["edgent_map"].state_changes <= 8
    assert worth["edgent"].state_changes is None
    assert found["edgent"].plays.count("/") == 2
    assert len(found["edgent_each"].shares.exits) > 1


def test_a_policy_for_states_is_the_live_chooser(problem: Problem, world: World) -> None:
    for name in ("edgent_map", "edgent_map_accuracy"):
        assert isinstance(make_policy(name, world, ASKED, problem=problem), MapChooser)


def test_worth_is_the_reward_of_every_request() -> None:
    exits = [Exit("a", 0.5), Exit("b", 0.9)]
    times = [0.05, 0.1, 0.2, 0.30001]
    steps = [
        Step(id=k, t_s=k, ran="device", cut="@output", codec="float32", exit=e, seconds=Seconds(total=t))
        for k, (t, e) in enumerate(zip(times, ("a", None, "b", "a"), strict=True))
    ]
    found = served(steps, exits, 0.3, asked=5)
    each = [math.exp(0.5) + 20, math.exp(0.9) + 10, math.exp(0.9) + 5, 0.0, 0.0]
    assert found.reward == pytest.approx(sum(each) / 5)
    assert found.met == pytest.approx(3 / 5)
    assert found.accuracy == pytest.approx((0.5 + 0.9 + 0.9 + 0.5) / 4)
    assert found.throughput_per_s == pytest.approx(4 / sum(times))
    assert found.reward_cdf[0] == 0
    assert found.reward_cdf[-1] == pytest.approx(max(each))
    assert list(found.reward_cdf) == sorted(found.reward_cdf)
    careful = [float(reward("accuracy_first", a, t, 0.3)) for a, t in zip((0.5, 0.9, 0.9, 0.5), times, strict=True)]
    assert found.accuracy_first == pytest.approx(sum(careful) / 5)


def test_a_batch_is_as_many_answers_as_it_has_samples() -> None:
    exits = [Exit("a", 0.5), Exit("b", 0.9)]
    steps = [
        Step(id=k, t_s=k, ran="device", cut="@output", codec="float32", exit=e, batch=n, seconds=Seconds(total=0.1))
        for k, (e, n) in enumerate((("b", 1), ("a", 99)))
    ]
    found = served(steps, exits, 1.0)
    assert found.accuracy == pytest.approx((0.9 + 99 * 0.5) / 100)
    assert found.reward == pytest.approx((math.exp(0.9) + 10 + math.exp(0.5) + 990) / 2)
    assert found.accuracy_first == pytest.approx((0.9 + 0.01 / 11 + 0.5 + 0.99 / 991) / 2)


def test_an_outage_at_the_start_and_no_answer_in_time(problem: Problem, world: World) -> None:
    dark = replace(world, up=Trace.of([0, 5], [0, 2e6], duration_s=20), deadline_s=WITHIN_S)
    played = play(dark, make_policy("edgent_map", dark, ASKED, problem=problem), Requests(until_s=20.0, every_s=0.5))
    late = [s for s in played.steps if s.trouble]
    assert late
    assert all(s.exit is not None and s.ran == "device" for s in late)
    planned = make_policy("edgent", dark, ASKED, problem=problem).choose(0.0)
    assert planned.exit == "exit5"  # by the 2 Mbit/s there are when the link first carries something


@pytest.mark.parametrize("name", ["edgent_each", "edgent_map", "edgent_map_accuracy"])
def test_while_the_server_is_away_an_exit_that_fits_answers(problem: Problem, name: str) -> None:
    """Only early exits fit the device's memory, and nothing presses: on a link that works the last one is best."""
    small = replace(problem, limits=Limits(home_memory_bytes=3_000_000))
    there = replace(world_of(small), up=Trace.of([0.0], [1e6]), away=Away(((5.0, 20.0),)), deadline_s=2.0)
    _, (row,) = compare(there, Requests(count=15, every_s=2.0), [name], problem=small)
    assert row.lost <= 1  # the first, by which the server is found to be away
    assert row.shares.ran["device"] > 0.3
    assert row.shares.ran["server"] > 0.3  # and it comes back


def test_what_cannot_be_played(problem: Problem, world: World) -> None:
    with pytest.raises(BadInput, match=r"edgent_map chooses among exits: say how good they are"):
        make_policy("edgent_map", world, ASKED)
    bare = replace(world, exits={})
    policy = make_policy("edgent_map", bare, ASKED, problem=problem)
    with pytest.raises(BadInput, match=r"ends at exit1, which has no price here; the exits with one: none"):
        play(bare, policy, ASKED)
    with pytest.raises(BadInput, match=r"at least one request"):
        served([], problem.exits, 1.0)
    unknown = Step(id=0, t_s=0, ran="device", cut="@output", codec="float32", exit="x", seconds=Seconds(total=0.1))
    with pytest.raises(BadInput, match=r"nobody knows how accurate exit x is"):
        served([unknown], problem.exits, 1.0)


def test_rewards_are_spread_over_the_shares(problem: Problem, world: World) -> None:
    _, rows = compare(world, ASKED, ["edgent_map"], problem=problem)
    one = rows[0].served
    assert one is not None
    assert len(one.reward_cdf) == 21
    assert np.mean(one.reward_cdf) == pytest.approx(one.reward, rel=0.1)


def test_with_the_server_first_the_device_works_after_the_answer(problem: Problem) -> None:
    turned = problem.turned()
    slow = replace(turned, machines=(replace(turned.machines[0], factor=40.0), turned.machines[1]))
    world, split = world_of(slow), 0
    for each in strategies(slow):
        link = link_at(slow.links[0], 8e6)
        seconds = each.table.latency_s(link.up_bps, link.down_bps, link.rtt_s)
        for at, (cut, codec) in enumerate(zip(each.table.asked, each.table.codecs, strict=True)):
            wish = Choice(cut=cut, codec=codec, first="server", exit=each.exit.output)
            step = play(world.at_rate(8e6), Fixed(wish), Requests(count=1)).steps[0]
            assert step.seconds.total == pytest.approx(float(seconds[at]), rel=1e-9)
            if step.ran == "split":
                split += 1
                assert step.first == "server"
                assert step.evidence.device_s == pytest.approx(float(each.table.device_s[at]), abs=1e-12)
                assert step.seconds.head == pytest.approx(float(each.table.server_s[at]), abs=1e-12)
    assert split > 50
    late = replace(world, deadline_s=0.001)
    step = play(late, Fixed(wish.model_copy(update={"cut": "@input"})), Requests(count=1)).steps[0]
    whole = float(each.table.device_s.max())
    assert step.seconds.total == pytest.approx(0.001 + whole)  # nothing was done before, so all is done then

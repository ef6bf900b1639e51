"""Edgent, dynamic (Li et al., IEEE TWC 2020, §III-D, Algorithm 2): the best strategy for every bandwidth state, ahead.

A strategy is an exit and a partition (here: and a codec). For each state every strategy is priced and rewarded; the map
keeps the best. At run time `isthmus.adapt.MapChooser` finds the state of the live bandwidth and looks its strategy up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from isthmus.errors import BadInput
from isthmus.graph import cut_at
from isthmus.plan.choose import choose
from isthmus.plan.map_types import ConfigMap, ConfigRow, RewardName
from isthmus.plan.remarks import unmet, unseen
from isthmus.plan.rewards import REWARD_OF
from isthmus.plan.strategies import Strategies, link_at, staying, strategies
from isthmus.plan.types import Plan, Problem

_LOWEST_BPS, _HIGHEST_BPS, _PER_OCTAVE = 50e3, 100e6, 2
"""Where nobody tells the states: the paper's least rate to that of a good Wi-Fi, a half more each step."""


def edgent_map(problem: Problem) -> Plan:
    """The strategy for the problem's own link, with the map for all states, by the paper's reward. Raises NoPlan where
    no strategy keeps memory and privacy, or none meets the requirement at the problem's own rate."""
    return _planned(problem, "edgent_map")


def edgent_map_accuracy(problem: Problem) -> Plan:
    """The same by the reward that puts accuracy first. Raises NoPlan as `edgent_map` does."""
    return _planned(problem, "edgent_map_accuracy")


def configuration_map(problem: Problem, name: RewardName = "edgent") -> ConfigMap:
    """Algorithm 2 over `problem.states_bps` (a range of its own where there are none). The downlink keeps its ratio to
    the uplink.

    As published a strategy is rewarded for what it does at the state's own rate; with `problem.states_spread` for what
    it is expected to do at the rates that a state turns out to be, in time if `limits.sure` of the requests are at that
    rate, so that one which is only just in time is not taken.
    Of strategies with the same reward the later exit and the later cut count (`≤` in the algorithm); where nothing
    meets the requirement the fastest is kept and marked.

    Raises NoPlan where no strategy keeps memory and privacy, BadInput for more than two machines and for exits of
    unknown accuracy.
    """
    if any(e.accuracy is None for e in problem.exits):
        raise BadInput(
            "a configuration map weighs accuracies: give the exits' table (isthmus profile --exits makes it)"
        )
    found = strategies(problem)
    states = problem.states_bps or _usual_states()
    if any(not 0 < s < float("inf") for s in (*states, *problem.states_spread)):
        raise BadInput("bandwidth states are rates above zero, in bit/s, and their spread is of such multiples")
    rising, alone = sorted(set(states)), staying(found)
    return ConfigMap(
        model=problem.graph.name,
        fingerprint=problem.machines[problem.home].profile.fingerprint,
        batch=problem.graph.batch,
        reward=name,
        within_s=problem.limits.latency_s,
        spread=problem.states_spread,
        rows=tuple(_best(problem, found, state, name) for state in rising),
        alone=_best(problem, alone, rising[0], name) if alone else None,
    )


def _best(problem: Problem, found: Sequence[Strategies], state_bps: float, name: RewardName) -> ConfigRow:
    within_s = problem.limits.latency_s
    link = link_at(problem.links[0], state_bps)
    best: ConfigRow | None = None
    for each in found:
        latency = each.table.latency_s(link.up_bps, link.down_bps, link.rtt_s)
        worth = each.worth(link, problem.states_spread, within_s, name)
        # all late: the fastest; else the greatest reward, the last of equals
        at = int(len(worth) - 1 - np.argmax(worth[::-1])) if worth.any() else int(np.argmin(latency))
        row = each.row(at, link, within_s, float(worth[at]))
        if best is None or _better(row, best):
            best = row
    assert best is not None
    return best


def _better(row: ConfigRow, than: ConfigRow) -> bool:
    if row.reward or than.reward:
        return row.reward >= than.reward
    return row.latency_s < than.latency_s


def _usual_states() -> tuple[float, ...]:
    steps = int(np.ceil(_PER_OCTAVE * np.log2(_HIGHEST_BPS / _LOWEST_BPS)))
    return tuple(np.geomspace(_LOWEST_BPS, _HIGHEST_BPS, steps + 1).tolist())


def _planned(problem: Problem, planner: str) -> Plan:
    """The map, and of it the strategy for the problem's own rate as a plan."""
    name = REWARD_OF[planner]
    config = configuration_map(problem, name)
    own = configuration_map(replace(problem, states_bps=(problem.links[0].up_bps,)), name).rows[0]
    typical = replace(problem, limits=replace(problem.limits, sure=None))  # as the map's rows are judged
    at = typical.at_exit(own.exit) if own.exit else typical
    plan = choose(at, planner, [((cut_at(at.graph, own.cut),), own.codec)])
    exits = ", ".join(dict.fromkeys(row.exit for row in config.rows if row.exit))
    note = f"the map of {len(config.rows)} states uses {exits}" if exits else f"a map of {len(config.rows)} states"
    remarks = [note, unseen(config, problem.links[0].up_bps), unmet(config)]
    why = "; ".join([plan.why, *filter(None, remarks)])
    return plan.model_copy(update={"exit": own.exit, "config": config, "why": why})

"""Edgent's configurators as policies: exit and cut of every request, by the code that decides for the live client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from isthmus.adapt import EachRequest, Fixed, Habits, MapChooser, TableChooser
from isthmus.adapt.bandwidth import LOWEST_BPS
from isthmus.errors import BadInput
from isthmus.plan.cost import CostTable, asked_cut
from isthmus.plan.planners.edgent import in_time
from isthmus.plan.planners.edgent_map import configuration_map
from isthmus.plan.rewards import REWARD_OF
from isthmus.plan.strategies import link_at, strategies
from isthmus.plan.types import Problem
from isthmus.record import Choice, Chooser
from isthmus.simulate.world import World

RIGHT_SIZING = {
    "edgent": "exit and cut planned once, for the rate at the start (the static configurator)",
    "edgent_each": "the same search again before every request, for the rate measured last",
    "edgent_map": "the configuration map, followed as the live client does, by the paper's reward",
    "edgent_map_accuracy": "the same by the reward that puts accuracy first",
}
"""Policies that choose among exits. All know the rate at the start; what tells it later is the same for all, the live
client's samples and probes."""


def right_sizing(
    name: str,
    world: World,
    problem: Problem | None,
    *,
    habits: Habits | None = None,
    believed: Mapping[int, CostTable] | None = None,
) -> Chooser:
    """The policy of this name for a problem with exits, a requirement and bandwidth states.

    Raises BadInput without such a problem or for exits of unknown accuracy, NoPlan where no exit keeps its limits.
    """
    if problem is None:
        raise BadInput(f"{name} chooses among exits: say how good they are (--exits) and when an answer is late")
    within_s, at_start = problem.limits.latency_s, first_rate_bps(world)
    tables = world.tables if believed is None else believed
    start = {batch: replace(table, link=link_at(table.link, at_start)) for batch, table in tables.items()}
    watch = TableChooser(start, habits or Habits(deadline_s=within_s))
    if name in REWARD_OF:
        return MapChooser(configuration_map(problem, REWARD_OF[name]), watch)
    there = replace(problem, links=(link_at(problem.links[0], at_start),))
    if name == "edgent_each":
        return EachRequest.of(there, watch)
    ahead = strategies(there)
    row, first = in_time(ahead, there.links[0], within_s), ahead[0].table.first
    choice = Choice(cut=asked_cut(row.cut, first), codec=row.codec, first=first, exit=row.exit)
    return Fixed(choice.model_copy(update={"why": "planned for the rate at the start"}))


def first_rate_bps(world: World) -> float:
    """What the uplink carries at first; after an outage at the start, what it carries then. A link that never carries
    anything: what the tables believe."""
    rates = world.up.rates_bps
    carried = rates[rates >= LOWEST_BPS]
    return float(carried[0]) if carried.size else world.sizes.least.table.link.up_bps

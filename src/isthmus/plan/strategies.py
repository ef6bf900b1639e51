"""Exits × partitions as tables that are re-priced for any rate at once: what Edgent's planners choose from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import NoPlan
from isthmus.link.types import Link
from isthmus.plan.build import candidates_for
from isthmus.plan.choose import within_limits
from isthmus.plan.cost import CostTable
from isthmus.plan.map_types import ConfigRow, RewardName
from isthmus.plan.rewards import reward
from isthmus.plan.types import Exit, Problem


@dataclass(frozen=True)
class Strategies:
    """One exit, and every partition of it that the limits allow: what it typically takes, and what it surely takes
    (`Problem.surely`; the same where no spread is known), on links that are this many times as slow then."""

    exit: Exit
    table: CostTable
    surely: CostTable
    slow: float = 1.0
    batch: int = 1

    def worth(
        self, link: Link, spread: Sequence[float], within_s: float | None, name: RewardName
    ) -> NDArray[np.float64]:
        """The reward of every partition on exactly this link, as published. Where rates are known to turn out to be
        these multiples of what is believed, each as likely as the others, the reward expected; in time is then what
        surely is at that rate."""
        accuracy = self.exit.accuracy or 0.0
        if not spread:
            return reward(name, accuracy, self.typical_s(link), within_s, self.batch)
        total = np.zeros(len(self.table.cuts))
        for factor in spread:
            there = link_at(link, factor * link.up_bps)
            in_time = self.surely_s(there) <= (np.inf if within_s is None else within_s)
            total += np.where(in_time, reward(name, accuracy, self.typical_s(there), None, self.batch), 0.0)
        return total / len(spread)

    def typical_s(self, link: Link) -> NDArray[np.float64]:
        """Seconds of every partition on this link."""
        return _on(self.table, link)

    def surely_s(self, link: Link) -> NDArray[np.float64]:
        """Seconds that the share of requests asked for keeps on this link, for every partition."""
        return _on(self.surely, link.slowed(self.slow))

    def row(self, at: int, link: Link, within_s: float | None, worth: float | None = None) -> ConfigRow:
        """Partition number `at` on this link, as a row of a configuration map. Its reward: `worth`, or the paper's."""
        table = self.table
        sends = bool(table.up_bytes[at] > 0)
        latency_s = float(self.typical_s(link)[at])
        spare_s = math.inf if within_s is None else within_s - self.home_s
        if worth is None:
            worth = float(reward("edgent", self.exit.accuracy or 0.0, latency_s, within_s, self.batch))
        return ConfigRow(
            state_bps=link.up_bps,
            exit=self.exit.output or None,
            accuracy=self.exit.accuracy,
            cut=table.cuts[at],
            codec=table.codecs[at],
            latency_s=latency_s,
            reward=worth,
            meets=within_s is None or latency_s <= within_s,
            sends=sends,
            give_up_s=spare_s if sends and latency_s < spare_s < math.inf else None,
        )

    @cached_property
    def home_s(self) -> float:
        """Seconds in which home surely computes all of this exit by itself; infinite where it may not."""
        return float(self.surely.device_s[self.surely.stays].min(initial=math.inf))


def strategies(problem: Problem) -> tuple[Strategies, ...]:
    """From the first exit to the last; a problem without exits is one exit without a name.

    Raises NoPlan where no exit has a partition that keeps the limits on memory and privacy, BadInput for more than two
    machines.
    """
    found: list[Strategies] = []
    for place in problem.exits or (Exit(""),):
        at = problem.at_exit(place.output) if place.output else problem
        options = [(p.cuts, p.codec) for p in within_limits(at, candidates_for(at))]
        if options:
            table = CostTable.of(at, options)
            surely = table if at.surely is at else CostTable.of(at.surely, options)
            slow = table.link.up_bps / surely.link.up_bps
            found.append(Strategies(place, table, surely, slow, at.graph.batch))
    if not found:
        raise NoPlan("no exit has a partition that keeps the limits on memory and privacy; allow more of either")
    return tuple(found)


def staying(found: Sequence[Strategies]) -> tuple[Strategies, ...]:
    """Of these strategies those that send nothing, which is all there is while nobody answers; no exit that always
    sends."""
    here = [each for each in found if each.table.stays.any()]
    return tuple(replace(s, table=s.table.only(s.table.stays), surely=s.surely.only(s.surely.stays)) for s in here)


def _on(table: CostTable, link: Link) -> NDArray[np.float64]:
    """What every partition takes on this link."""
    return table.latency_s(link.up_bps, link.down_bps, link.rtt_s)


def link_at(link: Link, up_bps: float) -> Link:
    """The link at another uplink rate; the downlink keeps its ratio to the uplink."""
    return replace(link, up_bps=up_bps, down_bps=link.down_bps / link.up_bps * up_bps)

"""Exits × partitions as tables that are re-priced for any rate at once: what Edgent's planners choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import NoPlan
from isthmus.link.types import Link
from isthmus.plan.build import candidates_for
from isthmus.plan.choose import within_limits
from isthmus.plan.cost import CostTable
from isthmus.plan.rewards import reward
from isthmus.plan.types import ConfigRow, Exit, Problem, RewardName


@dataclass(frozen=True)
class Strategies:
    """One exit, and every partition of it that the limits allow."""

    exit: Exit
    table: CostTable

    def worth(
        self, link: Link, spread: Sequence[float], within_s: float | None, name: RewardName
    ) -> NDArray[np.float64]:
        """The reward of every partition that is expected on this link, where its rates turn out to be these multiples
        of what is believed, each as likely as the others; on exactly this link where there are none."""
        accuracy, total = self.exit.accuracy or 0.0, np.zeros(len(self.table.cuts))
        for factor in spread or (1.0,):
            there = link_at(link, factor * link.up_bps)
            latency_s = self.table.latency_s(there.up_bps, there.down_bps, there.rtt_s)
            total += reward(name, accuracy, latency_s, within_s)
        return total / len(spread or (1.0,))

    def row(self, at: int, link: Link, within_s: float | None, worth: float | None = None) -> ConfigRow:
        """Partition number `at` on this link, as a row of a configuration map. Its reward: `worth`, or the paper's."""
        table = self.table
        latency_s = float(table.latency_s(link.up_bps, link.down_bps, link.rtt_s)[at])
        if worth is None:
            worth = float(reward("edgent", self.exit.accuracy or 0.0, latency_s, within_s))
        return ConfigRow(
            state_bps=link.up_bps,
            exit=self.exit.output or None,
            accuracy=self.exit.accuracy,
            cut=table.cuts[at],
            codec=table.codecs[at],
            latency_s=latency_s,
            reward=worth,
            meets=within_s is None or latency_s <= within_s,
            sends=bool(table.up_bytes[at] > 0),
        )


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
            found.append(Strategies(place, CostTable.of(at, options)))
    if not found:
        raise NoPlan("no exit has a partition that keeps the limits on memory and privacy; allow more of either")
    return tuple(found)


def link_at(link: Link, up_bps: float) -> Link:
    """The link at another uplink rate; the downlink keeps its ratio to the uplink."""
    return replace(link, up_bps=up_bps, down_bps=link.down_bps / link.up_bps * up_bps)

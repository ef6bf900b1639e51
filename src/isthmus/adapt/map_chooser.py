"""Edgent's runtime optimisers: exit and cut of every request, from what the live link is like.

`MapChooser` is the dynamic configurator (Li et al., *Edgent*, IEEE TWC 2020, §III-D, Algorithm 3): the change point
detector tells the present bandwidth state; a state other than the last one is looked up in the map, else the strategy
stays. The map itself is made ahead (`isthmus.plan.planners.edgent_map.configuration_map`). `EachRequest` is the static
configurator where the network is not static: Algorithm 1 again before every request, for the rate measured last.

Here besides: the link is watched and probed as the table chooser does it; a request without an answer is computed here
as soon as that only just keeps the deadline, or, where it cannot, as soon as the answer is late; while nobody answers
all go to the exit that is best without a link; while one slow sample leaves it open whether the link has fallen, the
strategy is that of the slower state, which then is no change of state yet.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

import numpy as np

from isthmus.adapt.chooser import TableChooser
from isthmus.adapt.lateness import late_after_s
from isthmus.adapt.transfers import SLOW
from isthmus.graph.types import OUTPUT
from isthmus.plan.cost import asked_cut
from isthmus.plan.map_types import ConfigMap, ConfigRow
from isthmus.plan.planners.edgent import in_time
from isthmus.plan.remarks import unseen
from isthmus.plan.strategies import link_at, staying, strategies
from isthmus.plan.types import Problem
from isthmus.record.types import Choice, Step
from isthmus.units import show_rate

HOLD = 0.05
"""A state is left once the belief has crossed its border by this much, as a share of the rate: the mean of a steady
link moves by a hundredth or two, and a rate may lie exactly on a border."""


class _Strategist(ABC):
    """What both have in common: a link that is watched, a strategy, and the device where the server is away.

    `alone`: the strategy while nobody answers, None where none is known. One batch size; requests of others follow it
    too. Times are seconds on any one rising clock.
    """

    def __init__(self, watch: TableChooser, alone: ConfigRow | None) -> None:
        self._watch, self._alone = watch, alone
        self.races = True
        """whether the device begins while the server's answer is out; no such thing is in the papers"""

    def choose(self, now_s: float, batch: int = 1) -> Choice:
        """Where the request that starts now should run, and at which exit it should end."""
        self._watch.choose(now_s, batch)
        row, first = self._strategy(), self._watch.first
        cut = asked_cut(row.cut, first)
        if self._watch.server_away and cut != OUTPUT:
            exit_ = (self._alone or row).exit
            return Choice(cut=OUTPUT, exit=exit_, why="the server does not answer")
        late = "" if row.meets else "; nothing is in time there"
        return Choice(
            cut=cut,
            codec=row.codec,
            first=first,
            exit=row.exit,
            predicted_s=row.latency_s,
            give_up_s=self._give_up_s(row),
            why=f"{self._source} {show_rate(row.state_bps)}{late}{self._remark()}",
        )

    def _give_up_s(self, row: ConfigRow) -> float | None:
        """When the device begins too. Where it cannot keep the requirement, when the answer is late: on a link that has
        fallen the answer would be waited for until the client's own deadline. What the device would have to do is
        taken as the whole network, which is more than an exit needs: the map does not tell."""
        alone_s = self._watch.alone_s
        if not self.races or not row.sends or alone_s is None:
            return None
        if row.give_up_s is not None:
            return row.give_up_s
        return float(late_after_s(np.asarray(row.latency_s), np.asarray(alone_s)))

    def observe(self, step: Step) -> None:
        """Learn from one request or probe. The watch prices the whole network: what an exit took tells it nothing."""
        self._watch.observe(step if step.exit is None else step.model_copy(update={"cut": ""}))

    def probe_bytes(self, now_s: float) -> int:
        """How many bytes a probe sent now should carry; 0 when none is wanted."""
        return self._watch.probe_bytes(now_s)

    @property
    def beliefs(self) -> tuple[float | None, float | None]:
        """(uplink bit/s, server load factor) as believed now."""
        return self._watch.beliefs

    _source = ""

    def _remark(self) -> str:
        return ""

    @abstractmethod
    def _strategy(self) -> ConfigRow:
        """The strategy for the next request."""


class MapChooser(_Strategist):
    """A `Chooser` that goes by a map; `watch` follows the link (its candidates only tell it what a probe is worth)."""

    _source = "the map's for"

    def __init__(self, config: ConfigMap, watch: TableChooser) -> None:
        super().__init__(watch, config.alone)
        self.config = config
        self._state: int | None = None
        self._last_bps = math.inf
        self._told = False
        self.state_changes = 0
        """how often the link has been found in another state than before"""

    def _strategy(self) -> ConfigRow:
        up_bps, _ = self._watch.beliefs
        state = self.config.state_of(up_bps) if up_bps is not None else 0
        if self._state is None:
            self._state = state
        elif state != self._state and up_bps is not None and self._left(up_bps):
            self._state = state
            self.state_changes += 1
        if self._watch.in_doubt and up_bps is not None and self._last_bps < up_bps:
            return self.config.rows[min(self._state, self.config.state_of(self._last_bps))]
        return self.config.rows[self._state]

    def observe(self, step: Step) -> None:
        """Learn from one request or probe."""
        told = step.evidence.up_bps
        if step.kind == "request" and step.ran != "device":
            self._told = told is not None
        if told is not None and 0 < told < math.inf:
            self._last_bps = told
        super().observe(step)

    def probe_bytes(self, now_s: float) -> int:
        """How many bytes a probe sent now should carry; 0 when none is wanted. Requests that use the link tell when it
        gets slower, short ones when it gets much slower (`SLOW`); of the rest only a probe tells in time, and that is
        news only where another strategy waits."""
        up_bps, _ = self._watch.beliefs
        if self._state is not None and up_bps is not None and not self._watch.server_away and not self._watch.in_doubt:
            slower = self._state if self._told else self.config.state_of(up_bps / SLOW)
            rows = self.config.rows[min(self._state, slower) :]
            if rows[-1].sends and len({(row.exit, row.cut, row.codec) for row in rows}) == 1:
                return 0
        return super().probe_bytes(now_s)

    def _remark(self) -> str:
        up_bps, _ = self._watch.beliefs
        far = "" if up_bps is None else unseen(self.config, up_bps)
        return f"; {far}" if far else ""

    def _left(self, up_bps: float) -> bool:
        """Is this rate out of the present state, and not just on its border?"""
        assert self._state is not None
        inwards = 1 / (1 + HOLD) if up_bps > self.config.rows[self._state].state_bps else 1 + HOLD
        return self.config.state_of(up_bps * inwards) != self._state


class EachRequest(_Strategist):
    """A `Chooser` that plans anew for the rate of the last sample; `plan` gives the strategy for a rate, as
    `isthmus.plan.planners.edgent.in_time` does. What is believed of the link before is `start_bps`; `alone` is the
    strategy while nobody answers, where one is known.

    >>> import numpy as np
    >>> from isthmus.link import Link
    >>> from isthmus.plan import CostTable
    >>> one = np.array([0.01])
    >>> watch = TableChooser(CostTable(("@output",), ("float32",), one, 0 * one, 0 * one, 0 * one, Link(1e6, 1e6)))
    >>> def plan(bps):
    ...     return ConfigRow(
    ...         state_bps=bps, exit="exit2" if bps > 4e6 else "exit1", accuracy=0.9, cut="@output", codec="float32",
    ...         latency_s=0.01, reward=1.0, meets=True, sends=False,
    ...     )
    >>> EachRequest(plan, watch, 5e6).choose(0.0).exit
    'exit2'
    """

    _source = "planned for"

    def __init__(
        self, plan: Callable[[float], ConfigRow], watch: TableChooser, start_bps: float, alone: ConfigRow | None = None
    ) -> None:
        super().__init__(watch, alone)
        self._plan, self._last_bps = plan, start_bps

    @classmethod
    def of(cls, problem: Problem, watch: TableChooser) -> Self:
        """For a problem with exits, its deadline and its link, which is what is believed before the first sample.

        Raises NoPlan where no exit keeps the limits on memory and privacy, BadInput for more than two machines.
        """
        ahead, link, within_s = strategies(problem), problem.links[0], problem.limits.latency_s
        here = staying(ahead)

        def plan(up_bps: float) -> ConfigRow:
            return in_time(ahead, link_at(link, up_bps), within_s)

        return cls(plan, watch, link.up_bps, in_time(here, link, within_s) if here else None)

    def observe(self, step: Step) -> None:
        """Learn from one request or probe: its rate is what the next request is planned for. Where it was too short to
        show one but took so long that the watch believes less of the link, what the watch believes."""
        before, told = self._watch.beliefs[0], step.evidence.up_bps
        super().observe(step)
        after = self._watch.beliefs[0]
        if told is not None and 0 < told < math.inf:
            self._last_bps = told
        elif after is not None and after != before:
            self._last_bps = after

    def _strategy(self) -> ConfigRow:
        return self._plan(self._last_bps)

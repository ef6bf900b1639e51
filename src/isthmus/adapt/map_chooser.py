"""Edgent's runtime optimiser: the state of the live link, and the strategy that the configuration map holds for it.

Li et al., *Edgent*, IEEE TWC 2020, §III-D, Algorithm 3: the change point detector tells the present bandwidth state; a
state other than the last one is looked up in the map, else the strategy stays. The map itself is made ahead
(`isthmus.plan.planners.edgent_map.configuration_map`). Here besides: the link is watched, probed and given up as the
table chooser does it.
"""

from __future__ import annotations

from isthmus.adapt.chooser import TableChooser
from isthmus.graph.types import OUTPUT
from isthmus.plan.types import ConfigMap, ConfigRow
from isthmus.record.types import Choice, Step
from isthmus.units import show_rate


class MapChooser:
    """A `Chooser` that goes by a map; `watch` follows the link (its candidates only tell it what a probe is worth).

    The map is for one batch size; requests of others follow it too. Times are seconds on any one rising clock.
    """

    def __init__(self, config: ConfigMap, watch: TableChooser) -> None:
        self._config, self._watch = config, watch
        self._state: int | None = None
        self._row: ConfigRow = config.rows[0]

    def choose(self, now_s: float, batch: int = 1) -> Choice:
        """Where the request that starts now should run, and at which exit it should end."""
        self._watch.choose(now_s, batch)
        up_bps, _ = self._watch.beliefs
        state = self._config.state_of(up_bps) if up_bps is not None else 0
        if state != self._state:
            self._state, self._row = state, self._config.rows[state]
        row = self._row
        if self._watch.server_away and row.cut != OUTPUT:
            return Choice(cut=OUTPUT, exit=row.exit, why="the server does not answer")
        late = "" if row.meets else "; nothing is in time in this state"
        return Choice(
            cut=row.cut,
            codec=row.codec,
            exit=row.exit,
            predicted_s=row.latency_s,
            why=f"the map's for {show_rate(row.state_bps)}{late}",
        )

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

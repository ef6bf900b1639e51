"""The best strategy for every bandwidth state, as a plan keeps it; made by `isthmus.plan.planners.edgent_map`."""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import cached_property
from itertools import pairwise
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, model_validator

from isthmus.errors import BadInput

RewardName = Literal["edgent", "accuracy_first"]
"""How a configuration map weighs accuracy against speed; see `isthmus.plan.rewards`."""


class ConfigRow(BaseModel):
    """The best strategy for one bandwidth state: exit, cut and codec, what it takes there, and its reward (expected
    over the map's spread of rates). `meets`: the latency requirement holds at the state's own rate; where it cannot,
    this is the fastest strategy there is. `sends`: something leaves home. `give_up_s`: so long after it began, home can
    still compute a request without an answer to this exit and keep the requirement; None: it cannot, or not later than
    the answer is expected."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state_bps: PositiveFloat
    exit: str | None
    accuracy: float | None
    cut: str
    codec: str
    latency_s: NonNegativeFloat
    reward: NonNegativeFloat
    meets: bool
    sends: bool
    give_up_s: PositiveFloat | None = None


class ConfigMap(BaseModel):
    """Edgent's configuration map: bandwidth state → strategy, states rising. Made by `configuration_map`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["isthmus-config-map"] = "isthmus-config-map"
    version: Literal[1] = 1
    model: str
    fingerprint: str = ""
    batch: int = Field(ge=1)
    reward: RewardName
    within_s: PositiveFloat | None
    spread: tuple[PositiveFloat, ...] = ()
    """what the rate turns out to be, as multiples of a state, equally likely; none: exactly the state"""
    rows: tuple[ConfigRow, ...] = Field(min_length=1)
    alone: ConfigRow | None = None
    """the best strategy that sends nothing, for when nobody answers; None: there is none"""

    @model_validator(mode="after")
    def _states_rise(self) -> Self:
        states = [row.state_bps for row in self.rows]
        if any(not a < b for a, b in pairwise(states)):
            raise ValueError("the bandwidth states of a configuration map must rise")
        return self

    def state_of(self, up_bps: float) -> int:
        """Index of the state nearest to a rate, by ratio; a rate beyond the map has the state at its end.

        Raises BadInput for a rate that is not above zero.
        """
        if not up_bps > 0:
            raise BadInput(f"a bandwidth state needs a rate above zero, not {up_bps}")
        return bisect_left(self._borders, up_bps)

    def at(self, up_bps: float) -> ConfigRow:
        """The strategy for a rate (bit/s). Raises BadInput as `state_of` does."""
        return self.rows[self.state_of(up_bps)]

    @cached_property
    def _borders(self) -> tuple[float, ...]:
        """Half-way, by ratio, between neighbouring states."""
        states = [row.state_bps for row in self.rows]
        return tuple(math.sqrt(a * b) for a, b in pairwise(states))

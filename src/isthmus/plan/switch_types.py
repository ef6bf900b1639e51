"""The best choice for every uplink rate, as a plan keeps it; made by `isthmus.plan.switch`."""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat

from isthmus.errors import BadInput, NoPlan


class SwitchRow(BaseModel):
    """The best choice for uplink rates above `from_bps` up to and with `to_bps` (None: however fast), bit/s.

    Its latency is `base_s + 8 · wire_bytes / rate`: what does not hang on the rate (work, coding, round trip, fixed
    parts), and the bytes that do, those of the way back weighed by how much faster the downlink is. `from_s` and `to_s`
    are the latency at the two ends; `from_s` is None where the range begins at zero and bytes have to travel.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    from_bps: NonNegativeFloat
    to_bps: PositiveFloat | None
    cut: str
    codec: str
    base_s: NonNegativeFloat
    wire_bytes: NonNegativeFloat
    from_s: NonNegativeFloat | None
    to_s: NonNegativeFloat

    def latency_s(self, up_bps: float) -> float:
        """Seconds of one request at this uplink rate; infinity where bytes have to travel at a rate of zero."""
        if not self.wire_bytes:
            return self.base_s
        return self.base_s + 8 * self.wire_bytes / up_bps if up_bps else float("inf")


class SwitchTable(BaseModel):
    """The best choice for every uplink rate, at one batch size and one load of both machines; rows from the slowest
    rate to the fastest, without gaps. The downlink is `down_share` times the uplink. Made by `switch_table`.

    Of choices that cost the same, the one that asks less of the link counts as best, then the one that stands first in
    the list they were taken from; so a rate that is exactly a boundary belongs to the slower range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch: int = Field(ge=1)
    load: float = Field(gt=0, allow_inf_nan=False)
    device_load: float = Field(gt=0, allow_inf_nan=False)
    down_share: float = Field(gt=0, allow_inf_nan=False)
    rtt_s: NonNegativeFloat
    rows: tuple[SwitchRow, ...] = Field(min_length=1)

    def at(self, up_bps: float) -> SwitchRow:
        """The best choice at this uplink rate (bit/s; zero and infinity are rates too).

        Raises BadInput for a rate below zero or no number, NoPlan at zero where every choice sends something.
        """
        if not up_bps >= 0:
            raise BadInput(f"an uplink rate is a number of bit/s, zero or more, not {up_bps}")
        found = self.rows[bisect_left(self._ends, up_bps)]
        if not up_bps and found.wire_bytes:
            raise NoPlan(
                "nothing gets through at a rate of zero, and no choice in the table runs all on the device; "
                f"the nearest, {found.cut} as {found.codec}, sends {found.wire_bytes:.0f} bytes: allow device only"
            )
        return found

    @cached_property
    def _ends(self) -> tuple[float, ...]:
        """Where the rows but the last end."""
        return tuple(row.to_bps for row in self.rows if row.to_bps is not None)

"""One hop between two machines, as the cost function sees it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from isthmus.errors import BadInput
from isthmus.units import MOST_SLOWER

Side = Literal["device", "server"]
"""The two ends of it, where there are two machines."""


@dataclass(frozen=True)
class Link:
    """Rates in bits per second of payload (goodput), round trip and fixed cost per request in seconds.

    `up` is away from where the input is born, `down` towards it. Nothing else in isthmus turns bytes into bits.
    `late`: one exchange in ten takes at least this share longer than the rest says (0.2: a fifth).
    """

    up_bps: float
    down_bps: float
    rtt_s: float = 0.0
    fixed_s: float = 0.0
    late: float = 0.0

    def __post_init__(self) -> None:
        for name in ("up_bps", "down_bps"):
            value = getattr(self, name)
            if not value > 0 or math.isnan(value):
                raise BadInput(f"a link needs {name} above zero, not {value}")
        for name in ("rtt_s", "fixed_s", "late"):
            value = getattr(self, name)
            if not (0 <= value < math.inf):
                raise BadInput(f"a link needs {name} finite and at least zero, not {value}")
        if self.late > MOST_SLOWER:
            raise BadInput(f"an exchange may be late by up to {MOST_SLOWER:g} times its length, not {self.late:g}")

    def up_s(self, payload_bytes: float) -> float:
        """Seconds until the last byte has arrived at the far side: half a round trip and the bytes at the up rate."""
        return self.rtt_s / 2 + payload_bytes * 8 / self.up_bps

    def down_s(self, payload_bytes: float) -> float:
        """The same, back."""
        return self.rtt_s / 2 + payload_bytes * 8 / self.down_bps

    @cached_property
    def busy(self) -> Link:
        """The same link, its seconds only those in which bytes occupy it: no round trip, nothing fixed."""
        return Link(self.up_bps, self.down_bps)

    def slowed(self, factor: float) -> Link:
        """The same link where everything takes `factor` times as long. Raises BadInput for a factor of zero or less."""
        if not 0 < factor < math.inf:
            raise BadInput(f"a link is slowed by a factor above zero, not {factor}")
        return Link(self.up_bps / factor, self.down_bps / factor, self.rtt_s * factor, self.fixed_s * factor, self.late)

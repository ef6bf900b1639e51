"""Machines known by their figures and not by a clock: arrays of multipliers, and devices of a peak and a bandwidth."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from isthmus.units import LONGEST_S

MOST_A_SECOND = 1e21
"""Bytes, operations or cycles: far beyond the largest machines there are."""
MOST_SIDE = 1 << 20
"""Multipliers along one side of an array."""
MOST_WORD_BITS = 1 << 10
_Rate = Annotated[float, Field(ge=1, le=MOST_A_SECOND)]
_Side = Annotated[int, Field(ge=1, le=MOST_SIDE)]


class _Machine(BaseModel):
    """What every entry says. `bits`: the width of numbers where nobody asks for another; `fuses`: activations and
    additions are done on the way out of the layer before them; `source`: where the figures come from; `estimated`:
    which of them are guesses."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    bandwidth_bytes_per_s: _Rate
    bits: int = Field(ge=1, le=64)
    fuses: bool = True
    source: str = Field(min_length=1)
    estimated: str = ""


class Systolic(_Machine):
    """An array of rows × columns multipliers that pass operands on to their neighbours. One multiplication of numbers
    up to `word_bits` wide takes a cycle, wider ones as many as they have words."""

    kind: Literal["systolic"]
    rows: _Side
    columns: _Side
    clock_hz: _Rate
    dataflow: Literal["os", "ws", "is"]
    bits: int = Field(default=8, ge=1, le=64)
    word_bits: int = Field(default=8, ge=1, le=MOST_WORD_BITS)


class Roofline(_Machine):
    """A device whose layers take as long as their arithmetic at `efficiency` × peak, as their data at the bandwidth, or
    `launch_s`, whichever is more: a layer is started while the one before it runs, and that takes so long however small
    the batch, which is why small batches use such a device badly."""

    kind: Literal["roofline"]
    peak_flops: _Rate
    efficiency: float = Field(default=1.0, gt=0, le=1)
    launch_s: float = Field(default=0.0, ge=0, le=LONGEST_S)
    bits: int = Field(default=32, ge=1, le=64)


Device = Systolic | Roofline

"""One split with its widths as it stands in a list of solutions: what it takes, and what it loses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt

from isthmus.quant.types import BitPlan

MOST_ROWS = 24
"""Solutions in a table."""
MemoryOf: TypeAlias = Literal["accelerator", "runtime"]
"""Which memory a limit is meant for: that of a machine made for few bits, which keeps every number at its own width, or
what a process holds that runs the part in onnxruntime (`isthmus.plan.held`)."""


class Dropped(BaseModel):
    """A place that is no candidate for a split. `bytes`: what it sends, or what it needs, at the lowest width."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cut: str
    reason: Literal["sends more", "does not fit", "private"]
    bytes: NonNegativeInt


class Solution(BaseModel):
    """A place to cut and the widths before it. `name` is its own within one list.

    planner: who proposed it. weight_bits, activation_bits: means over the elements; wire_bits: of what crosses (0:
    nothing does). distortion: Σ D_i, None where it is not known (a picture codec). loss: accuracy given up, in shares
    of 1: `measured` on labelled data, or by the answers that differ from the whole network's (`agreed`), or estimated.
    file_bytes: of the device's part of few bits as it is deployed; 0 where there is none.
    held_bytes: what a process that runs the device's part in onnxruntime holds for it, where that was planned.
    give_or_take: the standard error of a measured one, where it is known. sure_loss: with as many of these on top as
    the limits ask for. fits: within the memory limit. front: no other that fits is as fast and as true.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    planner: str
    cut: str
    codec: str
    total_s: NonNegativeFloat
    device_s: NonNegativeFloat
    link_s: NonNegativeFloat
    server_s: NonNegativeFloat
    weight_bytes: NonNegativeInt
    activation_bytes: NonNegativeInt
    file_bytes: NonNegativeInt = 0
    held_bytes: NonNegativeInt | None = None
    sent_bytes: NonNegativeInt
    weight_bits: float = Field(ge=0, le=32)
    activation_bits: float = Field(ge=0, le=64)
    wire_bits: float = Field(ge=0, le=64)
    distortion: NonNegativeFloat | None
    loss: float | None = None
    measured: bool = False
    agreed: bool = False
    give_or_take: NonNegativeFloat | None = None
    sure_loss: float | None = None
    fits: bool = True
    front: bool = False
    bits: BitPlan | None = None

    @property
    def judged_loss(self) -> float | None:
        """The loss that is held against a limit."""
        return self.loss if self.sure_loss is None else self.sure_loss

    @property
    def memory_bytes(self) -> int:
        """What the device needs for it, at its widths."""
        return self.weight_bytes + self.activation_bytes

    def need_bytes(self, memory_of: MemoryOf) -> int:
        """What is held against a limit of this memory."""
        if memory_of == "runtime" and self.held_bytes is not None:
            return self.held_bytes
        return self.memory_bytes


def few_of(front: Sequence[Solution], own: BitPlan | None) -> list[Solution]:
    """What of a front is shown: all, or every so many, and those with the plan's own widths."""
    if len(front) <= MOST_ROWS:
        return list(front)
    step = len(front) / MOST_ROWS
    return [s for k, s in enumerate(front) if int(k / step) != int((k - 1) / step) or s.bits == own]

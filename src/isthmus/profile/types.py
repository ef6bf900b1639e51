"""Seconds on one machine, as a readable file. Measured heads and tails are the truth; node times fill the gaps.

The fit is `a·Σ node seconds + b·MB over the cut + c`, separately for heads and tails (1–4 % error measured where plain
sums of node times are 5–50 % off: node times miss the layout change at the cut, segment sums pay it twice).
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeFloat, NonNegativeInt, PositiveInt

from isthmus.units import LONGEST_S, MOST_SLOWER

Duration = Annotated[float, Field(ge=0, le=LONGEST_S)]
_Weight = Annotated[float, Field(ge=-LONGEST_S, le=LONGEST_S)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Timing(_Strict):
    """Seconds over `runs` runs: the low quantile is what calibration trusts, the spread says how noisy it was."""

    low_s: Duration
    median_s: Duration
    high_s: Duration
    """one run in ten took at least so long"""
    runs: PositiveInt

    @classmethod
    def certain(cls, seconds: float) -> Self:
        """Computed, not measured: every run takes as long."""
        return cls(low_s=seconds, median_s=seconds, high_s=seconds, runs=1)

    def kept_by(self, share: float) -> float:
        """Seconds that this share of runs keeps, from half of them on (see `lateness`)."""
        return self.median_s + lateness(share) * max(0.0, self.high_s - self.median_s)


def lateness(share: float) -> float:
    """How far behind the median lies what this share of all runs keeps, where 1 is as far as what nine in ten keep.

    From half on a tail is taken to be exponential, heavier than a normal one: three numbers are known of it, and
    promises rest on what lies beyond them.

    >>> [round(lateness(share), 2) for share in (0.5, 0.9, 0.95, 0.99)]
    [0.0, 1.0, 1.43, 2.43]
    """
    return math.log(0.5 / (1 - share)) / math.log(5)


class Fit(_Strict):
    """`a·node_s + b·cut_MB + c`, and the median relative error it left on the measured parts."""

    a: _Weight = 1.0
    b: _Weight = 0.0
    c: _Weight = 0.0
    error: NonNegativeFloat = 0.0


class RawTimes(_Strict):
    """Every single measurement, kept only while a profile is not complete, so that it can go on."""

    whole: tuple[float, ...] = ()
    heads: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    tails: dict[str, tuple[float, ...]] = Field(default_factory=dict)


class BatchProfile(_Strict):
    """All measurements at one batch size. Keys of heads and tails are cut ids; of nodes, node names."""

    whole: Timing
    heads: dict[str, Timing] = Field(default_factory=dict)
    tails: dict[str, Timing] = Field(default_factory=dict)
    nodes: dict[str, Duration] = Field(default_factory=dict)
    head_fit: Fit = Fit()
    tail_fit: Fit = Fit()
    raw: RawTimes | None = None
    """None once this batch size is complete"""


class CodecTiming(_Strict):
    """Encode and decode: `fixed_s + s_per_element · elements`."""

    fixed_s: Duration = 0.0
    encode_s_per_element: Duration = 0.0
    decode_s_per_element: Duration = 0.0


MachineKind = Literal["measured", "simulated", "roofline", "regression"]
"""Where a profile's seconds come from: a clock, an accelerator's cycle count, peak and bandwidth, or fitted laws."""


class Machine(_Strict):
    """Where a profile was taken, or what it was computed for (`kind` says which)."""

    name: str
    cpu: str
    system: str
    runtime: str
    threads: PositiveInt
    slowdown: float = Field(default=1.0, ge=1 / MOST_SLOWER, le=MOST_SLOWER)
    kind: MachineKind = "measured"


class RuntimeMemory(_Strict):
    """What a machine's runtime keeps in memory besides weights and tensors: bytes of a session, of a kernel with
    weights (its node, its constants, their names) and of one without. signed: 8-bit weights stay signed there, so that
    kernels need no room for 32-bit sums (`isthmus.engine.has_vnni`).

    As it is made: onnxruntime 1.31 on 64-bit Linux, fitted on ResNet-18, ResNet-56 and MobileNetV1 (`--fit` of
    benchmarks/held_memory.py); `session_bytes` on the smallest part tried, of 0.4 MB, for it matters there only."""

    session_bytes: NonNegativeInt = 7_000
    product_bytes: NonNegativeInt = 24_000
    other_bytes: NonNegativeInt = 10_000
    signed: bool = False


class Profile(_Strict):
    """One model on one machine. `slowdown` > 1 declares a slower machine of the same kind: every time is multiplied
    when it is read (`isthmus.profile.Times`), never in the file."""

    kind: Literal["isthmus-profile"] = "isthmus-profile"
    version: Literal[1] = 1
    model: str
    fingerprint: str
    machine: Machine
    taken: str
    batches: dict[PositiveInt, BatchProfile]
    exits: dict[str, dict[PositiveInt, BatchProfile]] = Field(default_factory=dict)
    """the same for the part of the network that one early exit needs, by the name of that output"""
    codecs: dict[str, CodecTiming] = Field(default_factory=dict)
    complete: bool = True
    rest_s: Duration = 0.0
    """the machine rested so long before every measured part; 0: one part after the other"""
    memory: RuntimeMemory | None = None
    """where it was measured too; plans take the usual figures without"""

    def typical_s(self, timing: Timing) -> float:
        """The seconds to trust: the low quantile, for what is slower was somebody else's doing. Of a machine that
        rested, the median: it was asked now and then, as in use, and its speed depends on that (a quota, heat)."""
        return timing.median_s if self.rest_s > 0 else timing.low_s

    def sure_s(self, timing: Timing, share: float) -> float:
        """The seconds that this share of runs keeps (0.5 to below 1), whoever was to blame for the others."""
        return max(self.typical_s(timing), timing.kept_by(share))

    def at_exit(self, output: str, nodes: Collection[str]) -> Profile:
        """The profile of the part that one exit needs, whose nodes have these names: as it was measured, or else its
        node times through the fit of the whole."""
        measured = self.exits.get(output)
        if measured is None:
            measured = {size: self._of_nodes(batch, nodes) for size, batch in self.batches.items()}
        return self.model_copy(update={"batches": measured, "exits": {}})

    def _of_nodes(self, batch: BatchProfile, names: Collection[str]) -> BatchProfile:
        """Times of a part of the network of which only single nodes were measured, as uncertain as the whole's."""
        nodes = {name: seconds for name, seconds in batch.nodes.items() if name in names}
        whole_s = max(0.0, batch.head_fit.a * sum(nodes.values()) + batch.head_fit.c)
        of, typical_s = batch.whole, self.typical_s(batch.whole)
        low, median, high = ((s / typical_s if typical_s else 1.0) for s in (of.low_s, of.median_s, of.high_s))
        whole = Timing(low_s=whole_s * low, median_s=whole_s * median, high_s=whole_s * high, runs=of.runs)
        return BatchProfile(whole=whole, nodes=nodes, head_fit=batch.head_fit, tail_fit=batch.tail_fit)


class AccuracyRow(_Strict):
    """Score of one cut and codec. `score`: share of right answers, or, without labels, of answers that agree with the
    whole model's; `loss` is against the whole model, in points of 1. `sample_bytes`: what crossed, mean of a sample;
    None in files of before it was noted."""

    cut: str
    codec: str
    score: FiniteFloat
    loss: FiniteFloat
    labelled: bool
    samples: PositiveInt
    sample_bytes: NonNegativeFloat | None = None

"""Latency laws of a device as a readable file: seconds of every layer type as sums of coefficient × variable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeFloat, NonNegativeInt

from isthmus.profile.types import CodecTiming, Machine

LayerType = Literal[
    "convolution",
    "depthwise_convolution",
    "fully_connected",
    "relu",
    "clip",
    "sigmoid",
    "silu",
    "activation",
    "max_pooling",
    "average_pooling",
    "global_pooling",
    "lrn",
    "dropout",
    "batch_norm",
    "add",
    "mul",
    "gate",
    "concat",
    "softmax",
    "reshape",
    "copy",
]
"""`activation`: any other function of single numbers; `gate`: a product that is broadcast (squeeze and excite);
`reshape`: what moves no number; `copy`: what only moves them (transpose, slice, pad)."""
LAYER_TYPES: tuple[LayerType, ...] = get_args(LayerType)

VariableSet = Literal["paper", "extended", "macs"]
"""`paper`: Table I of Li, Zhou, Chen (Edgent, MECOMM 2018); `extended`: multiply-accumulates, bytes in and out, bytes
of weights and the kinds of kernels they meet; `macs`: multiply-accumulates only, the plain model to compare with."""
VARIABLE_SETS: tuple[VariableSet, ...] = get_args(VariableSet)
ONE = "one"
"""The variable that is always 1: its coefficient is the law's constant part."""
MODEL_BYTES = "model_bytes"
"""The variable of loading: bytes of weights."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Law(_Strict):
    """seconds = Σ coefficient × variable, at least 0.

    `ranges`: least and greatest value of each variable among the shapes fitted. `r2` and `median_error` (relative) are
    of shapes that were not fitted; None where there were none, as for a law taken from print.
    """

    coefficients: Annotated[dict[str, FiniteFloat], Field(min_length=1)]
    ranges: dict[str, tuple[FiniteFloat, FiniteFloat]] = Field(default_factory=dict)
    r2: FiniteFloat | None = None
    median_error: NonNegativeFloat | None = None

    def seconds(self, variables: Mapping[str, float]) -> float:
        """What the law says for these values; raises KeyError where one is missing."""
        return max(0.0, sum(c * (1.0 if v == ONE else variables[v]) for v, c in self.coefficients.items()))

    def outside(self, variables: Mapping[str, float]) -> tuple[str, ...]:
        """The variables that lie outside the range fitted."""
        return tuple(v for v, (low, high) in self.ranges.items() if not low <= variables[v] <= high)


class TypeLaws(_Strict):
    """The laws of one layer type, by variable set, and how many shapes they were fitted to and judged by."""

    laws: Annotated[dict[VariableSet, Law], Field(min_length=1)]
    fitted: NonNegativeInt = 0
    held_out: NonNegativeInt = 0

    def law(self, variables: VariableSet) -> tuple[Law, VariableSet]:
        """The law of that set, or the first there is where a file holds only another; and which it is."""
        which = variables if variables in self.laws else next(iter(self.laws))
        return self.laws[which], which


class Call(_Strict):
    """What a part costs beside its layers: once a call, and for every megabyte over a cut (the layout change)."""

    fixed_s: NonNegativeFloat = 0.0
    cut_s_per_mb: NonNegativeFloat = 0.0


class Regression(_Strict):
    """The latency laws of one device.

    `fuses`: an activation or addition behind a convolution is part of it, as in an optimising engine; else every
    operator is a layer. `loads_each_request`: every part's time includes loading its weights (the published set-up of
    2018). `source` says where the numbers come from, `note` what to know about them.
    """

    kind: Literal["isthmus-regression"] = "isthmus-regression"
    version: Literal[1] = 1
    machine: Machine
    taken: str
    source: str = Field(min_length=1)
    note: str = ""
    fuses: bool = True
    layers: Annotated[dict[LayerType, TypeLaws], Field(min_length=1)]
    call: Call = Call()
    loading: Law | None = None
    loads_each_request: bool = False
    codecs: dict[str, CodecTiming] = Field(default_factory=dict)

"""What a network loses by fewer bits, layer by layer (`Distortions`), and the bits chosen for it (`BitPlan`).

D is what Auto-Split (Banitalebi-Dehkordi et al., KDD 2021) sums and limits: D_i = MSE(x_i(16), x_i(b)), the *mean*
square error of one element, for the weights of a layer and for what it makes, against the reference of 16 bits. The sum
runs over layers, not over elements: a layer of a million weights counts as much as one of a thousand, and Σ D ≤ E is
the error limit. Units are those of the tensor, squared; `weight_power` and `output_power` (the mean square of the
reference itself) make them relative for whoever wants that.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, model_validator

from isthmus.errors import BadInput
from isthmus.units import MOST_BYTES

RangeName = Literal["minmax", "percentile", "mse", "aciq"]
"""How the range of a quantiser is found; see `isthmus.quant.clip`."""
MOST_BITS = 16
MOST_ELEMENTS = 1 << 40
"""Of one tensor, far beyond any model that is read."""
MOST_SQUARE = 1e80
"""A mean square: no number of a tensor is larger than float32 can be."""
_Square = Annotated[float, Field(ge=0, le=MOST_SQUARE)]
_Elements = Annotated[int, Field(ge=0, le=MOST_ELEMENTS)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OutputBits(_Strict):
    """One tensor at each width: its elements for one input, D_a, the range (low, high) its levels span, and the mean
    square of the reference. `errors` and `limits` are empty where the tensor is not made of floats: it stays as it is.
    """

    name: str
    elements: _Elements
    errors: tuple[_Square, ...] = ()
    limits: tuple[tuple[FiniteFloat, FiniteFloat], ...] = ()
    power: _Square = 0.0


class LayerBits(_Strict):
    """One layer of the fused graph at each width of `Distortions.bits`, in that order.

    `weights` are D_w (empty where the node has no weights), `outputs` D_a of the tensor it makes (empty where that is
    not made of floats), `limits` the (low, high) its levels span. A node of several outputs has one entry an output;
    its weights stand in the first. `output_elements` are those for one input.
    """

    node: str
    weight_elements: _Elements
    weights: tuple[_Square, ...] = ()
    output: str
    output_elements: _Elements
    outputs: tuple[_Square, ...] = ()
    limits: tuple[tuple[FiniteFloat, FiniteFloat], ...] = ()
    weight_power: _Square = 0.0
    output_power: _Square = 0.0


class Upload(_Strict):
    """The network's input sent as a picture: the mean square error of one of its elements, and the bytes of one sample
    (mean)."""

    error: _Square
    sample_bytes: float = Field(ge=0, le=MOST_BYTES)


class Distortions(_Strict):
    """The distortion tables of one model: what `isthmus quantize` measures and the bit assignment reads.

    `layers` stand in running order. `fingerprint` is that of the fused model, the one that is cut. `samples` inputs
    were looked at; `source` says where they are from ("random data" where they are nobody's). `uploads`: picture codec
    (`jpeg:75`) → what it does to the network's one input, where that is known to be a picture.
    """

    kind: Literal["isthmus-distortions"] = "isthmus-distortions"
    version: Literal[1] = 1
    model: str
    fingerprint: str
    bits: tuple[int, ...] = Field(min_length=1)
    range: RangeName = "mse"
    layers: tuple[LayerBits, ...]
    inputs: tuple[OutputBits, ...] = ()
    samples: NonNegativeInt
    source: str
    uploads: dict[str, Upload] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Distortions:
        if any(not 1 <= b <= MOST_BITS for b in self.bits) or list(self.bits) != sorted(set(self.bits)):
            raise ValueError(f"bits must rise and lie between 1 and {MOST_BITS}, not {list(self.bits)}")
        for name, values in self._lists():
            if len(values) not in (0, len(self.bits)):
                raise ValueError(f"{name} has {len(values)} entries for {len(self.bits)} widths")
        return self

    def tensor(self, name: str) -> OutputBits:
        """Everything about one tensor. Raises BadInput for an unknown one."""
        if name not in self._outputs:
            raise BadInput(f"the distortions of {self.model} know no tensor {name!r}")
        return self._outputs[name]

    @cached_property
    def _outputs(self) -> dict[str, OutputBits]:
        made = (
            OutputBits(
                name=layer.output,
                elements=layer.output_elements,
                errors=layer.outputs,
                limits=layer.limits,
                power=layer.output_power,
            )
            for layer in self.layers
        )
        return {found.name: found for found in (*self.inputs, *made)}

    def _lists(self) -> list[tuple[str, tuple[object, ...]]]:
        found: list[tuple[str, tuple[object, ...]]] = []
        for layer in self.layers:
            found += [(f"weights of {layer.node}", layer.weights), (f"outputs of {layer.node}", layer.outputs)]
            found += [(f"limits of {layer.output}", layer.limits)]
        for one in self.inputs:
            found += [(f"errors of {one.name}", one.errors), (f"limits of {one.name}", one.limits)]
        return found


class BitPlan(_Strict):
    """The bits chosen: node → width of its weights, tensor → width of its elements (1 to 8, or 16: left in floating
    point). What is not named keeps floating point."""

    weights: dict[str, int] = Field(default_factory=dict)
    outputs: dict[str, int] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _widths(self) -> BitPlan:
        for name, bits in (*self.weights.items(), *self.outputs.items()):
            if not (1 <= bits <= 8 or bits == MOST_BITS):
                raise ValueError(f"{name} cannot take {bits} bits; 1 to 8 or {MOST_BITS} can be chosen")
        return self

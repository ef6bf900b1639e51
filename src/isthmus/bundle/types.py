"""The folder that is deployed: what stands in its manifest."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeFloat, NonNegativeInt, PositiveFloat

from isthmus.link import Link
from isthmus.plan.solution import MemoryOf
from isthmus.profile.types import AccuracyRow
from isthmus.quant import BitPlan, ChannelClip

MODEL_FILE = "model.onnx"
DEVICE_FILE = "device_profile.json"
SERVER_FILE = "server_profile.json"
PLAN_FILE = "plan.json"
CLIPS_FILE = "clips.json"
EXITS_FILE = "exits.json"
"""Only where the model has early exits that were judged."""
HEAD_FILE = "head.packed"
WHOLE_FILE = "whole.packed"
SHAPES_FILE = "shapes.onnx"
"""Only where the device's part has few bits: the quantised head, the quantised whole network where the device has room
for one, and the network without its weights. With these the device needs no MODEL_FILE, and its copy may lack it."""
MANIFEST_FILE = "manifest.json"
SEAL_FILE = "manifest.sha256"
"""The manifest's own hash, as `sha256sum` writes and checks it."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(_Strict):
    """One file of the bundle, as it was when packed."""

    bytes: NonNegativeInt
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class SplitCheck(_Strict):
    """A cut that was run in two halves when the bundle was packed: greatest absolute difference from the whole model,
    over the greatest absolute value of its answer."""

    cut: str
    error: FiniteFloat = Field(ge=0)


class PictureRow(_Strict):
    """How a picture input was normalised: value = (pixel / 255 − mean) / std, per channel."""

    mean: tuple[FiniteFloat, ...]
    std: tuple[FiniteFloat, ...]


class LinkRow(_Strict):
    """The link the plan was made for."""

    up_bps: PositiveFloat
    down_bps: PositiveFloat
    rtt_s: NonNegativeFloat
    fixed_s: NonNegativeFloat = 0.0
    late: NonNegativeFloat = 0.0

    @classmethod
    def of(cls, link: Link) -> LinkRow:
        """The row of a link."""
        return cls(up_bps=link.up_bps, down_bps=link.down_bps, rtt_s=link.rtt_s, fixed_s=link.fixed_s, late=link.late)

    def link(self) -> Link:
        """The link again."""
        return Link(self.up_bps, self.down_bps, self.rtt_s, self.fixed_s, self.late)


class PartRow(_Strict):
    """A part of few bits on the device, as it was when packed: the head up to `cut`, or the whole network (@output).

    bits: of each layer's weights and of each tensor. weight_bytes and activation_bytes: what it needs by the plan, at
    those widths; container_bytes: the same in a runtime whose numbers have at least 8 bits. planned_file_bytes: of
    `file`, by the plan (None: an older bundle). planned_held_bytes: what a process that loads and runs it in
    onnxruntime holds for it at most, by the plan; held_bytes: as measured, where it was packed (None: not told). ratio:
    how many times as long as in floating point it took here. error: greatest relative mean-square distance of an answer
    from the whole network's, as a root; agrees: share of the `samples` inputs whose greatest output stayed the same, or
    whose one number stayed near (`isthmus.profile.judging.kept`).
    """

    file: str
    cut: str
    bits: BitPlan
    weight_bytes: NonNegativeInt
    activation_bytes: NonNegativeInt
    container_bytes: NonNegativeInt
    planned_file_bytes: NonNegativeInt | None = None
    planned_held_bytes: NonNegativeInt | None = None
    held_bytes: NonNegativeInt | None = None
    ratio: PositiveFloat
    error: FiniteFloat = Field(ge=0)
    agrees: float = Field(ge=0, le=1)
    samples: NonNegativeInt

    @property
    def memory_bytes(self) -> int:
        """What the plan says it needs, at its widths."""
        return self.weight_bytes + self.activation_bytes

    def need_bytes(self, memory_of: MemoryOf) -> int:
        """What is held against a limit of this memory."""
        if memory_of == "runtime" and self.planned_held_bytes is not None:
            return self.planned_held_bytes
        return self.memory_bytes


class FewBitsRow(_Strict):
    """The device's parts of few bits. `memory_bytes`: the device's limit, None where there is none, and `memory_of`:
    whose memory that is. `together`: all
    parts fit it at once. `written`: for the plan's codec, the codec of each crossing tensor."""

    head: PartRow | None = None
    whole: PartRow | None = None
    memory_bytes: NonNegativeInt | None = None
    memory_of: MemoryOf = "accelerator"
    together: bool = True
    written: dict[str, dict[str, str]] = Field(default_factory=dict)

    @property
    def parts(self) -> tuple[PartRow, ...]:
        """The parts that there are."""
        return tuple(p for p in (self.head, self.whole) if p is not None)


class Manifest(_Strict):
    """What the folder holds. `cuts` are kept ready on both sides, in running order; `codecs` are those that keep the
    accuracy at each cut (`default_codecs` where nothing was measured)."""

    kind: Literal["isthmus-bundle"] = "isthmus-bundle"
    version: Literal[1] = 1
    isthmus: str
    name: str
    fingerprint: str
    packed: str
    blocks: tuple[str, ...] = ()
    cuts: tuple[str, ...]
    link: LinkRow
    codecs: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    default_codecs: tuple[str, ...] = ("float32",)
    pictures: dict[str, PictureRow] = Field(default_factory=dict)
    accuracy: tuple[AccuracyRow, ...] = ()
    checks: tuple[SplitCheck, ...] = ()
    few_bits: FewBitsRow | None = None
    files: dict[str, FileEntry]


class Clips(_Strict):
    """Calibrated ranges of crossing tensors, by tensor name."""

    kind: Literal["isthmus-clips"] = "isthmus-clips"
    version: Literal[1] = 1
    samples: int
    tensors: dict[str, ChannelClip]

"""What a planner is given (`Problem`) and what it answers (`Plan`), and the price of any choice (`Cost`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from isthmus.errors import BadInput
from isthmus.graph.types import Graph
from isthmus.link.types import Link
from isthmus.profile.times import Times


@dataclass(frozen=True)
class Limits:
    """What a plan must respect; None means no limit. `private`: the raw input never leaves home."""

    latency_s: float | None = None
    home_memory_bytes: int | None = None
    private: bool = False


@dataclass(frozen=True)
class Problem:
    """Everything a planner may know.

    machines: first → last in *running order*; links[j] joins machines j and j+1; `home` is the index of the machine
    where the input is born and the answer wanted (0: device first; Edgent's server-first order is home=1 of 2).
    codecs: cut id → names of the codecs that keep the accuracy there; `default_codecs` for cuts not named. A tensor
    that is not float32 always crosses raw. ready: ids of the cuts that need no building (what an engine keeps ready and
    a profile has measured); planners that list cuts list these, or every narrow one where it is None.
    """

    graph: Graph
    machines: tuple[Times, ...]
    links: tuple[Link, ...]
    home: int = 0
    limits: Limits = Limits()
    codecs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    default_codecs: tuple[str, ...] = ("float32",)
    ready: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.machines) != len(self.links) + 1:
            raise BadInput(f"{len(self.machines)} machines need {len(self.machines) - 1} links, not {len(self.links)}")
        if not 0 <= self.home < len(self.machines):
            raise BadInput(f"home={self.home} names none of the {len(self.machines)} machines")

    def codecs_at(self, cut_id: str) -> tuple[str, ...]:
        """Names of the codecs allowed where this cut crosses."""
        return self.codecs.get(cut_id, self.default_codecs)


@dataclass(frozen=True)
class Cost:
    """Seconds by cause; the sum is the whole. One entry a machine in `compute_s`, one a link in the others."""

    compute_s: tuple[float, ...]
    up_s: tuple[float, ...]
    down_s: tuple[float, ...]
    codec_s: float
    fixed_s: float
    up_bytes: tuple[int, ...]
    down_bytes: tuple[int, ...]

    @property
    def total_s(self) -> float:
        """Latency of one request, seconds."""
        return sum(self.compute_s) + sum(self.up_s) + sum(self.down_s) + self.codec_s + self.fixed_s

    @property
    def stage_s(self) -> float:
        """The slowest stage: its inverse is the throughput of a full pipeline."""
        return max(*self.compute_s, *self.up_s, *self.down_s, 0.0)


class CostRow(BaseModel):
    """A `Cost` in a file or a table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    compute_s: tuple[float, ...]
    up_s: tuple[float, ...]
    down_s: tuple[float, ...]
    codec_s: float
    fixed_s: float
    up_bytes: tuple[int, ...]
    down_bytes: tuple[int, ...]
    total_s: float


class Candidate(BaseModel):
    """One choice that was priced on the way to the plan."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cuts: tuple[str, ...]
    codec: str
    cost: CostRow
    measured_s: float | None = None


class Plan(BaseModel):
    """Where to cut each link (cut ids, one a link, nested), how the crossing tensors are written, what it should cost,
    who said so and why in one line. `candidates` are the other choices that were looked at, in running order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["isthmus-plan"] = "isthmus-plan"
    version: Literal[1] = 1
    model: str
    fingerprint: str = ""
    planner: str
    batch: int = Field(ge=1)
    cuts: tuple[str, ...]
    exit: str | None = None
    codec: str
    cost: CostRow
    why: str
    candidates: tuple[Candidate, ...] = ()

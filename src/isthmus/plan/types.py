"""What a planner is given (`Problem`) and what it answers (`Plan`), and the price of any choice (`Cost`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat

from isthmus.errors import BadInput
from isthmus.graph.cuts import narrow_cuts, tensors_before
from isthmus.graph.exits import at_exit
from isthmus.graph.types import INPUT, OUTPUT, Graph
from isthmus.link.types import Link, Side
from isthmus.plan.map_types import ConfigMap
from isthmus.plan.solution import Dropped, MemoryOf, Solution
from isthmus.plan.switch_types import SwitchTable
from isthmus.profile.times import Times
from isthmus.profile.types import lateness
from isthmus.quant.types import BitPlan, Distortions

DEFAULT_SURE = 0.95
"""Share of requests that keep a deadline where nobody asks for another."""
USUAL_ERRORS = 1.0
"""Standard errors that a measured loss must keep away from its limit."""


@dataclass(frozen=True)
class Limits:
    """What a plan must respect; None means no limit. `private`: the raw input never leaves home. `private_until`: nor
    does any tensor made on the way to the node of this name; what that node makes is the first that may. `loss`:
    accuracy given up for fewer bits, in shares of 1. `memory_of`: which memory `home_memory_bytes` is, for planners
    that choose widths.

    `sure`: the share of requests that must keep `latency_s` (0.5 to below 1). A choice is then in time where the
    seconds that this share of requests keeps are, by the spread that the profiles and the link tell
    (`Problem.surely`). None: its typical seconds, as in the papers. `loss_errors`: a measured loss keeps `loss` where
    it does with so many of its standard errors on top. Raises BadInput for numbers outside, NaN and infinities, and for
    a memory that is none."""

    latency_s: float | None = None
    home_memory_bytes: int | None = None
    private: bool = False
    private_until: str | None = None
    sure: float | None = DEFAULT_SURE
    distortion: float | None = None
    loss: float | None = None
    loss_errors: float = USUAL_ERRORS
    memory_of: MemoryOf = "accelerator"

    def __post_init__(self) -> None:
        if self.latency_s is not None and not (_is_limit(self.latency_s) and self.latency_s > 0):
            raise BadInput(f"a limit of latency is a number of seconds above zero, not {self.latency_s}")
        for name, value in (
            ("memory in bytes", self.home_memory_bytes),
            ("distortion", self.distortion),
            ("accuracy loss", self.loss),
        ):
            if value is not None and not _is_limit(value):
                raise BadInput(f"a limit of {name} is a number from 0 up, not {value}")
        if not _is_limit(self.loss_errors):
            raise BadInput(f"standard errors on top of a loss are a number from 0 up, not {self.loss_errors}")
        if self.sure is not None and not (_is_limit(self.sure) and 0.5 <= self.sure < 1):
            raise BadInput(
                f"the share of requests that keep a deadline lies between 0.5 and below 1 (0.95 is usual), not "
                f"{self.sure}; none can be promised to all"
            )
        if self.memory_of not in get_args(MemoryOf):
            known = " or ".join(get_args(MemoryOf))
            raise BadInput(f"a memory limit is of the {known} (memory_of), not of '{self.memory_of}'")


def _is_limit(value: Any) -> bool:
    """Whether this is a finite number from 0 up."""
    return isinstance(value, Real) and 0 <= float(value) < math.inf


@dataclass(frozen=True)
class Exit:
    """One place to stop: the output that answers there, and its accuracy (share of right answers, None: unknown)."""

    output: str
    accuracy: float | None = None


@dataclass(frozen=True)
class Problem:
    """Everything a planner may know.

    machines: first → last in *running order*; links[j] joins machines j and j+1; `home` is the index of the machine
    where the input is born and the answer wanted (0: device first; Edgent's server-first order is home=1 of 2).
    codecs: cut id → names of the codecs that keep the accuracy there; `default_codecs` for cuts not named. A tensor
    that is not float32 always crosses raw. ready: ids of the cuts that need no building (what an engine keeps ready and
    a profile has measured); planners that list cuts list these, or every narrow one where it is None. exits: the early
    exits in running order, the main output last; planners that do not choose among them run the whole network.
    states_bps: uplink rates to prepare for (`isthmus.adapt.bandwidth_states`), rising; planners that make a
    configuration map take a range of their own where there are none. states_spread: what the rate turns out to be, as
    multiples of the state it was believed to be in, equally likely (`isthmus.adapt.belief_spread`); none: exactly the
    state. batches: the same network at other batch sizes to prepare for; planners that make switch tables make one
    for each. whole: the network that this is one exit of. distortions: what fewer bits do to each layer, for
    planners that choose widths. losses: name of a `Solution` → the accuracy it was measured to lose (shares of 1);
    those in `agreed` by how often it disagrees with the whole network. give_or_take: standard errors of losses, by the
    same names. sample_bytes: (cut id, codec) → bytes of a sample, measured. clipped: tensors whose ranges were
    calibrated, so that none is sent with them. literal: what Auto-Split prints where
    isthmus departs. arrivals_hz: how often an input comes, for planners that look at the rate and not at one request.
    """

    graph: Graph
    machines: tuple[Times, ...]
    links: tuple[Link, ...]
    home: int = 0
    limits: Limits = Limits()
    codecs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    default_codecs: tuple[str, ...] = ("float32",)
    ready: tuple[str, ...] | None = None
    exits: tuple[Exit, ...] = ()
    states_bps: tuple[float, ...] = ()
    states_spread: tuple[float, ...] = ()
    batches: tuple[Graph, ...] = ()
    whole: Graph | None = None
    distortions: Distortions | None = None
    losses: Mapping[str, float] = field(default_factory=dict)
    agreed: frozenset[str] = frozenset()
    give_or_take: Mapping[str, float] = field(default_factory=dict)
    sample_bytes: Mapping[tuple[str, str], float] = field(default_factory=dict)
    clipped: frozenset[str] = frozenset()
    literal: bool = False
    arrivals_hz: float | None = None

    def __post_init__(self) -> None:
        if len(self.machines) != len(self.links) + 1:
            raise BadInput(f"{len(self.machines)} machines need {len(self.machines) - 1} links, not {len(self.links)}")
        if not 0 <= self.home < len(self.machines):
            raise BadInput(f"home={self.home} names none of the {len(self.machines)} machines")
        self.private_tensors  # noqa: B018 - an unknown node is refused here, by name

    def codecs_at(self, cut_id: str) -> tuple[str, ...]:
        """Names of the codecs allowed where this cut crosses."""
        return self.codecs.get(cut_id, self.default_codecs)

    @cached_property
    def private_tensors(self) -> frozenset[str]:
        """Tensors that the limits keep at home."""
        if self.limits.private_until is not None:
            return tensors_before(self.whole or self.graph, self.limits.private_until)
        return frozenset(self.graph.inputs) if self.limits.private else frozenset()

    @cached_property
    def known_ranges(self) -> frozenset[str]:
        """Tensors of which both ends know the range: what quantised layers make, and what was calibrated."""
        narrow = self.machines[self.home].bits
        return self.clipped if narrow is None else self.clipped.union(narrow.outputs)

    @cached_property
    def surely(self) -> Problem:
        """What `limits.sure` of all requests keep: every time and every exchange as late as that share of them is at
        most, all at once. Late machines and late links rarely meet, so the sum promises more than it must. The problem
        itself where there is no deadline or no share to keep it."""
        share = self.limits.sure
        if share is None or self.limits.latency_s is None:
            return self
        machines = tuple(replace(m, sure=share) for m in self.machines)
        links = tuple(link.slowed(1 + link.late * lateness(share)) for link in self.links)
        return replace(self, machines=machines, links=links, limits=replace(self.limits, sure=None))

    def turned(self) -> Problem:
        """The same machines in the other order: what ran last runs first, and home stays where it is."""
        last = len(self.machines) - 1
        return replace(self, machines=self.machines[::-1], links=self.links[::-1], home=last - self.home)

    def at_batch(self, graph: Graph) -> Problem:
        """The same problem for the same network at the batch size of `graph` (one of `batches`)."""
        return replace(self, graph=graph, machines=tuple(replace(m, graph=graph) for m in self.machines), batches=())

    def at_exit(self, output: str) -> Problem:
        """The same problem for the part of the network that one exit needs. Raises BadInput for an unknown output."""
        graph = at_exit(self.graph, output)
        names = {node.name for node in graph.nodes}
        machines = tuple(replace(m, profile=m.profile.at_exit(output, names), graph=graph) for m in self.machines)
        measured = [m.profile.exits.get(output, {}).get(self.graph.batch) for m in self.machines]
        ready = self.ready
        if all(measured):
            common = set.intersection(*(set(part.heads) for part in measured if part is not None))
            ready = (INPUT, *(t for t in graph.producer if t in common), OUTPUT)
        elif ready is not None:
            narrow = {cut.id for cut in narrow_cuts(graph)}
            ready = tuple(cut_id for cut_id in ready if cut_id in narrow)
        whole = self.whole or self.graph
        return replace(self, graph=graph, machines=machines, ready=ready, exits=(), batches=(), whole=whole)


@dataclass(frozen=True)
class Cost:
    """Seconds by cause; the sum is the whole. One entry a machine in `compute_s`, one a link in the others.

    `stage_s`: the slowest stage, whose inverse is the throughput of a full pipeline. A machine is busy while it works
    and codes, a link (either way) while bytes enter it; nobody while they are on their way."""

    compute_s: tuple[float, ...]
    up_s: tuple[float, ...]
    down_s: tuple[float, ...]
    codec_s: float
    fixed_s: float
    up_bytes: tuple[int, ...]
    down_bytes: tuple[int, ...]
    stage_s: float

    @property
    def total_s(self) -> float:
        """Latency of one request, seconds."""
        return sum(self.compute_s) + sum(self.up_s) + sum(self.down_s) + self.codec_s + self.fixed_s


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
    """One choice that was priced on the way to the plan. `sure_s`: as in `Promise`, where the plan makes one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cuts: tuple[str, ...]
    codec: str
    cost: CostRow
    sure_s: float | None = None
    measured_s: float | None = None

    @property
    def judged_s(self) -> float:
        """The seconds that were held against the deadline."""
        return self.cost.total_s if self.sure_s is None else self.sure_s


class ExitPlan(BaseModel):
    """The fastest partition of one exit, as a planner that chooses among exits found it. `output` is empty where the
    whole network was looked at; `sends`: something leaves home; `sure_s`: as in `Promise`, where a share was asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    output: str
    accuracy: float | None
    cuts: tuple[str, ...]
    codec: str
    total_s: float
    sends: bool
    sure_s: float | None = None

    @property
    def judged_s(self) -> float:
        """The seconds that were held against the deadline."""
        return self.total_s if self.sure_s is None else self.sure_s


class Promise(BaseModel):
    """What a plan with a deadline answers for: `share` of all requests end within `sure_s`, and so `within_s`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    within_s: PositiveFloat
    share: float = Field(ge=0.5, lt=1)
    sure_s: NonNegativeFloat


class Plan(BaseModel):
    """Where to cut each link (cut ids, one a link, nested), how the crossing tensors are written, what it should cost,
    who said so and why. `first`: who runs the part before the first cut, the device at home or a server. `candidates`:
    the other choices looked at, in running order. `switch`: the best choice for every rate, one table a batch size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["isthmus-plan"] = "isthmus-plan"
    version: Literal[1] = 1
    model: str
    fingerprint: str = ""
    planner: str
    batch: int = Field(ge=1)
    first: Side = "device"
    cuts: tuple[str, ...] = Field(min_length=1)
    exit: str | None = None
    codec: str
    cost: CostRow
    why: str
    candidates: tuple[Candidate, ...] = ()
    promise: Promise | None = None
    """where a share of requests was to keep a deadline; None: the deadline was held against typical seconds"""
    exits: tuple[ExitPlan, ...] = ()
    """the best of every exit that was looked at, the most accurate first"""
    switch: tuple[SwitchTable, ...] = ()
    bits: BitPlan | None = None
    memory_bytes: int | None = Field(default=None, ge=0)
    memory_of: MemoryOf = "accelerator"
    """the widths of the device's part, and its memory limit and whose that is, where the planner chose and kept them"""
    solutions: tuple[Solution, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    """splits and widths to choose from, the fastest first, and places that are no candidates"""
    config: ConfigMap | None = None
    """the configuration map, where the planner made one"""


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain values, as `--json` prints it and `Plan` reads it back."""
    return plan.model_dump(mode="json")

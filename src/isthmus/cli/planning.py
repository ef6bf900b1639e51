"""What `plan` and `pack` have in common: a link, limits, the problem they make with two profiles, and its answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, cast, get_args

import typer

from isthmus.cli.bits import BitOptions
from isthmus.cli.edgent import Past
from isthmus.cli.machines import Machines
from isthmus.cli.promising import as_run
from isthmus.codec import make_codec
from isthmus.errors import BadInput
from isthmus.graph import INPUT, graph_of
from isthmus.link import Link
from isthmus.model import Model
from isthmus.plan import PLANNERS, Limits, Plan, Problem, planner_called, problem_for
from isthmus.plan.baselines import QUANTISED, baselines
from isthmus.plan.solution import MemoryOf
from isthmus.plan.types import DEFAULT_SURE, Exit
from isthmus.profile import AccuracyRow
from isthmus.quant import need_quantisable
from isthmus.record import Lateness
from isthmus.units import rate_bps, seconds, size_bytes

CHOOSE_BITS = ("autosplit", *QUANTISED)
"""Planners that give layers few bits."""


def _planner_named(name: str) -> str:
    """Refused before anything is measured, where there is none."""
    planner_called(name)
    return name


Planner = Annotated[
    str,
    typer.Option(
        callback=_planner_named,
        metavar="NAME",
        help=f"How to search: {', '.join(PLANNERS)}; or file.py:function of your own. See docs/planners.md.",
    ),
]
Up = Annotated[str, typer.Option("--up", "--uplink", help="Rate from the device to the server, as 20Mbit.")]
Down = Annotated[str, typer.Option(help="Rate back; as --up where absent.")]
Rtt = Annotated[str, typer.Option(help="Round trip, as 10ms.")]
Codecs = Annotated[str, typer.Option(help="How crossing tensors may be written, as float32,int8.")]
Private = Annotated[bool, typer.Option("--private", help="The raw input never leaves the device.")]
PrivateUntil = Annotated[
    str | None, typer.Option(help="Neither the input nor any tensor made on the way to this node leaves the device.")
]
Deadline = Annotated[str | None, typer.Option(help="Greatest latency allowed, as 200ms.")]
Sure = Annotated[
    float,
    typer.Option(
        help="Share of requests that must keep the deadline, from 0.5; 0 asks typical seconds to, as papers do."
    ),
]
Fixed = Annotated[str, typer.Option(help="What every request over the link costs besides, as 2ms.")]
Late = Annotated[float, typer.Option(help="One exchange in ten takes at least this share longer, as 0.1.")]
Memory = Annotated[str | None, typer.Option(help="Greatest memory of the device part, as 64MiB.")]
MemoryFor = Annotated[
    str,
    typer.Option(
        "--memory-of",
        help="Whose memory --memory is, with --distortions: accelerator (numbers at their own widths) or runtime (what "
        "a process holds that runs the part in onnxruntime).",
    ),
]


def link_of(up: str, down: str, rtt: str, fixed: str = "0ms", late: float = 0.0) -> Link:
    """The link as the options say it."""
    return Link(rate_bps(up), rate_bps(down or up), seconds(rtt), seconds(fixed), late)


def limits_of(
    *,
    private: bool,
    private_until: str | None,
    deadline: str | None = None,
    memory: str | None = None,
    sure: float = DEFAULT_SURE,
    memory_of: str = "accelerator",
) -> Limits:
    """The limits as the options say them; `sure` of zero: typical seconds keep the deadline."""
    if memory_of not in get_args(MemoryOf):
        raise BadInput(f"--memory-of is {' or '.join(get_args(MemoryOf))}, not '{memory_of[:40]}'")
    return Limits(
        sure=sure or None,
        latency_s=None if deadline is None else seconds(deadline),
        home_memory_bytes=None if memory is None else size_bytes(memory),
        private=private,
        private_until=private_until,
        memory_of=cast(MemoryOf, memory_of),
    )


def need_widths(limits: Limits, *, chosen: bool) -> None:
    """Raise BadInput for a limit of a runtime's memory where no widths are chosen, so nobody looks at it."""
    if limits.memory_of == "runtime" and not chosen:
        raise BadInput("--memory-of runtime is for planners that choose widths: give --distortions, or leave it out")


def codecs_of(text: str) -> tuple[str, ...]:
    """Codec names, each checked."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise BadInput("give at least one codec, such as float32")
    for name in names:
        make_codec(name)
    return names


@dataclass(frozen=True)
class PlanAsked:
    """What a plan is asked for. `codecs`: names, allowed wherever nothing was measured (pictures at the input only);
    `batches`: sizes that switch tables are wanted for; `load` multiplies the server's times; `exits` as in `Problem`;
    `seen`: how late a run was now and then; `server_first`: the server runs the first part, home stays the device;
    `bits`: for planners that choose widths."""

    planner: str
    link: Link
    limits: Limits
    codecs: tuple[str, ...]
    batch: int = 1
    batches: Sequence[int] = ()
    load: float = 1.0
    exits: tuple[Exit, ...] = ()
    past: Past | None = None
    seen: Lateness | None = None
    server_first: bool = False
    bits: BitOptions | None = None


def make_plan(
    machines: Machines,
    asked: PlanAsked,
    *,
    codecs: Mapping[str, tuple[str, ...]] | None = None,
    accuracy: Sequence[AccuracyRow] = (),
    clipped: Collection[str] = (),
    measuring: Callable[[Model, Problem], Problem] | None = None,
    compare: bool = False,
) -> Plan:
    """Ask the planner. `codecs`: of each tensor that something was measured for; `accuracy`: what was measured of
    them, and `clipped`: what was calibrated, as in `problem_for`; `measuring` finds out what solutions lose; `compare`
    adds the baselines to the solutions."""
    if asked.planner in CHOOSE_BITS:
        need_quantisable(machines.model)
    problem = replace(_problem(machines, asked, codecs or {}, accuracy), clipped=frozenset(clipped))
    problem = problem if measuring is None else measuring(machines.model, problem)
    plan = planner_called(asked.planner)(problem)
    return plan.model_copy(update={"solutions": (*plan.solutions, *baselines(problem))}) if compare else plan


def _problem(
    machines: Machines, asked: PlanAsked, codecs: Mapping[str, tuple[str, ...]], accuracy: Sequence[AccuracyRow]
) -> Problem:
    problem = problem_for(
        graph_of(machines.model, asked.batch),
        machines.device,
        machines.server,
        asked.link,
        codecs={INPUT: asked.codecs, **codecs},
        default_codecs=features_only(asked.codecs),
        load=asked.load,
        limits=asked.limits,
        ready=None if machines.opened is None else [c.id for c in machines.opened.cuts],
        accuracy=accuracy,
    )
    others = tuple(graph_of(machines.model, size) for size in sorted({*asked.batches} - {asked.batch}))
    problem = as_run(replace(problem, batches=others, exits=asked.exits), asked.seen)
    if asked.past is not None:
        problem = replace(problem, states_bps=asked.past.states_bps, states_spread=asked.past.spread)
    if asked.server_first:
        problem = problem.turned()
    return problem if asked.bits is None else asked.bits.problem(problem)


def features_only(names: tuple[str, ...]) -> tuple[str, ...]:
    """Codecs that can write any tensor: picture codecs are for the input."""
    return tuple(n for n in names if ":" not in n) or ("float32",)

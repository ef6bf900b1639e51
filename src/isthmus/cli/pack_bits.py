"""`isthmus pack` where the device's part has few bits: plans and distortion tables in, quantised parts out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from isthmus.bundle import FewBitsRow, PartRow
from isthmus.bundle.few_bits import FewBits, Wanted, few_bits
from isthmus.bundle.pack import Contents
from isthmus.cli.bits import BitOptions
from isthmus.cli.common import out, progress_bar
from isthmus.cli.machines import Machines
from isthmus.engine import profile_clock
from isthmus.errors import BadInput
from isthmus.files import read_json
from isthmus.graph import INPUT, OUTPUT, graph_of
from isthmus.link import Link
from isthmus.model import Model
from isthmus.plan import Limits, Plan, problem_for
from isthmus.plan.planners.autosplit import USUAL_LOSS
from isthmus.plan.solution import MemoryOf
from isthmus.plan.whole_part import whole_part
from isthmus.profile.samples import Samples
from isthmus.units import show_bytes

GivenPlan = Annotated[
    Path | None, typer.Option("--plan", help="A plan that isthmus plan --out wrote, instead of making one here.")
]
PackNarrow = Annotated[
    float | None,
    typer.Option(
        "--narrow", help="The device takes this many times its float time with few bits, as 0.35; timed here without."
    ),
]


@dataclass(frozen=True)
class BitsAsked:
    """The plan that is given and what was said of bits beside it."""

    plan: Plan | None
    options: BitOptions
    narrow: float | None
    memory_bytes: int | None
    memory_of: MemoryOf = "accelerator"

    @property
    def wanted(self) -> bool:
        """Is the device's part to have few bits?"""
        return self.options.tables is not None


def bits_asked(plan: Path | None, options: BitOptions, narrow: float | None, limits: Limits) -> BitsAsked:
    """As the options say it. Raises BadInput for a plan with bits without the tables that they were chosen by."""
    given = None if plan is None else read_json(plan, Plan)
    if given is not None and given.bits is not None and options.tables is None:
        raise BadInput(f"the plan in {plan} gives layers few bits: give the --distortions that it was made with too")
    if given is not None and given.bits is None and options.tables is not None and not given.solutions:
        raise BadInput(f"the plan in {plan} chooses no bits: leave --distortions out, or plan with --planner autosplit")
    if limits.home_memory_bytes is None and given is not None:
        return BitsAsked(given, options, narrow, given.memory_bytes, given.memory_of)
    return BitsAsked(given, options, narrow, limits.home_memory_bytes, limits.memory_of)


def given_plan(asked: BitsAsked, model: Model) -> Plan | None:
    """The plan that is given. Raises BadInput for one of another network."""
    plan = asked.plan
    if plan is not None and plan.fingerprint and plan.fingerprint != model.fingerprint:
        why = "" if asked.wanted else " (one with folded normalisations, where it was planned with --distortions)"
        raise BadInput(f"the plan is for {plan.model}, another network than this {model.name}{why}; plan anew")
    return plan


def parts_of(machines: Machines, asked: BitsAsked, plan: Plan, link: Link, samples: Samples | None) -> FewBits | None:
    """The device's parts for a plan; None where it keeps floating point."""
    tables = asked.options.tables
    if tables is None:
        return None
    inputs = [s.cut == INPUT for s in plan.solutions]
    loss = next((s.loss for s in plan.solutions if s.bits == plan.bits and s.cut == plan.cuts[0]), None)
    allowed = max(loss or 0.0, USUAL_LOSS)
    limits = Limits(home_memory_bytes=asked.memory_bytes, loss=allowed, memory_of=asked.memory_of)
    bits = plan.bits if plan.cuts[0] == OUTPUT else None
    graph = graph_of(machines.model, 1)
    problem = asked.options.problem(problem_for(graph, machines.device, machines.server, link, limits=limits))
    whole = None if bits is not None else whole_part(problem, limits.loss)
    wanted = Wanted(
        plan,
        tables,
        bits if whole is None else whole.bits,
        memory_bytes=asked.memory_bytes,
        memory_of=asked.memory_of,
        runtime=machines.device.memory,
        input_leaves=not inputs or any(inputs),
        narrow=asked.narrow,
        whole_loss=None if whole is None else whole.loss,
        profile=machines.device,
    )
    clock = profile_clock(machines.device.machine.slowdown, machines.engine.threads)
    with progress_bar("quantising") as progress:
        return few_bits(machines.engine, machines.model, wanted, samples, clock=clock, progress=progress)


def with_parts(contents: Contents, parts: FewBits, names: Sequence[str]) -> Contents:
    """The contents of a bundle whose device has these parts. Raises BadInput for exits, which have no few bits."""
    if contents.exits is not None:
        raise BadInput("inputs cannot leave early where the device has few bits: leave --exits or --distortions out")
    plan = contents.plan
    return replace(
        contents,
        few_bits=parts,
        clips={**contents.clips, **parts.clips},
        codecs=codecs_at(plan, names, pictures=bool(contents.pictures)),
    )


def codecs_at(plan: Plan, names: Sequence[str], *, pictures: bool) -> dict[str, tuple[str, ...]]:
    """The codecs of a plan's cut, and of the input those that lose no more than the plan does, or a point; picture
    codecs where it is known how the input is made of a picture. Raises BadInput for a plan that needs to know that."""
    own = next((s.loss for s in plan.solutions if s.bits == plan.bits and s.cut == plan.cuts[0]), None)
    most = max(own or 0.0, USUAL_LOSS)
    true = [s.codec for s in plan.solutions if s.cut == INPUT and s.loss is not None and s.loss <= most]
    inputs = tuple(dict.fromkeys(codec for codec in true if pictures or ":" not in codec))
    if plan.cuts[0] != INPUT:
        return {INPUT: inputs or tuple(names), plan.cuts[0]: (plan.codec,)}
    if ":" in plan.codec and not pictures:
        raise BadInput(f"the plan sends the input as {plan.codec}: say by --picture how it is made of a picture")
    return {INPUT: tuple(dict.fromkeys((plan.codec, *inputs)))}


def show_parts(row: FewBitsRow) -> None:
    """What the device has, a line a part, and what becomes of requests when the server is away."""
    for part in row.parts:
        out.print(_line(part))
    if row.whole is None:
        limit = "" if row.memory_bytes is None else f" of {show_bytes(row.memory_bytes)}"
        out.print(
            f"the device's memory{limit} holds no whole network worth having: while the server is away "
            "requests wait for it until their deadline, and are then lost",
            style="yellow",
        )
    elif not row.together:
        out.print("the device's memory holds one of its parts at a time: each makes way for the other")


def _line(part: PartRow) -> str:
    what = "the whole network" if part.cut == OUTPUT else f"the head up to {part.cut}"
    by_plan = part.planned_held_bytes
    held = "" if by_plan is None else f", a process that runs it holds {show_bytes(by_plan)}"
    held += "" if part.held_bytes is None else f", measured {show_bytes(part.held_bytes)}"
    return (
        f"device, {what}: {show_bytes(part.weight_bytes)} of weights and {show_bytes(part.activation_bytes)} of "
        f"tensors planned{held}; {part.ratio:.2f} × the float time; answers differ by {part.error:.1%} (rms), "
        f"{part.agrees:.1%} of {part.samples} keep their answer"
    )

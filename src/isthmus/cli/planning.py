"""What `plan` and `pack` have in common: two profiles, a link, limits, and the problem they make."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from isthmus.cli.bits import BitOptions
from isthmus.cli.common import err, progress_bar, today
from isthmus.cli.computing import computed
from isthmus.cli.edgent import Past
from isthmus.cli.promising import as_run
from isthmus.engine import Engine
from isthmus.errors import BadInput
from isthmus.files import read_json
from isthmus.graph import INPUT, graph_of, tensors_before
from isthmus.link import Link
from isthmus.model import Model, fused, load_model
from isthmus.plan import PLANNERS, Limits, Plan, Problem, planner_called, problem_for
from isthmus.plan.baselines import QUANTISED, baselines
from isthmus.plan.solution import MemoryOf
from isthmus.plan.types import Exit
from isthmus.profile import AccuracyRow, Profile
from isthmus.profile.measure import CODECS, Measuring, measure
from isthmus.quant import need_quantisable
from isthmus.record import Lateness
from isthmus.units import rate_bps, seconds, size_bytes

DEFAULT_SLOWDOWN = 4.0
"""How much slower than this machine the device is declared to be when nobody gives its profile."""

DEFAULT_SURE = 0.95
"""Share of requests that keep a deadline where nobody asks for another."""

CHOOSE_BITS = ("autosplit", *QUANTISED)
"""Planners that give layers few bits."""

DeviceProfile = Annotated[Path | None, typer.Option(help="Profile of the device; measured here where absent.")]
ServerProfile = Annotated[Path | None, typer.Option(help="Profile of the server; measured here where absent.")]


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
Slowdown = Annotated[
    float | None,
    typer.Option(help=f"The device is this many times slower than its profile says; {DEFAULT_SLOWDOWN:g} without one."),
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
Runs = Annotated[int, typer.Option(min=1, help="Runs of every part where a profile is measured here.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of one run.")]


@dataclass(frozen=True)
class Machines:
    """The model, ready here unless both machines are only known by their figures, and both profiles."""

    model: Model
    opened: Engine | None
    device: Profile
    server: Profile

    @property
    def engine(self) -> Engine:
        """Raises BadInput where nothing was made ready to run."""
        if self.opened is None:
            raise BadInput(
                "with --device and --server nothing runs here, so nothing can be timed or written by running"
            )
        return self.opened


def link_of(up: str, down: str, rtt: str, fixed: str = "0ms", late: float = 0.0) -> Link:
    """The link as the options say it."""
    return Link(rate_bps(up), rate_bps(down or up), seconds(rtt), seconds(fixed), late)


def limits_of(
    private: bool,
    deadline: str | None,
    memory: str | None,
    private_until: str | None = None,
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
    from isthmus.codec import make_codec

    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise BadInput("give at least one codec, such as float32")
    for name in names:
        make_codec(name)
    return names


def machines_of(
    name: str,
    batch: int,
    device: Path | None,
    server: Path | None,
    slowdown: float | None,
    runs: int,
    threads: int = 1,
    *,
    batches: Sequence[int] = (),
    names: tuple[str | None, str | None] = (None, None),
    codecs: Sequence[str] = (),
    limits: Limits | None = None,
    exits: bool = False,
    fold: bool = False,
) -> Machines:
    """Load the model, read the profiles that are given, compute those of the devices that are named (`names`: device,
    server), and measure the others here, at `batch` and at `batches`; `codecs` are timed besides the usual ones,
    with `exits` what each exit needs, and with `fold`, for few bits, the network without its normalisations. What the
    model does not allow (a batch, a node that `limits` name, few bits) is refused before anything is measured."""
    paths = {"device": device, "server": server}
    named = {which: text for which, text in zip(paths, names, strict=True) if text is not None}
    for which in named:
        if paths[which] is not None:
            raise BadInput(f"give --{which} or --{which}-profile, not both")
    model = load_model(name)
    if fold:
        need_quantisable(model)
        model = fused(model)
    at = tuple(sorted({batch, *batches}))
    for graph in [graph_of(model, size) for size in at]:
        if limits is not None and limits.private_until is not None:
            tensors_before(graph, limits.private_until)
    opened = None if len(named) == 2 else _opened(model, threads)
    given = {which: computed(model, text, at) for which, text in named.items()}
    given |= {which: read_profile(which, path, model) for which, path in paths.items() if path is not None}
    how = Measuring(at, runs, timed_codecs(codecs), exits=exits)
    here = _measured(opened, how) if opened is not None and len(given) < 2 else None
    device_profile = given.get("device", here)
    server_profile = given.get("server", here)
    assert device_profile is not None
    assert server_profile is not None
    factor = slowdown if slowdown is not None else (1.0 if "device" in given else DEFAULT_SLOWDOWN)
    if "device" not in given and slowdown is None:
        err.print(f"no device profile: the device is declared {factor:g}× slower than this machine (--slowdown)")
    return Machines(model, opened, slowed(device_profile, factor), server_profile)


def _opened(model: Model, threads: int) -> Engine:
    with progress_bar("preparing") as progress:
        return Engine.open(model, threads=threads, progress=progress)


def read_profile(which: str, path: Path, model: Model) -> Profile:
    found = read_json(path, Profile)
    if found.fingerprint != model.fingerprint:
        fold = "; for plans with --distortions profile it with --fold" if found.model == model.name else ""
        raise BadInput(f"the {which} profile is of {found.model}, not of {model.name} as it is here{fold}")
    if not found.complete:
        raise BadInput(f"the {which} profile is not complete; finish it with isthmus profile --resume")
    return found


def slowed(profile: Profile, factor: float) -> Profile:
    """The profile of a machine `factor` times slower. Raises BadInput for a factor that is not a number above zero."""
    if not 0 < factor < float("inf"):
        raise BadInput(f"a slow-down is a number above zero, not {factor}")
    machine = profile.machine.model_copy(update={"slowdown": profile.machine.slowdown * factor})
    return profile.model_copy(update={"machine": machine})


def timed_codecs(more: Sequence[str]) -> tuple[str, ...]:
    """What a profile times: the usual codecs, and these."""
    return tuple(dict.fromkeys((*CODECS, *more)))


def _measured(engine: Engine, how: Measuring) -> Profile:
    with progress_bar("profiling here") as progress:
        return measure(engine, how, taken=today(), clock=time.perf_counter, progress=progress)


def make_plan(
    machines: Machines,
    link: Link,
    limits: Limits,
    names: tuple[str, ...],
    batch: int,
    planner: str,
    codecs: Mapping[str, tuple[str, ...]],
    *,
    batches: Sequence[int] = (),
    load: float = 1.0,
    exits: tuple[Exit, ...] = (),
    past: Past | None = None,
    seen: Lateness | None = None,
    server_first: bool = False,
    bits: BitOptions | None = None,
    compare: bool = False,
    measuring: Callable[[Model, Problem], Problem] | None = None,
    accuracy: Sequence[AccuracyRow] = (),
) -> Plan:
    """Ask a planner; the codecs are `names` wherever `codecs` says nothing (pictures at the input only). `batches`:
    sizes that switch tables are wanted for; `load` multiplies the server's times; `exits` as in `Problem`; `seen`: how
    late a run was now and then;
    `server_first`: the server runs the first part, home stays the device; `bits`: for planners that choose widths;
    `compare` adds the baselines to the plan's solutions; `measuring` finds out what solutions lose; `accuracy`: what
    was measured of codecs, as in `problem_for`."""
    if planner in CHOOSE_BITS:
        need_quantisable(machines.model)
    problem = problem_for(
        graph_of(machines.model, batch),
        machines.device,
        machines.server,
        link,
        codecs={INPUT: names, **codecs},
        default_codecs=features_only(names),
        load=load,
        limits=limits,
        ready=None if machines.opened is None else [c.id for c in machines.opened.cuts],
        accuracy=accuracy,
    )
    others = tuple(graph_of(machines.model, size) for size in sorted({*batches} - {batch}))
    problem = as_run(replace(problem, batches=others, exits=exits), seen)
    if past is not None:
        problem = replace(problem, states_bps=past.states_bps, states_spread=past.spread)
    if server_first:
        problem = replace(problem, machines=problem.machines[::-1], home=1)
    problem = problem if bits is None else bits.problem(problem)
    problem = problem if measuring is None else measuring(machines.model, problem)
    plan = planner_called(planner)(problem)
    return plan.model_copy(update={"solutions": (*plan.solutions, *baselines(problem))}) if compare else plan


def features_only(names: tuple[str, ...]) -> tuple[str, ...]:
    """Codecs that can write any tensor: picture codecs are for the input."""
    return tuple(n for n in names if ":" not in n) or ("float32",)

"""`isthmus plan`: where to cut, what it should cost, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.bits import (
    Arrivals,
    Compare,
    DistortionTables,
    Literally,
    LossErrors,
    LossFile,
    MaxDistortion,
    MaxLoss,
    Narrow,
    bit_options,
)
from isthmus.cli.common import BatchOption, Json, ModelArg, Threads, batches_of, emit, out, progress_bar
from isthmus.cli.computing import DeviceName, ServerName
from isthmus.cli.edgent import CHOOSES_EXIT, Exits, ServerFirst, States, exits_for, past_of
from isthmus.cli.labelled import FirstClass, SamplesOption, ScaleOption
from isthmus.cli.machines import DeviceProfile, MachinesAsked, Runs, ServerProfile, Slowdown, machines_of
from isthmus.cli.measuring import Measuring, PlanData
from isthmus.cli.planning import (
    CHOOSE_BITS,
    Codecs,
    Deadline,
    Down,
    Fixed,
    Late,
    Memory,
    MemoryFor,
    PlanAsked,
    Planner,
    Private,
    PrivateUntil,
    Rtt,
    Sure,
    Up,
    codecs_of,
    limits_of,
    link_of,
    make_plan,
    need_widths,
)
from isthmus.cli.promising import LateFrom, lateness_of
from isthmus.cli.retiming import timer
from isthmus.cli.show_plan import show_plan
from isthmus.errors import BadInput
from isthmus.files import write_json
from isthmus.graph import graph_of
from isthmus.plan import plan_json, retime
from isthmus.plan.types import DEFAULT_SURE, USUAL_ERRORS
from isthmus.units import MOST_SLOWER


def plan(
    model: ModelArg,
    planner: Planner = "neurosurgeon",
    device_profile: DeviceProfile = None,
    server_profile: ServerProfile = None,
    device: DeviceName = None,
    server: ServerName = None,
    slowdown: Slowdown = None,
    up: Up = "20Mbit",
    down: Down = "",
    rtt: Rtt = "10ms",
    fixed: Fixed = "0ms",
    late: Late = 0.0,
    late_from: LateFrom = None,
    batch: BatchOption = 1,
    batches: Annotated[
        str, typer.Option(help="More batch sizes to prepare for, as 1,2,4: a switch table each, by `dynamic`.")
    ] = "",
    codecs: Codecs = "float32,float16,int8",
    private: Private = False,
    private_until: PrivateUntil = None,
    deadline: Deadline = None,
    sure: Sure = DEFAULT_SURE,
    memory: Memory = None,
    memory_of: MemoryFor = "accelerator",
    load: Annotated[float, typer.Option(help="The server is this many times as slow as its profile says.")] = 1.0,
    exits: Exits = "",
    states: States = None,
    server_first: ServerFirst = False,
    distortions: DistortionTables = None,
    max_loss: MaxLoss = None,
    loss_errors: LossErrors = USUAL_ERRORS,
    max_distortion: MaxDistortion = None,
    losses: LossFile = None,
    data: PlanData = "",
    scale: ScaleOption = "",
    samples: SamplesOption = None,
    first_class: FirstClass = 0,
    narrow: Narrow = 1.0,
    literal: Literally = False,
    arrivals: Arrivals = None,
    compare: Compare = False,
    best: Annotated[
        int, typer.Option("--retime", min=0, help="Time the best so many choices here before answering.")
    ] = 0,
    runs: Runs = 5,
    threads: Threads = 1,
    to: Annotated[Path | None, typer.Option("--out", help="Write the plan to this file too.")] = None,
    json: Json = False,
) -> None:
    """Decide where to cut: the plan, its cost by cause, every cut as a bar, and why.

    Example: isthmus plan zoo:mobilenet_v2 --up 8Mbit --slowdown 6

    For every rate and batch at once: isthmus plan zoo:efficientnet_b0 --planner dynamic --batches 1,4,16

    Exit and cut together: isthmus plan zoo:digits --planner edgent --exits 0.92,0.96,0.99 --deadline 20ms

    Promised by what a run showed: isthmus plan zoo:digits --deadline 20ms --late-from run.jsonl

    Without either machine at hand: isthmus plan zoo:resnet50 --device eyeriss --server tpu --up 3Mbit

    Split and bit widths together: isthmus plan zoo:digits --planner autosplit --device eyeriss --server tpu
    --uplink 3Mbit --memory 4MiB --distortions distortions.json --max-loss 1% --data digits
    """
    link, names, seen = link_of(up, down, rtt, fixed, late), codecs_of(codecs), lateness_of(late_from, late)
    measuring = None
    if data:
        measuring = Measuring(data, scale, samples, first_class, losses, baselines=compare, threads=threads)
        if planner != "autosplit":
            raise BadInput(f"--data measures what solutions of autosplit lose, not of {planner}; leave it out")
        losses = None  # whoever measures reads the file
    bits = bit_options(
        tables=distortions,
        max_loss=max_loss,
        losses=losses,
        narrow=narrow,
        loss_errors=loss_errors,
        max_distortion=max_distortion,
        literal=literal,
        arrivals=arrivals,
        device=device,
    )
    limits = limits_of(
        private=private, private_until=private_until, deadline=deadline, sure=sure, memory=memory, memory_of=memory_of
    )
    limits = bits.limits(limits)
    need_widths(limits, chosen=bits.tables is not None and planner in CHOOSE_BITS)
    sizes = batches_of(batches) if batches else ()
    if not 1 / MOST_SLOWER <= load <= MOST_SLOWER:
        raise BadInput(f"a server's load is a number from {1 / MOST_SLOWER:g} to {MOST_SLOWER:.0f}, not {load:g}")
    asked = MachinesAsked(
        model,
        batch=batch,
        batches=sizes,
        device_profile=device_profile,
        server_profile=server_profile,
        device=device,
        server=server,
        slowdown=slowdown,
        runs=runs,
        threads=threads,
    )
    machines = machines_of(
        asked, codecs=names, limits=limits, exits=planner in CHOOSES_EXIT, fold=distortions is not None
    )
    trained = "" if distortions is not None else machines.model.fingerprint  # folded it has another
    wanted = PlanAsked(
        planner,
        link,
        limits,
        names,
        batch,
        sizes,
        load=load,
        exits=exits_for(planner, model, graph_of(machines.model, batch), trained, exits),
        past=past_of(states),
        seen=seen,
        server_first=server_first,
        bits=bits,
    )
    found = make_plan(machines, wanted, measuring=measuring, compare=compare)
    if best and found.bits is not None:
        raise BadInput("--retime runs cuts in floating point, not at the widths that were chosen; leave it out")
    if best:
        with progress_bar("re-timing"):
            measured = timer(machines, link, batch, runs, exit=found.exit, server_first=server_first)
            found = retime(found, measured, best=best, within_s=limits.latency_s)
    if to is not None:
        write_json(to, found)
    names_in_order = ("server", "device") if server_first else ("device", "server")
    emit(plan_json(found), as_json=json, show=lambda: out.print(show_plan(found, names_in_order)))

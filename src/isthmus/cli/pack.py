"""`isthmus pack`: from a model to the folder that is deployed on both machines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from isthmus.bundle import Bundle
from isthmus.bundle.pack import Contents
from isthmus.bundle.pack import pack as write_bundle
from isthmus.cli.accuracy import Judged, judge
from isthmus.cli.bits import DistortionTables, LossErrors, LossFile, MaxLoss, bit_options
from isthmus.cli.common import BatchOption, Json, ModelArg, Threads, batches_of, emit, out, progress_bar, today
from isthmus.cli.edgent import ServerFirst, table_file
from isthmus.cli.labelled import FirstClass, given_samples, scale_of
from isthmus.cli.machines import (
    DeviceProfile,
    Machines,
    MachinesAsked,
    Runs,
    ServerProfile,
    Slowdown,
    machines_of,
)
from isthmus.cli.pack_bits import GivenPlan, PackNarrow, bits_asked, given_plan, parts_of, show_parts, with_parts
from isthmus.cli.planning import (
    Codecs,
    Down,
    Memory,
    MemoryFor,
    PlanAsked,
    Planner,
    Private,
    PrivateUntil,
    Rtt,
    Up,
    codecs_of,
    features_only,
    limits_of,
    link_of,
    make_plan,
    need_widths,
)
from isthmus.graph import INPUT
from isthmus.link import Link
from isthmus.plan import Plan
from isthmus.plan.types import USUAL_ERRORS
from isthmus.profile import ExitTable, Profile
from isthmus.units import show_bytes, show_seconds


def pack(
    model: ModelArg,
    to: Annotated[Path, typer.Option("--out", help="The bundle folder to write.")] = Path("bundle"),
    planner: Planner = "neurosurgeon",
    plan_file: GivenPlan = None,
    device_profile: DeviceProfile = None,
    server_profile: ServerProfile = None,
    slowdown: Slowdown = None,
    up: Up = "20Mbit",
    down: Down = "",
    rtt: Rtt = "10ms",
    batch: BatchOption = 1,
    batches: Annotated[
        str, typer.Option(help="Batch sizes to profile besides --batch, as 1,2,4,8: for `isthmus run --max-batch`.")
    ] = "",
    codecs: Codecs = "float32,float16,int8",
    private: Private = False,
    private_until: PrivateUntil = None,
    data: Annotated[
        str,
        typer.Option(
            help="Samples that calibrate ranges and judge codecs: .npz (one array an input, `labels` if any), or "
            "pictures as for profile --accuracy, made by --picture."
        ),
    ] = "",
    samples: Annotated[int, typer.Option(min=2, help="How many of the pictures, evenly spread.")] = 200,
    first_class: FirstClass = 0,
    accuracy_loss: Annotated[float, typer.Option(help="Loss a codec may cause, as a share of answers.")] = 0.01,
    picture: Annotated[
        str,
        typer.Option(help="The input is a picture: imagenet, centred, bytes, or MEAN/STD as 0.5,0.5,0.5/0.5,0.5,0.5."),
    ] = "",
    runs: Runs = 8,
    threads: Threads = 1,
    exits: Annotated[
        Path | None,
        typer.Option(
            help="Table of early exits (isthmus profile --exits); without, its own exits.json beside the model, or the "
            "table that ships with zoo:digits."
        ),
    ] = None,
    server_first: ServerFirst = False,
    distortions: DistortionTables = None,
    max_loss: MaxLoss = None,
    loss_errors: LossErrors = USUAL_ERRORS,
    losses: LossFile = None,
    narrow: PackNarrow = None,
    memory: Memory = None,
    memory_of: MemoryFor = "accelerator",
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
    json: Json = False,
) -> None:
    """Pack a model for both machines: profiles (measured here where not given), a plan, calibrated ranges, and proof
    that every pair of halves makes the whole.

    Example: isthmus pack zoo:mobilenet_v2 --out bundle --device-profile pi.json

    With few bits on the device: isthmus pack zoo:digits --plan plan.json --distortions distortions.json
    """
    options = bit_options(
        tables=distortions, max_loss=max_loss, losses=losses, narrow=narrow or 1.0, loss_errors=loss_errors
    )
    limits = limits_of(private=private, private_until=private_until, memory=memory, memory_of=memory_of)
    limits = options.limits(limits)
    need_widths(limits, chosen=options.tables is not None)
    link, names = link_of(up, down, rtt), codecs_of(codecs)
    bits = bits_asked(plan_file, options, narrow, limits)
    told = None if bits.wanted and exits is None else table_file(model, exits)
    sizes = batches_of(batches) if batches else ()
    asked = MachinesAsked(
        model,
        batch=batch,
        batches=sizes,
        device_profile=device_profile,
        server_profile=server_profile,
        slowdown=slowdown,
        runs=runs,
        threads=threads,
    )
    machines = machines_of(asked, codecs=names, exits=told is not None, fold=bits.wanted)
    table = None if told is None else told.of(machines.model.name, machines.model.fingerprint)
    plan = given_plan(bits, machines.model)
    given = given_samples(machines.model, data, picture, most=samples, first_class=first_class)
    channels = (*machines.model.inputs[0].at(1), 1, 1)[1]
    judged = judge(machines, names, None if bits.wanted else given, accuracy_loss, scale_of(picture, channels))
    wanted = PlanAsked(planner, link, limits, names, batch, server_first=server_first, bits=options)
    plan = plan or make_plan(machines, wanted, codecs=judged.codecs, accuracy=judged.rows, clipped=judged.clips)
    contents = _contents(machines, judged, plan, link, names, table)
    parts = parts_of(machines, bits, plan, link, given)
    contents = contents if parts is None else with_parts(contents, parts, names)
    with progress_bar("proving") as progress:
        bundle = write_bundle(
            machines.model, machines.engine, contents, to, packed=today(), force=force, progress=progress
        )
    emit(bundle.manifest, as_json=json, show=lambda: _show(bundle))


def _contents(
    machines: Machines, judged: Judged, plan: Plan, link: Link, names: tuple[str, ...], exits: ExitTable | None
) -> Contents:
    inputs: Mapping[str, object] = {s.name: s for s in machines.model.inputs}
    return Contents(
        device=machines.device,
        server=machines.server,
        plan=plan,
        link=link,
        clips=judged.clips,
        clip_samples=judged.samples,
        codecs={INPUT: names, **judged.codecs},
        default_codecs=features_only(names),
        pictures={} if judged.scale is None else dict.fromkeys(inputs, judged.scale),
        accuracy=judged.rows,
        exits=exits,
    )


def _show(bundle: Bundle) -> None:
    manifest = bundle.manifest
    worst = max((c.error for c in manifest.checks), default=0.0)
    size = sum(f.bytes for f in manifest.files.values())
    ready = f": {manifest.name}, {len(manifest.cuts)} cuts ready, {show_bytes(size)}"
    out.print(Text.assemble((str(bundle.path), "bold"), ready))
    out.print(f"every pair of halves gives the whole model's answer (greatest relative difference {worst:.1e})")
    if not manifest.accuracy and manifest.few_bits is None:
        out.print("what the codecs cost in accuracy was not measured: no --data was given", style="yellow")
    table = Table("", "device", "server")
    for batch in sorted({*bundle.device.batches, *bundle.server.batches}):
        table.add_row(f"whole model, batch {batch}", *(_whole(p, batch) for p in (bundle.device, bundle.server)))
    out.print(table)
    if bundle.exits is not None:
        rows = bundle.exits.rows
        out.print(f"inputs may leave at {', '.join(r.output for r in rows)}: isthmus run --early, or --exit NAME")
    if manifest.few_bits is not None:
        show_parts(manifest.few_bits)
    out.print(bundle.plan.why)


def _whole(profile: Profile, batch: int) -> str:
    """Seconds of the whole model, where that was measured."""
    part = profile.batches.get(batch)
    return "" if part is None else show_seconds(profile.typical_s(part.whole) * profile.machine.slowdown)

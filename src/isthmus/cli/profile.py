"""`isthmus profile`: how long a model takes on this machine, whole and in halves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from isthmus.cli.common import Json, ModelArg, Threads, batches_of, emit, err, out, progress_bar, today
from isthmus.cli.computing import Bits, DeviceName, computed
from isthmus.cli.exits import LossOption, RuleOption, judge_exits, show_exits
from isthmus.cli.labelled import DataOption, FirstClass, SamplesOption, ScaleOption, judge_whole, show_accuracy
from isthmus.cli.laws import Laws, Shapes, Tables, fit_laws
from isthmus.cli.machines import slowed, timed_codecs
from isthmus.cli.planning import codecs_of
from isthmus.engine import Engine, profile_clock
from isthmus.errors import BadInput
from isthmus.files import read_json, write_json
from isthmus.model import Model, fused, load_model
from isthmus.profile import Profile
from isthmus.profile.measure import Measuring, measure
from isthmus.profile.runtime_memory import measure_runtime_memory
from isthmus.units import seconds, show_seconds

_PROFILE = Path("profile.json")


def profile(
    model: ModelArg = "",
    to: Annotated[Path, typer.Option("--out", help="The profile file to write.")] = _PROFILE,
    batches: Annotated[str, typer.Option(help="Batch sizes, as 1,4,16.")] = "1",
    runs: Annotated[int, typer.Option(min=1, help="Runs of every part.")] = 8,
    threads: Threads = 1,
    slowdown: Annotated[float, typer.Option(help="Declare the machine this many times slower than measured.")] = 1.0,
    machine: Annotated[str, typer.Option(help="A name for this machine.")] = "",
    rest: Annotated[
        str, typer.Option(help="Pause before every part, as 10ms: for a machine under a quota, or that heats up.")
    ] = "0",
    codecs: Annotated[str, typer.Option(help="Codecs to time besides the usual ones, as jpeg:90.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an incomplete profile in --out.")] = False,
    fold: Annotated[
        bool, typer.Option("--fold", help="Fold normalisations first: plans with --distortions cut the network so.")
    ] = False,
    memory: Annotated[
        bool, typer.Option("--memory", help="Measure too what the runtime keeps for every kernel; some 20 s.")
    ] = False,
    device: DeviceName = None,
    bits: Bits = None,
    exits: Annotated[bool, typer.Option("--exits", help="Judge the early exits on --data; writes exits.json.")] = False,
    accuracy: Annotated[
        bool, typer.Option("--accuracy", help="Say how often the model is right on --data; writes accuracy.json.")
    ] = False,
    data: DataOption = "",
    scale: ScaleOption = "",
    samples: SamplesOption = None,
    first_class: FirstClass = 0,
    rule: RuleOption = "entropy",
    loss: LossOption = 0.005,
    regression: Laws = False,
    shapes: Shapes = 60,
    tables: Tables = None,
    json: Json = False,
) -> None:
    """Time a model here: whole, every ready head and tail, every node and codec. The file can be used elsewhere.

    Example: isthmus profile zoo:mobilenet_v2 --out pi.json --batches 1,4

    Of a machine that is not here: isthmus profile zoo:resnet50 --device eyeriss --bits 8 --out eyeriss.json

    Early exits instead of seconds: isthmus profile zoo:digits --exits --data digits --json

    How often a model is right: isthmus profile mobilenet.onnx --accuracy --data imagenet --scale centred --json

    Latency laws of this machine, for any model: isthmus profile --regression --out device.json
    """
    if regression:
        if model or device:
            raise BadInput("--regression fits laws for any model: leave the model and --device out")
        to = Path("device.json") if to == _PROFILE else to
        fit_laws(to, tables or [], shapes=shapes, runs=runs, threads=threads, machine=machine, resume=resume, json=json)
        return
    if tables:
        raise BadInput("--table is for fitting laws: give --regression too")
    if not model:
        raise BadInput("say which model, as zoo:mobilenet_v2; or --regression for the laws of this machine")
    at = batches_of(batches)
    if exits and accuracy:
        raise BadInput("give --exits or --accuracy, not both; the table of exits holds the accuracy of the last one")
    if accuracy:
        found_accuracy = judge_whole(
            model, data, scale=scale, most=samples, first_class=first_class, batch=_judged(at), threads=threads
        )
        to = Path("accuracy.json") if to == _PROFILE else to
        write_json(to, found_accuracy)
        emit(found_accuracy, as_json=json, show=lambda: show_accuracy(found_accuracy, to))
        return
    if samples is not None or first_class:
        raise BadInput("--samples and --first-class are for the accuracy of a model: give --accuracy too")
    if exits:
        table = judge_exits(model, data, scale=scale, rule=rule, loss=loss, batch=_judged(at), threads=threads)
        to = Path("exits.json") if to == _PROFILE else to
        write_json(to, table)
        emit(table, as_json=json, show=lambda: show_exits(table, to))
        return
    if data or scale:
        raise BadInput("--data and --scale are for judging a model: give --accuracy, or --exits for early ones")
    network = fused(load_model(model)) if fold else load_model(model)
    if device is None:
        if bits is not None:
            raise BadInput("--bits is for a device that is computed: give --device too")
        how = Measuring(at, runs, timed_codecs(codecs_of(codecs) if codecs else ()), slowdown, machine, seconds(rest))
        found = _measured(network, how, threads, to, read_json(to, Profile) if resume and to.exists() else None)
        found = with_memory(found) if memory else found
    else:
        if resume or machine or memory:
            raise BadInput("with --device nothing is measured: leave --resume, --machine and --memory out")
        found = slowed(computed(network, device, at, bits), slowdown)
    write_json(to, found)
    emit(found, as_json=json, show=lambda: _show(found, to))


def _judged(batches: tuple[int, ...]) -> int:
    """Samples run at a time where only answers count."""
    return 32 if batches == (1,) else max(batches)


def _measured(model: Model, how: Measuring, threads: int, to: Path, before: Profile | None) -> Profile:
    with progress_bar("preparing") as progress:
        engine = Engine.open(model, threads=threads, progress=progress)
    kept = False

    def keep(so_far: Profile) -> None:
        nonlocal kept
        kept = True
        write_json(to, so_far)

    try:
        with progress_bar("profiling") as progress:
            return measure(
                engine,
                how,
                taken=today(),
                clock=profile_clock(how.slowdown, threads),
                progress=progress,
                resume=before,
                checkpoint=keep,
            )
    except KeyboardInterrupt:
        if kept and to.exists():
            err.print(f"{to} keeps what was measured so far; go on with --resume")
        raise


def with_memory(found: Profile) -> Profile:
    """With what the runtime was measured to keep. Raises BadInput where the system does not tell."""
    kept = measure_runtime_memory()
    if kept is None:
        raise BadInput("this system does not tell how much memory a process holds: leave --memory out")
    return found.model_copy(update={"memory": kept})


def _show(found: Profile, to: Path) -> None:
    machine = found.machine
    measured = machine.kind == "measured"
    slow = f", declared {machine.slowdown:g}× slower" if machine.slowdown != 1 else ""
    where = f"{machine.cpu}, {machine.runtime}, {machine.threads} thread" if measured else machine.cpu
    out.print(Text.assemble((found.model, "bold"), f" on {machine.name} ({where}{slow})"))
    if not measured:
        out.print(f"computed by the {machine.runtime}, not measured")
    table = Table("batch", "whole", "median", "parts", "fit error heads / tails")
    for batch, part in sorted(found.batches.items()):
        spread = f"{show_seconds(part.whole.median_s)} … {show_seconds(part.whole.high_s)}"
        errors = f"{part.head_fit.error:.1%} / {part.tail_fit.error:.1%}" if measured else "sums of nodes"
        table.add_row(str(batch), show_seconds(found.typical_s(part.whole)), spread, str(len(part.heads)), errors)
    out.print(table)
    out.print(f"written to {to}")

"""`isthmus demo`: the main job, for real, in about a minute: nothing but this machine is needed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from rich.table import Table
from rich.text import Text

from isthmus.bundle import Bundle
from isthmus.bundle.pack import Contents
from isthmus.bundle.pack import pack as write_bundle
from isthmus.cli.common import Json, emit, err, out, progress_bar, today
from isthmus.cli.machines import MachinesAsked, machines_of
from isthmus.cli.planning import PlanAsked, codecs_of, make_plan
from isthmus.cli.sending import Steps, show_summary
from isthmus.demo import Compared, DigitsRow, Scene, ServerProcess, compare, digits_rows, scene_for
from isthmus.demo.folder import claim, clear
from isthmus.demo.server import use_core
from isthmus.files import write_whole
from isthmus.graph import describe, graph_of
from isthmus.link import Link, ShapedLink
from isthmus.plan import Limits
from isthmus.record import Header, Journal, Step, Summary, summarise
from isthmus.report import report
from isthmus.session import Ready, connect, ready, table_of
from isthmus.units import show_bytes, show_rate, show_seconds


class Say(Protocol):
    """Prints a line."""

    def __call__(self, text: str | Text, /) -> None: ...


_RTT_S = 0.010
_PATIENCE = 3.0
"""The device takes over after this many times what it needs for the whole network."""
_LINK = Link(up_bps=20e6, down_bps=20e6, rtt_s=_RTT_S)


def demo(
    to: Annotated[Path, typer.Option("--out", help="Folder for report.html, summary.json and the rest.")] = Path(
        "demo"
    ),
    model: Annotated[str, typer.Option(help="The network to run.")] = "zoo:mobilenet_v2",
    seconds: Annotated[float, typer.Option(min=10, max=600, help="How long to run it.")] = 36.0,
    slowdown: Annotated[float, typer.Option(min=1, help="The device is so many times slower than this machine.")] = 8.0,
    codecs: Annotated[str, typer.Option(help="How crossing tensors may be written.")] = "float32,float16,int8",
    json: Json = False,
) -> None:
    """Run a real network across a slow device and a server over a TCP link whose rate changes; kill the server in the
    middle; verify every answer; write a report.

    Example: isthmus demo --out demo
    """
    say: Say = (err if json else out).print
    names = codecs_of(codecs)
    claim(to)
    say(_act(1, f"{model}: measuring it here; the device is declared {slowdown:g}× slower than the server"))
    bundle = _packed(model, to, slowdown, names)
    table = table_of(bundle)
    scene = scene_for(table, _LINK, seconds=seconds)
    say(_story(bundle, scene))
    say(_act(2, "starting the server and the link; the server will be killed (-9) once and started again"))
    here = ready(bundle)
    use_core(0)
    steps, summary, returned_s = _perform(here, scene, to / "journal.jsonl", say)
    say(_act(3, "what the network answered"))
    compared = compare([s for s in steps if s.kind == "request"], table, _LINK, scene.trace.rate_at)
    say(_act(4, "real accuracy: the trained digits network, cut, with fewer and fewer bits on the wire"))
    digits = digits_rows()
    say(_act(5, "the report"))
    report(to / "journal.jsonl", to / "report.html", bundle.path / "plan.json")
    row = _row(summary, scene, returned_s, compared, digits, steps)
    write_whole(to / "summary.json", (json_text(row) + "\n").encode())
    emit(row, as_json=json, show=lambda: _show(summary, compared, digits, to))
    if summary.lost or summary.wrong or len(summary.cuts_used) < 3:
        raise typer.Exit(1)


def json_text(row: Mapping[str, Any]) -> str:
    """One JSON document, readable."""
    return json.dumps(row, indent=1, allow_nan=False)


def _packed(model: str, to: Path, slowdown: float, names: tuple[str, ...]) -> Bundle:
    machines = machines_of(MachinesAsked(model, slowdown=slowdown))
    plan = make_plan(machines, PlanAsked("neurosurgeon", _LINK, Limits(), names))
    contents = Contents(machines.device, machines.server, plan, _LINK, default_codecs=names)
    clear(to)
    with progress_bar("proving halves") as progress:
        return write_bundle(machines.model, machines.engine, contents, to / "bundle", packed=today(), progress=progress)


def _story(bundle: Bundle, scene: Scene) -> str:
    found = describe(graph_of(bundle.model(weights=False)))
    device, server = (p.batches[1].whole.low_s * p.machine.slowdown for p in (bundle.device, bundle.server))
    rates = " → ".join(show_rate(r) for r in scene.trace.rates_bps)
    return (
        f"    {found.parameters / 1e6:.1f} M parameters, {found.macs / 1e9:.2f} GMACs, {found.compressive_count} "
        f"compressive bottlenecks, input {show_bytes(found.input_bytes)}\n"
        f"    the whole network: {show_seconds(device)} on the device, {show_seconds(server)} on the server\n"
        f"    the link: {rates}; best places by rate: {', '.join(scene.places)}"
    )


def _perform(here: Ready, scene: Scene, journal: Path, say: Say) -> tuple[list[Step], Summary, float]:
    """The run itself: requests one after the other for the length of the scene. Also when the server was back."""
    returned: list[float] = []
    manifest = here.bundle.manifest
    inputs = [here.engine.model.random_inputs(1, seed) for seed in range(8)]
    with ServerProcess(here.bundle.path) as server, ShapedLink(server.address, scene.trace, delay_s=_RTT_S / 2) as link:
        header = Header(
            model=manifest.name,
            fingerprint=manifest.fingerprint,
            started=today(),
            device=f"this machine, {here.bundle.device.machine.slowdown:g}× slowed",
            server="this machine",
            link="token bucket in a proxy, 10 ms round trip",
            link_trace=tuple(zip(map(float, scene.trace.times_s), map(float, scene.trace.rates_bps), strict=True)),
            cut_order=tuple(c.id for c in here.engine.cuts),
        )
        with Journal(journal, header) as log:
            steps = Steps(log)
            whole_s = here.bundle.device.batches[1].whole.low_s * here.bundle.device.machine.slowdown
            with connect(
                here,
                link.address,
                deadline_s=_PATIENCE * whole_s,
                journal=steps,
                verify=True,
                true_bps=scene.trace.rate_at,
            ) as session:
                link.set_rate(scene.trace)  # the trace begins with the first request
                start = time.monotonic()
                killer = threading.Thread(
                    target=_kill_and_restart, args=(server, scene, start, say, returned), daemon=True
                )
                killer.start()
                asked, told = 0, -1.0
                while (now := time.monotonic() - start) < scene.seconds:
                    asked += 1
                    step = session.infer(inputs[asked % len(inputs)]).step
                    if now - told >= 1.0:
                        told = float(int(now))
                        say(_line(step, scene))
                killer.join()
            if (unwritten := session.unwritten) is not None:
                raise unwritten
        return steps.all, summarise(steps.all, requests=asked, link_trace=header.link_trace), returned[0]


def _kill_and_restart(server: ServerProcess, scene: Scene, start: float, say: Say, returned: list[float]) -> None:
    time.sleep(max(0.0, start + scene.killed_s - time.monotonic()))
    server.kill()
    say(Text("    the server was killed (-9)", "red"))
    time.sleep(max(0.0, start + scene.restarted_s - time.monotonic()))
    server.start()
    returned.append(time.monotonic() - start)
    say(Text("    the server is back", "green"))


def _act(number: int, what: str) -> Text:
    return Text.assemble((f"{number}/5", "bold"), f" {what}")


def _line(step: Step, scene: Scene) -> Text:
    colour = {"device": "blue", "split": "green", "server": "magenta"}[step.ran]
    believed = "?" if step.estimate_bps is None else show_rate(step.estimate_bps)
    return Text.assemble(
        f"  {step.t_s:4.0f} s {show_rate(scene.trace.rate_at(step.t_s)):>11} (believed {believed:>11})  ",
        (f"{step.ran:6} {step.cut:12.12}", colour),
        f" {show_seconds(step.seconds.total):>7}",
        ("  fell back" if step.trouble else "", "red"),
    )


def _row(
    summary: Summary,
    scene: Scene,
    returned_s: float,
    compared: Compared | None,
    digits: tuple[DigitsRow, ...],
    steps: list[Step],
) -> dict[str, Any]:
    back = [s.t_s for s in steps if s.kind == "request" and s.t_s > scene.restarted_s and s.ran != "device"]
    return {
        **summary.model_dump(mode="json"),
        "server_killed_s": scene.killed_s,
        "server_returned_s": returned_s,
        "server_used_again_s": min(back) if back else None,
        "link": [[float(t), float(r)] for t, r in zip(scene.trace.times_s, scene.trace.rates_bps, strict=True)],
        "compared": None if compared is None else compared.model_dump(mode="json"),
        "digits": [d.model_dump(mode="json") for d in digits],
    }


def _show(summary: Summary, compared: Compared | None, digits: tuple[DigitsRow, ...], to: Path) -> None:
    show_summary(summary)
    if compared is not None:
        table = Table("mean latency", "", title="this run against choices that never move (computed, same moments)")
        table.add_row("isthmus, measured", show_seconds(compared.measured_s), style="bold")
        table.add_row("always on the device", show_seconds(compared.device_only_s))
        table.add_row("always on the server", show_seconds(compared.server_only_s))
        table.add_row(f"best single choice: {compared.best_single}", show_seconds(compared.best_single_s))
        table.add_row("perfect foresight", show_seconds(compared.clairvoyant_s))
        out.print(table)
    table = Table("codec", "bytes a picture", "accuracy", "loss", title=f"zoo:digits cut after {digits[0].cut}")
    for d in digits:
        table.add_row(d.codec, str(d.bytes), f"{d.accuracy:.1%}", f"{d.loss:+.1%}")
    out.print(table)
    page, numbers = str(to / "report.html"), to / "summary.json"
    out.print(Text.assemble("open ", (page, "bold"), f"; numbers in {numbers}"))

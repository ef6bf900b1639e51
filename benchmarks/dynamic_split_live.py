"""On a real link that follows real traces: is dynamic split computing faster than every choice that never changes?

The device is a process whose network and codecs run as many times slower as its profile declares (`--slowdown`; see
docs/decisions/0003) and has one core, the server has the other, between them lie two namespaces and a shaped link with
10 ms of round trip that replays a trace at its own pace (1 Hz). Every policy plays the same part of the trace, requests
at the same moments (later where the one before is not answered yet): the live chooser, a clairvoyant that was told the
trace, device only, the whole on the server (raw tensor, JPEG), and every compressive bottleneck. The live chooser and
the clairvoyant take turns, `--rounds` times each; the others play between, the one expected to be best of them after
every second round besides: a machine wanders from minute to minute. Its host takes from it, too: up to a fifth of the
time of a replay was seen, and its requests were as much slower. From whom more than a twenty-fifth was taken plays
again, up to three times, and the least disturbed counts (`stolen`). Those that simulation expects to take a quarter as
long again as the best of them play a third of the part.

The traces (environment variable ISTHMUS_DATA) are scaled: their median is half of, as much as, twice or four times the
rate at which the device alone and the best that sends something tie; downlink is four times uplink; below a tenth of
the tie they are clipped. Of all files, parts and scales of a set the one is taken in which somebody who knows the link
of half a second ago gains most on the best choice that never changes, among those in which the best cut changes at
least three times: where there is something to switch for. File, part and scale are in the output.

A policy's mean is over the time of the part: every moment counts with the latency of the request begun last; of several
replays it is the median (`replays_ms` has each). A mean over requests would flatter whoever is stuck, for he asks less
often there; it is in the output as `per_request_ms`.

Asked: regret (over the clairvoyant's of the same round, median; `regret_priced`: over the clairvoyant's as priced;
`regret_as_it_went`: the same, machines as fast as in that very replay; `regret_of_choices`: dynamic's choices as priced
too) at most 5 %; gain over the best static plan at least 10 %; a decision within 50 µs; requests until the cut is right
after a step at most 2; the mean of the same trace simulated within 10 % of the real one. What profile and simulation
know of machines and link at that hour comes from seventy requests before each cell; what is simulated to be compared
takes the machines as fast as they were meanwhile, in the requests of those that never change. `lost_ms` says why.

A cell is a network and a set of traces, or a network and `steps`. Each takes 7 to 13 minutes and stands on its own, so
that they can be run one at a time, when the machine is quiet: `--into FILE` adds what is run to the cells that the file
holds, `--bundles DIR` keeps the packed networks. `--parts ''` only packs, `--models ''` only shows (or draws) the file.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from live_judging import GRID_S, LEAD_S, Replay, judged, lost, over_time, priced, regrets, summed, typical
from live_parts import DOWN, part_of, tie_bps
from live_picture import draw_live
from live_tables import markdown, show
from shaped_runs import PORT, on_core, pack_as_used, serving
from stolen import Stolen

from isthmus.adapt import Fixed, Habits, TableChooser
from isthmus.bundle import Bundle, open_bundle
from isthmus.codec import PictureScale, make_codec
from isthmus.graph import INPUT, OUTPUT, bottlenecks, graph_of
from isthmus.link import Link
from isthmus.link.testbed import ShapedNetwork
from isthmus.link.trace import Trace
from isthmus.plan import CostTable
from isthmus.record import Choice, Chooser, Step, read_journal
from isthmus.session import table_of
from isthmus.simulate import Load, Requests, World, play, seconds_of_all

TRACES = ("ghent_4g", "us_5g_iperf_uplink")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
JPEG = "jpeg:95"
"""The lowest quality that keeps the accuracy of MobileNetV2 within a point on ImageNet pictures."""
CODECS, PICTURE = f"float32,float16,int8,{JPEG}", ("--picture", "0.485,0.456,0.406/0.229,0.224,0.225")
STEPS, TURNS = "steps", 3
STOLEN, TRIES = 0.04, 3
"""A replay from which the host of a virtual machine took more than this share of its time is played again."""
HOPELESS = 1.25
"""What is expected to take this much longer than the best that never changes plays a third of the part."""
Name = tuple[str, str]


@dataclass(frozen=True)
class Settings:
    """What holds for a whole run."""

    seconds: float
    rounds: int
    every_s: float
    delay_s: float = 0.005
    mtu: int = 576


class Device:
    """The process on the device's side."""

    def __init__(self, net: ShapedNetwork, bundle: Path, picture: Path, keep: Path, settings: Settings) -> None:
        self.net, self.keep, self.settings = net, keep, settings
        script = str(Path(__file__).with_name("live_device.py"))
        line = [*on_core(0), sys.executable, script, str(bundle), f"{net.address('server')}:{PORT}", str(picture)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = net.start("device", line, **pipes)
        assert process.stdin is not None
        assert process.stdout is not None
        self._orders, self._answers = process.stdin, process.stdout
        self._read()

    def play(self, name: str, trace: Trace, link: Link, **who: Any) -> tuple[list[Step], dict[str, float]]:
        """One replay (`live_device.Order`): the requests, those of the lead too, and how long decisions took."""
        journal = self.keep / f"{name}.jsonl"
        self.net.set_rate(trace, trace.scaled(DOWN))
        order = {
            "name": name,
            "start_s": time.monotonic(),
            "until_s": trace.duration_s,
            "every_s": self.settings.every_s,
            "link": (link.up_bps, link.down_bps, link.rtt_s, link.fixed_s),
            "trace": trace.scaled(self.net.goodput).row(),
            "journal": str(journal),
            **who,
        }
        stolen = Stolen()
        self._orders.write(json.dumps(order) + "\n")
        self._orders.flush()
        told = self._read() | {"stolen": stolen.share}
        _, steps = read_journal(journal)
        return [s for s in steps if s.kind == "request"], told

    def _read(self) -> dict[str, float]:
        line = self._answers.readline()
        if not line:
            raise SystemExit("the device's process ended")
        found: dict[str, float] = json.loads(line)
        return found


@contextmanager
def machines(bundle: Path, picture: Path, keep: Path, settings: Settings) -> Iterator[Device]:
    """Server and device at work, the link between them."""
    with ShapedNetwork("20Mbit", delay_s=settings.delay_s, mtu=settings.mtu) as net:
        host = net.address("server")
        server = net.start("server", [*on_core(1), *serving(bundle, host)], stdout=subprocess.PIPE)
        assert server.stdout is not None
        server.stdout.readline()
        yield Device(net, bundle, picture, keep, settings)


def calibrated(device: Device, table: CostTable, rate_bps: float) -> tuple[Link, float, float]:
    """(the link with its round trip and the fixed cost of a request, how slow the device is now beside its profile, the
    server): what the first second of use would show, from requests at a constant rate."""
    goodput = device.net.goodput
    plain = Link(rate_bps * goodput, DOWN * rate_bps * goodput, 2 * device.settings.delay_s)
    constant = Trace.of([0.0], [rate_bps], duration_s=LEAD_S + 1.7)
    split = next(
        n for n in zip(table.cuts, table.codecs, strict=True) if n[0] not in (INPUT, OUTPUT) and n[1] == "int8"
    )
    names = ((INPUT, JPEG), split, (OUTPUT, "float32"))
    found: dict[Name, list[Step]] = {name: [] for name in names}
    for name in names * TURNS:  # in turns: what disturbs the machine for seconds then disturbs the smaller part of each
        steps, _ = device.play("calibration", constant, plain, choice=name)
        found[name] += [s for s in steps if s.t_s >= LEAD_S]
    sent = [*found[INPUT, JPEG], *found[split]]
    rtt_s = float(np.median([s.evidence.rtt_s for s in sent if s.evidence.rtt_s is not None]))
    fixed = [
        s.seconds.up + s.seconds.down + s.seconds.queue
        - rtt_s - 8 * (s.up_bytes / plain.up_bps + s.down_bytes / plain.down_bps)
        for s in sent
    ]  # fmt: skip
    link = replace(plain, rtt_s=rtt_s, fixed_s=max(0.0, float(np.median(fixed))))
    return link, *speeds(table, found[OUTPUT, "float32"], found[INPUT, JPEG])


def speeds(table: CostTable, alone: Sequence[Step], sent: Sequence[Step]) -> tuple[float, float]:
    """How many times as long as their profiles say device and server took, in requests that ran all on the device and
    in others that the server got as JPEG."""
    device_s = table.device_s[row_of(table, (OUTPUT, "float32"))]
    server_s = table.server_s[row_of(table, (INPUT, JPEG))]
    here = np.median([s.seconds.local / device_s for s in alone])
    there = np.median([(s.seconds.tail + s.seconds.decode) / server_s for s in sent])
    return float(here), float(there)


def row_of(table: CostTable, name: Name) -> int:
    return list(zip(table.cuts, table.codecs, strict=True)).index(name)


def policies(bundle: Bundle, table: CostTable, world: World, asked: Requests) -> dict[str, Name]:
    """Every choice that never changes: device, server raw and as JPEG, and every compressive bottleneck with the codec
    that is best for it on this trace."""
    names = list(zip(table.cuts, table.codecs, strict=True))
    found: dict[str, Name] = {"device": (OUTPUT, "float32"), "server": (INPUT, "float32"), "server/jpeg": (INPUT, JPEG)}
    for place in bottlenecks(graph_of(bundle.model(weights=False)), "block"):
        of = [n for n in names if n[0] == place.cut.id]
        if place.compressive and of:
            found[f"cut:{place.cut.id}"] = min(of, key=lambda n: simulated(world, asked, Fixed(choice(n))))
    return found


def choice(name: Name) -> Choice:
    return Choice(cut=name[0], codec=name[1])


def simulated(world: World, asked: Requests, chooser: Chooser) -> float:
    """Mean seconds over the time after the lead, in virtual time."""
    return over_time((play(world, chooser, asked).steps, asked.until_s or 0.0))


def cell(device: Device, bundle: Bundle, world: World, link: Link, trace: Trace) -> dict[str, Any]:
    """Every policy over one trace."""
    settings, table = device.settings, world.sizes.least.table
    world = replace(world, up=trace.scaled(device.net.goodput))
    asked = Requests(until_s=trace.duration_s, every_s=settings.every_s)
    fixed = policies(bundle, table, world, asked)
    before = {name: simulated(world, asked, Fixed(choice(row))) for name, row in fixed.items()}
    third = LEAD_S + settings.seconds / 3
    until_s = {name: third if s > HOPELESS * min(before.values()) else trace.duration_s for name, s in before.items()}
    orders: dict[str, dict[str, Any]] = {"dynamic": {}, "clairvoyant": foreseen(world, trace.duration_s)}
    orders |= {name: {"choice": row} for name, row in fixed.items()}
    replays: dict[str, list[Replay]] = {name: [] for name in orders}
    stolen: dict[str, list[float]] = {name: [] for name in orders}
    told: list[dict[str, float]] = []
    for name in in_turns(list(fixed), min(before, key=lambda n: before[n]), settings.rounds):
        shown = trace.part(0, until_s.get(name, trace.duration_s))
        file = f"{name.replace('/', '_').replace(':', '_')}_{len(replays[name])}"
        share, found, decisions = undisturbed(device, file, shown, link, orders[name])
        stolen[name].append(share)
        if name in fixed and sum(s.cut != fixed[name][0] for s in found) > len(found) / 10:
            raise SystemExit(f"{name} was not what ran: {next(s.trouble for s in found if s.trouble)}")
        replays[name].append((found, shown.duration_s))
        told += [decisions] if name == "dynamic" else []
    every = {name: [s for steps, _ in replays[name] for s in steps] for name in ("device", "server/jpeg")}
    slow, load = speeds(table, every["device"], every["server/jpeg"])
    world = replace(world, device_load=Load.constant(slow), load=Load.constant(load))
    expected = {
        name: simulated(world, replace(asked, until_s=until_s[name]), Fixed(choice(row))) for name, row in fixed.items()
    }
    expected["dynamic"] = simulated(world, asked, TableChooser(replace(table, link=link), Habits()))
    expected["clairvoyant"] = typical(priced(world, one) for one in replays["clairvoyant"])
    rows = {
        name: {
            **summed(replays[name], expected[name], table),
            "codec": fixed.get(name, ("", ""))[1],
            "stolen": stolen[name],
            "whole_part": until_s.get(name) != third,
        }
        for name in orders
    }
    decision = {key: float(np.median([one[key] for one in told])) for key in told[0]}
    found_then = {"device_then": slow, "server_then": load, "decision_us": decision, "policies": rows}
    found_then |= {"link": world.up.row(), "lost_ms": lost(replays["dynamic"], replays["clairvoyant"])}
    return {**found_then, **judged(rows), **regrets(world, replays["dynamic"], table)}


def undisturbed(
    device: Device, name: str, trace: Trace, link: Link, who: dict[str, Any]
) -> tuple[float, list[Step], dict[str, float]]:
    """One replay, and the share of the machine that its host took meanwhile: where that was more than `STOLEN`, it is
    played again, and the one from which least was taken counts."""
    tries: list[tuple[float, list[Step], dict[str, float]]] = []
    while not tries or (tries[-1][0] > STOLEN and len(tries) < TRIES):
        found, told = device.play(name + "_again" * len(tries), trace, link, **who)
        tries.append((told.pop("stolen"), found, told))
    return min(tries, key=lambda one: one[0])


def foreseen(world: World, until_s: float) -> dict[str, Any]:
    """What to take when, for somebody who was told the trace: whatever ends first."""
    table, moments = world.sizes.least.table, np.arange(0, until_s, GRID_S)
    best = seconds_of_all(world, moments).argmin(1)
    turns = np.concatenate([[0], np.flatnonzero(np.diff(best)) + 1])
    return {"moments_s": moments[turns].tolist(), "choices": [(table.cuts[i], table.codecs[i]) for i in best[turns]]}


def in_turns(fixed: Sequence[str], best: str, rounds: int) -> Iterator[str]:
    """The order of play: dynamic and clairvoyant so often, now one first and now the other; the others between, each
    once, and the `best` of them after every second round besides."""
    for k in range(rounds):
        yield from ("dynamic", "clairvoyant")[:: -1 if k % 2 else 1]
        yield from fixed[k::rounds]
        if k % 2:
            yield best


def steps_lag(device: Device, world: World, link: Link, tie: float) -> dict[str, Any]:
    """Requests until the choice is right (within 5 % of the best at the true rate) after each of four steps of rate."""
    goodput = device.net.goodput
    rates = [tie * f / goodput for f in (3.0, 0.25, 3.0, 0.25, 3.0)]
    trace = Trace.of([0.0, *(LEAD_S + 2.5 + 4 * k for k in range(4))], rates, duration_s=LEAD_S + 18)
    steps, _ = device.play("steps", trace, link)
    table, lags = world.sizes.least.table, []
    for begin_s, rate in zip(trace.times_s[1:].tolist(), rates[1:], strict=True):
        seconds = table.latency_s(rate * goodput, DOWN * rate * goodput, link.rtt_s)
        after = [s for s in steps if s.t_s >= begin_s]
        right = [seconds[row_of(table, (s.cut, s.codec))] <= 1.05 * seconds.min() for s in after]
        lags.append({"to_mbit": rate / 1e6, "requests_wrong": right.index(True) if any(right) else len(right)})
    return {"lags": lags, "worst": max(row["requests_wrong"] for row in lags)}


def picture(folder: Path, data: Path) -> Path:
    """A photograph as the network takes it, one whose JPEG is about as large as those of most; saved for the device."""
    from PIL import Image

    scale = PictureScale(MEAN, STD)
    codec = make_codec(JPEG, picture=scale)
    found = []
    with zipfile.ZipFile(data / "images" / "imagenet_val_227_650.zip") as archive:
        pictures = [n for n in archive.namelist() if n.lower().endswith((".jpg", ".jpeg", ".png"))][:24]
        for name in pictures:
            with Image.open(io.BytesIO(archive.read(name))) as opened:
                pixels = np.asarray(opened.convert("RGB").resize((224, 224)))[None]
            x = scale.from_pixels(pixels)
            found.append((abs(len(codec.dump(x)) - codec.payload_bytes(x.shape, 4)), x))
    target = folder / "picture.npy"
    np.save(target, min(found, key=lambda f: f[0])[1])
    return target


def measure(
    model: str, parts: Sequence[str], bundle: Path, keep: Path, data: Path, settings: Settings
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The cells of one network, each with its calibration."""
    opened = open_bundle(bundle)
    plain = table_of(opened)
    keep.mkdir(parents=True, exist_ok=True)
    with machines(bundle, picture(keep, data), keep, settings) as device:
        for name in parts:
            device.keep = keep / name
            device.keep.mkdir(exist_ok=True)
            tie = tie_bps(plain, Link(1e6, 1e6, 2 * settings.delay_s))
            link, slow, load = calibrated(device, plain, 2 * tie / device.net.goodput)
            table = replace(plain, link=link)
            tie = tie_bps(replace(table, device_s=slow * table.device_s, server_s=load * table.server_s), link)
            nominal = Trace.of([0.0], [tie])
            world = World({1: table}, nominal, device_load=Load.constant(slow), load=Load.constant(load))
            facts = {"rtt_ms": link.rtt_s * 1e3, "fixed_ms": link.fixed_s * 1e3, "device_now": slow, "server_now": load}
            facts["tie_mbit"] = tie / 1e6
            if name == STEPS:
                yield f"{short(model)}/{name}", {**facts, **steps_lag(device, world, link, tie)}
                continue
            trace, told = part_of(data / "traces" / name, world, settings.seconds, tie, device.net.goodput)
            yield f"{short(model)}/{name}", {**facts, **told, **cell(device, opened, world, link, trace)}


def short(model: str) -> str:
    """A network's name without where it comes from."""
    return model.rpartition(":")[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--models", default="zoo:efficientnet_b0,zoo:mobilenet_v2")
    parser.add_argument("--parts", default=",".join((*TRACES, STEPS)), help="sets of traces, and `steps`")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each trace, for each policy")
    parser.add_argument("--rounds", type=int, default=6, help="how often dynamic and clairvoyant play it")
    parser.add_argument("--every-ms", type=float, default=203.0, help="between requests; out of step with the trace")
    parser.add_argument("--slowdown", type=float, default=6.67, help="of the device, declared in its profile")
    parser.add_argument("--runs", type=int, default=5, help="of every part, for the profiles")
    parser.add_argument("--bundles", type=Path, help="bundles by model name; those missing are packed there")
    parser.add_argument("--keep", type=Path, help="keep the journals here, for `isthmus report`")
    parser.add_argument("--into", type=Path, help="a result to add these cells to; written after each")
    parser.add_argument("--markdown", type=Path, help="write the documentation's table here")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw rate, choices and latency of each cell")
    options = parser.parse_args()
    data = os.environ.get("ISTHMUS_DATA")
    if not data:
        raise SystemExit("ISTHMUS_DATA is not set: traces and pictures are needed")
    with suppress(PermissionError):
        os.nice(-10)  # and so for all that is started from here: the link's relay, too, goes before whatever else runs
    settings = Settings(options.seconds, options.rounds, options.every_ms / 1e3)
    result: dict[str, Any] = {"cells": {}}
    if options.into and options.into.exists():
        result = json.loads(options.into.read_text())
    told = {**vars(settings), "slowdown": options.slowdown, "jpeg": JPEG, "down_over_up": DOWN}
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.bundles or Path(scratch)
        for model in filter(None, options.models.split(",")):
            bundle = folder / short(model)
            if not bundle.exists():
                pack_as_used(model, bundle, options.slowdown, options.runs, CODECS, PICTURE)
            keep = (options.keep or Path(scratch) / "journals") / short(model)
            parts = list(filter(None, options.parts.split(",")))
            for name, found in measure(model, parts, bundle, keep, Path(data), settings) if parts else ():
                result = {"settings": told, "cells": {**result["cells"], name: found}}
                if options.into:
                    options.into.write_text(json.dumps(result))
    for path, made in ((options.markdown, markdown), (options.picture, draw_live)):
        if path:
            path.write_text(made(result["cells"]))
    if options.json:
        print(json.dumps(result))
        return
    show(result["cells"])


if __name__ == "__main__":
    main()

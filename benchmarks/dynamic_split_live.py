"""On a real link that follows real traces: is dynamic split computing faster than every choice that never changes?

The device is a process with a share of one core, the server has the other core, between them lie two namespaces and a
shaped link with 10 ms of round trip that replays a trace at its own pace (1 Hz). Every policy plays the same part of
the trace, one policy after the other and then all of them again (`--rounds`), for a machine under a quota wanders from
minute to minute; requests at the same moments (later where the one before is not answered yet): the live chooser, a
clairvoyant that was told the trace, device only, the whole on the server (raw tensor, JPEG), and every compressive
bottleneck. Those that simulation expects to take half as long again as the best of them play a third of the part.

The traces (environment variable ISTHMUS_DATA) are scaled: their median is half of, as much as, twice or four times the
rate at which the device alone and the best that sends something tie; downlink is four times uplink; below a tenth of
the tie they are clipped. Of all files, parts and scales of a set the one is taken in which somebody who knows the link
of half a second ago gains most on the best choice that never changes, among those in which the best cut changes at
least three times: where there is something to switch for. File, part and scale are in the output.

A policy's mean is over the time of the part: every moment counts with the latency of the request begun last. A mean
over requests would flatter whoever is stuck, for he asks less often there; it is in the output as `per_request_ms`.

Asked: regret (mean over the clairvoyant's mean, both as they ran; `regret_priced` is over the clairvoyant's mean as
priced) at most 5 %; gain over the best static plan at least 10 %; a decision within 50 µs; requests until the cut is
right after a step at most 2; the mean of the same trace simulated within 10 % of the real one. What profile and
simulation know of machines and link at that hour comes from a dozen requests before the first trace.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from live_judging import LEAD_S, Replay, judged, over_time, priced, summed
from shaped_runs import PORT, on_core, packed, serving

from isthmus.adapt import Fixed, Habits, TableChooser
from isthmus.bundle import Bundle, open_bundle
from isthmus.codec import PictureScale, make_codec
from isthmus.graph import INPUT, OUTPUT, bottlenecks, graph_of
from isthmus.link import Link, read_trace
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
PACKING = ("--codecs", f"float32,float16,int8,{JPEG}", "--picture", "0.485,0.456,0.406/0.229,0.224,0.225")
DOWN = 4.0
GRID_S = 0.01
LATE_NEWS_S = 0.5
FEWEST_CHANGES = 3
MEDIANS = (0.5, 1.0, 2.0, 4.0)
"""Of a trace, over the tie: what it is scaled to."""
HOPELESS = 1.5
"""What is expected to take this much longer than the best that never changes plays a third of the part."""
Name = tuple[str, str]


@dataclass(frozen=True)
class Settings:
    """What holds for a whole run."""

    seconds: float
    rounds: int
    every_s: float
    share: float
    delay_s: float = 0.005
    mtu: int = 576


class Device:
    """The process on the device's side."""

    def __init__(self, net: ShapedNetwork, bundle: Path, picture: Path, keep: Path, settings: Settings) -> None:
        self.net, self.keep, self.settings = net, keep, settings
        script = str(Path(__file__).with_name("live_device.py"))
        line = [*on_core(0), sys.executable, script, str(bundle), f"{net.address('server')}:{PORT}", str(picture)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = net.start("device", line, cpu_share=settings.share, **pipes)
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
        self._orders.write(json.dumps(order) + "\n")
        self._orders.flush()
        told = self._read()
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
    server): what the first second of use would show, from a few requests at a constant rate."""
    goodput = device.net.goodput
    plain = Link(rate_bps * goodput, DOWN * rate_bps * goodput, 2 * device.settings.delay_s)
    constant = Trace.of([0.0], [rate_bps], duration_s=LEAD_S + 2.5)
    split = next(
        n for n in zip(table.cuts, table.codecs, strict=True) if n[0] not in (INPUT, OUTPUT) and n[1] == "int8"
    )
    found = {}
    for name in ((INPUT, JPEG), split, (OUTPUT, "float32")):
        steps, _ = device.play("calibration", constant, plain, choice=name)
        found[name] = [s for s in steps if s.t_s >= LEAD_S]
    rows = {name: row_of(table, name) for name in found}
    here = [s.seconds.local / table.device_s[rows[OUTPUT, "float32"]] for s in found[OUTPUT, "float32"]]
    there = [(s.seconds.tail + s.seconds.decode) / table.server_s[rows[INPUT, JPEG]] for s in found[INPUT, JPEG]]
    sent = [*found[INPUT, JPEG], *found[split]]
    rtt_s = float(np.median([s.evidence.rtt_s for s in sent if s.evidence.rtt_s is not None]))
    fixed = [
        s.seconds.up + s.seconds.down + s.seconds.queue
        - rtt_s - 8 * (s.up_bytes / plain.up_bps + s.down_bytes / plain.down_bps)
        for s in sent
    ]  # fmt: skip
    link = replace(plain, rtt_s=rtt_s, fixed_s=max(0.0, float(np.median(fixed))))
    return link, float(np.median(here)), float(np.median(there))


def row_of(table: CostTable, name: Name) -> int:
    return list(zip(table.cuts, table.codecs, strict=True)).index(name)


def tie_bps(table: CostTable, link: Link) -> float:
    """The rate at which the device alone is as fast as the best that sends something."""
    local = table.up_bytes + table.down_bytes == 0

    def offload_wins(bps: float) -> bool:
        seconds = table.latency_s(bps, DOWN * bps, link.rtt_s)
        return bool(seconds[~local].min() < seconds[local].min())

    low, high = 1e4, 1e9
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if offload_wins(middle) else (middle, high)
    return high


def part_of(folder: Path, world: World, seconds: float, tie: float, goodput: float) -> tuple[Trace, dict[str, Any]]:
    """The part of a set of traces with most to switch for, as wire rates with the lead before it, and where it is."""
    best: tuple[float, Trace, dict[str, Any]] | None = None
    for file, median in itertools.product(sorted(folder.iterdir()), MEDIANS):
        trace = read_trace(file)
        scale = median * tie / goodput / float(np.median(trace.rates_bps))
        scaled = trace.scaled(scale).clipped(0.1 * tie / goodput)
        for start_s in np.arange(0, scaled.duration_s - seconds, seconds):
            piece = scaled.part(start_s, start_s + seconds)
            gain, changes = to_switch_for(replace(world, up=piece.scaled(goodput)), seconds)
            if changes >= FEWEST_CHANGES and (best is None or gain > best[0]):
                told = {"file": file.name, "start_s": float(start_s), "scale": scale, "late_news_gain": gain}
                best = gain, piece, {**told, "changes": changes, "mean_mbit": piece.mean_bps / 1e6}
    if best is None:
        raise SystemExit(f"{folder} holds no trace in which the best cut changes within {seconds:g} s")
    _, piece, told = best
    times = np.concatenate([[0.0], piece.times_s[1:] + LEAD_S])
    return Trace(times, piece.rates_bps, seconds + LEAD_S), told


def to_switch_for(world: World, seconds: float) -> tuple[float, int]:
    """(what somebody gains who knows the link of half a second ago, how often the best cut changes)."""
    late, cuts = round(LATE_NEWS_S * 10), world.sizes.least.table.cuts
    every = seconds_of_all(world, np.arange(0, seconds, 0.1))
    rows = every.argmin(1)
    known = np.concatenate([rows[:1].repeat(late), rows[:-late]])
    gain = 1 - float(every[np.arange(len(rows)), known].mean() / every.mean(0).min())
    return gain, sum(cuts[a] != cuts[b] for a, b in pairwise(rows))


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
    return over_time([(play(world, chooser, asked).steps, asked.until_s or 0.0)])


def cell(device: Device, bundle: Bundle, world: World, link: Link, trace: Trace) -> dict[str, Any]:
    """Every policy over one trace."""
    settings, table = device.settings, world.sizes.least.table
    world = replace(world, up=trace.scaled(device.net.goodput))
    asked = Requests(until_s=trace.duration_s, every_s=settings.every_s)
    moments = np.arange(0, trace.duration_s, GRID_S)
    best = seconds_of_all(world, moments).argmin(1)
    turns = np.concatenate([[0], np.flatnonzero(np.diff(best)) + 1])
    known = {
        "moments_s": moments[turns].tolist(),
        "choices": [(table.cuts[i], table.codecs[i]) for i in best[turns]],
    }
    fixed = policies(bundle, table, world, asked)
    expected = {name: simulated(world, asked, Fixed(choice(row))) for name, row in fixed.items()}
    expected["dynamic"] = simulated(world, asked, TableChooser(replace(table, link=link), Habits()))
    orders: dict[str, dict[str, Any]] = {"dynamic": {}, "clairvoyant": known}
    orders |= {name: {"choice": row} for name, row in fixed.items()}
    hopeless = HOPELESS * min(expected[name] for name in fixed)
    third = LEAD_S + settings.seconds / 3
    short = {name for name in fixed if expected[name] > hopeless}
    for name in short:
        expected[name] = simulated(world, replace(asked, until_s=third), Fixed(choice(fixed[name])))
    replays: dict[str, list[Replay]] = {name: [] for name in orders}
    told: list[dict[str, float]] = []
    for again, (name, order) in itertools.product(range(settings.rounds), orders.items()):
        shown = trace.part(0, third) if name in short else trace
        found, decisions = device.play(f"{name.replace('/', '_').replace(':', '_')}_{again}", shown, link, **order)
        replays[name].append((found, shown.duration_s))
        told += [decisions] if name == "dynamic" else []
    expected["clairvoyant"] = priced(world, replays["clairvoyant"])
    rows = {
        name: {
            **summed(replays[name], expected[name]),
            "codec": fixed.get(name, ("", ""))[1],
            "whole_part": name not in short,
        }
        for name in orders
    }
    decision = {key: float(np.median([one[key] for one in told])) for key in told[0]}
    return {"policies": rows, "decision_us": decision, **judged(rows, priced(world, replays["dynamic"]))}


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


def measure(model: str, bundle: Path, keep: Path, data: Path, settings: Settings, traces: Sequence[str]) -> Any:
    """One network: calibration, the traces, the steps."""
    opened = open_bundle(bundle)
    plain = table_of(opened)
    keep.mkdir(parents=True, exist_ok=True)
    with machines(bundle, picture(keep, data), keep, settings) as device:
        tie = tie_bps(plain, Link(1e6, 1e6, 2 * settings.delay_s))
        link, slow, load = calibrated(device, plain, 2 * tie / device.net.goodput)
        table = replace(plain, link=link)
        tie = tie_bps(replace(table, device_s=slow * table.device_s, server_s=load * table.server_s), link)
        nominal = Trace.of([0.0], [tie])
        world = World({1: table}, nominal, device_load=Load.constant(slow), load=Load.constant(load))
        cells = {}
        for name in traces:
            trace, told = part_of(data / "traces" / name, world, settings.seconds, tie, device.net.goodput)
            device.keep = keep / name
            device.keep.mkdir(exist_ok=True)
            cells[name] = {**told, **cell(device, opened, world, link, trace)}
        device.keep = keep
        lag = steps_lag(device, world, link, tie)
    facts = {"rtt_ms": link.rtt_s * 1e3, "fixed_ms": link.fixed_s * 1e3, "device_now": slow, "server_now": load}
    return {"model": model, "tie_mbit": tie / 1e6, **facts, "traces": cells, "steps": lag}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--models", default="zoo:efficientnet_b0,zoo:mobilenet_v2")
    parser.add_argument("--traces", default=",".join(TRACES))
    parser.add_argument("--seconds", type=float, default=24.0, help="of each trace, for each policy")
    parser.add_argument("--rounds", type=int, default=1, help="how often each policy plays it")
    parser.add_argument("--every-ms", type=float, default=203.0, help="between requests; out of step with a quota")
    parser.add_argument("--share", type=float, default=0.15, help="of a core, for the device")
    parser.add_argument("--runs", type=int, default=3, help="of every part, for the profiles")
    parser.add_argument("--bundles", type=Path, help="a folder with bundles that were packed before, by model name")
    parser.add_argument("--keep", type=Path, help="keep the journals here, for `isthmus report`")
    options = parser.parse_args()
    data = os.environ.get("ISTHMUS_DATA")
    if not data:
        raise SystemExit("ISTHMUS_DATA is not set: traces and pictures are needed")
    settings = Settings(options.seconds, options.rounds, options.every_ms / 1e3, options.share)
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for model in options.models.split(","):
            keep = (options.keep or Path(scratch)) / model.rpartition(":")[2]
            given = (model, keep, Path(data), settings, options.traces.split(","))
            if options.bundles:
                found.append(measure(model, options.bundles / model.rpartition(":")[2], *given[1:]))
                continue
            with packed(model, options.runs, options=PACKING, share=options.share) as bundle:
                found.append(measure(model, bundle, *given[1:]))
    result = {"settings": vars(settings), "jpeg": JPEG, "down_over_up": DOWN, "models": found}
    if options.json:
        print(json.dumps(result))
        return
    show(found)


def show(found: Sequence[Any]) -> None:
    """Tables for people."""
    for one in found:
        facts = ", ".join(f"{k} {one[k]:.2f}" for k in ("tie_mbit", "rtt_ms", "fixed_ms", "device_now", "server_now"))
        print(f"{one['model']}: {facts}; requests wrong after a step: {one['steps']['lags']}")
        for name, cell_ in one["traces"].items():
            print(
                f"  {name} {cell_['file']} × {cell_['scale']:.4f}, from {cell_['start_s']:.0f} s, "
                f"{cell_['mean_mbit']:.2f} Mbit/s on average"
            )
            for policy, row in cell_["policies"].items():
                print(
                    f"    {policy:16} {row['requests']:4} requests  mean {row['mean_ms']:7.1f} ms  p99 "
                    f"{row['p99_ms']:7.1f}  simulated/real {row['simulated_over_real']:.3f}  {row['cuts']}"
                )
            print(
                f"    regret {cell_['regret']:+.1%} (priced {cell_['regret_priced']:+.1%}), gain {cell_['gain']:+.1%} "
                f"over {cell_['best_static']} ({cell_['gain_without_jpeg']:+.1%} without JPEG), decision "
                f"{cell_['decision_us']['warm_us']:.0f} µs ({cell_['decision_us']['cpu_us']:.0f} µs after a pause)"
            )


if __name__ == "__main__":
    main()

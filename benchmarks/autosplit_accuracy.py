"""Does the recommended solution lose what it promises, and no more than a point?

Trained networks on labelled pictures: those of the folder that ISTHMUS_DATA names (CIFAR-10 ResNet-20 and -56,
MLPerf-Tiny's ResNet-8, MobileNetV1 and V2 on a part of ImageNet's validation set) and zoo:digits. Eyeriss and TPU
simulated, a device that holds `--memory` times the weights at 8 bits, one row an uplink. Distortion tables come from
other pictures than those judged (`--calibrate` of them).

promised: the loss measured for the plan, on all pictures to judge by. wire: the same solution once more, every picture
by itself, the crossing tensors as the packed bytes that travel; `sent` are their bytes over the plan's. held out
(`--held-out`, twice as much work again): the plan is made on one half of the pictures and its loss measured on the
other, both ways, all answers counted together: what a choice by measured losses is worth on pictures it has not seen.
estimated: what the distortion alone would say. `u8`, `webp:75`: losses of those baselines on the same pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.cli.labelled import labelled_samples, undivided
from isthmus.cli.losses import LossRow
from isthmus.cli.measuring import Book, picture_of
from isthmus.codec import codec_for
from isthmus.files import read_json, write_json
from isthmus.graph import INPUT, OUTPUT, cut_at, graph_of
from isthmus.link import Link
from isthmus.model import Model, fused, load_model
from isthmus.plan import PLANNERS, Limits, Plan, Problem, problem_for
from isthmus.plan.baselines import baselines
from isthmus.plan.joint import joint
from isthmus.plan.solution import Solution
from isthmus.profile.accuracy import Samples
from isthmus.profile.datasets import spread
from isthmus.profile.devices import computed_profile, shipped
from isthmus.profile.devices.widths import WidthWork
from isthmus.profile.distortion import measure_distortions
from isthmus.profile.heads import HeadJudge
from isthmus.quant import Distortions

MOST = 0.01
SHOWN = ("u8", "qdmp_e_u4", "webp:75", "jpeg:75")
"""Baselines whose loss stands beside."""


@dataclass(frozen=True)
class Net:
    """A trained network, its pictures, and what they are brought to."""

    model: str
    data: str
    scale: str = ""
    first_class: int = 0


NETS = {
    "digits": Net("zoo:digits", "digits"),
    "resnet8": Net("mlperf_tiny_resnet8", "cifar10", "bytes"),
    "resnet20": Net("cifar10_resnet20", "cifar10", "imagenet"),
    "resnet56": Net("cifar10_resnet56", "cifar10", "imagenet"),
    "mobilenet_v1": Net("mobilenet_v1_0.5_160", "imagenet", "centred", 1),
    "mobilenet_v2": Net("mobilenet_v2_1.0_224", "imagenet", "centred", 1),
}


@dataclass(frozen=True)
class World:
    """One network with everything that plans for it need; `judge` holds the pictures to judge by."""

    name: str
    judge: HeadJudge
    problem: Problem


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--networks", default=",".join(NETS))
    parser.add_argument("--rates-mbit", default="1,3,10,20")
    parser.add_argument("--memory", type=float, default=0.5, help="of the device, over the weights at 8 bits")
    parser.add_argument("--no-pictures", action="store_true", help="as if nothing could be sent as JPEG or WebP")
    parser.add_argument("--calibrate", type=int, default=64, help="pictures for the distortion tables")
    parser.add_argument("--samples", type=int, default=2000, help="pictures to judge by, at most")
    parser.add_argument("--tables", type=Path, help="folder that keeps tables and losses between runs")
    parser.add_argument("--held-out", action="store_true", help="also plan on either half and judge on the other")
    asked = parser.parse_args()
    if not os.environ.get("ISTHMUS_DATA") and asked.networks != "digits":
        sys.exit("set ISTHMUS_DATA to a folder with models/ and images/, or ask for --networks digits")
    rows = []
    for name in asked.networks.split(","):
        world = made(name, asked)
        for rate in [float(r) for r in asked.rates_mbit.split(",")]:
            rows.append(row_of(world, rate, asked.tables, halves=asked.held_out))
            print(line_of(rows[-1]), file=sys.stderr, flush=True)
    answer = {"rows": rows, "most": MOST, "worst": max(r["promised"] for r in rows)}
    print(json.dumps(answer) if asked.json else table(rows))


def made(name: str, asked: argparse.Namespace) -> World:
    """The network fused, its tables, its pictures, and the simulated pair."""
    net = NETS[name]
    folder = Path(os.environ.get("ISTHMUS_DATA", "."))
    model = fused(load_model(net.model if ":" in net.model else str(folder / "models" / f"{net.model}.onnx")))
    picture = picture_of(model, net.scale or "0/1")
    samples, early, source = parted(model, net, asked.calibrate, asked.samples)
    tables = tables_of(model, early, source, asked.tables, picture)
    if asked.no_pictures:
        tables = tables.model_copy(update={"uploads": {}})
    graph = graph_of(model, 1)
    device, server = shipped()["eyeriss"], shipped()["tpu"]
    home, away = (computed_profile(d, [graph], model.fingerprint, taken="computed") for d in (device, server))
    memory = int(asked.memory * sum(layer.weight_elements for layer in tables.layers))
    problem = problem_for(graph, home, away, Link(1e6, 1e6), limits=Limits(home_memory_bytes=memory, loss=MOST))
    machines = (replace(problem.machines[0], work=WidthWork(device, graph)), problem.machines[1])
    problem = replace(problem, machines=machines, distortions=tables)
    return World(name, HeadJudge(model, tables, samples, picture), problem)


def parted(model: Model, net: Net, calibrate: int, most: int) -> tuple[Samples, Samples, str]:
    """Pictures to judge by, others to calibrate with, and what to call those."""
    take = {"first_class": net.first_class, "purpose": "accuracy is measured on"}
    judged, source = labelled_samples(model, net.data, net.scale, **take)  # type: ignore[arg-type]
    if undivided(net.data):
        places = spread(len(judged), calibrate)
        early = judged.pick(places)
        judged = judged.pick(np.setdiff1d(np.arange(len(judged)), places))
    else:
        early, source = labelled_samples(model, net.data, net.scale, train=True, most=calibrate, **take)  # type: ignore[arg-type]
        early = early.pick(spread(len(early), calibrate))
    return judged.pick(spread(len(judged), most)), early, source


def tables_of(model: Model, early: Samples, source: str, folder: Path | None, picture: Any) -> Distortions:
    """Measured now, or in an earlier run."""
    path = None if folder is None else folder / f"{model.name}-{len(early)}.json"
    if path is not None and path.is_file():
        return read_json(path, Distortions)
    found = measure_distortions(model, early, source=source, picture=picture)
    if path is not None:
        write_json(path, found)
    return found


def row_of(world: World, rate: float, folder: Path | None, *, halves: bool) -> dict[str, Any]:
    """The recommended solution at one uplink: promised, on the wire, with `halves` held out as well."""
    began = time.perf_counter()
    problem = replace(world.problem, links=(Link(rate * 1e6, rate * 1e6),))
    plan, book = planned(problem, world.judge, folder, "all")
    pick = picked(plan)
    known = book.complete(problem, with_baselines=True)
    others = {r.name: r.loss for r in baselines(known) if r.name in SHOWN}
    losses = book.losses.rows.get(pick.name, LossRow(loss=0.0, give_or_take=0.0, samples=len(world.judge.samples)))
    wire, sent = on_the_wire(world.judge, pick)
    guessed = joint(problem).estimates.judged(pick)
    return {
        "network": world.name, "rate_mbit": rate, "samples": len(world.judge.samples), "score": world.judge.score,
        "solution": pick.name, "cut": pick.cut, "ms": pick.total_s * 1e3, "weight_bits": pick.weight_bits,
        "activation_bits": pick.activation_bits, "codec": pick.codec if pick.sent_bytes else "",
        "memory_bytes": pick.memory_bytes, "sent_bytes": pick.sent_bytes,
        "promised": losses.loss, "give_or_take": losses.give_or_take, "wire": wire, "difference": wire - losses.loss,
        "sent": sent / pick.sent_bytes if pick.sent_bytes else None,
        "held_out": held_out(problem, world.judge, folder) if halves else None, "measured": len(book.losses.rows),
        "estimated": guessed.loss,
        "baselines": others, "took_s": time.perf_counter() - began,
    }  # fmt: skip


def planned(problem: Problem, judge: HeadJudge, folder: Path | None, which: str) -> tuple[Plan, Book]:
    """The plan by measured losses, and those."""
    kind = which if problem.distortions and problem.distortions.uploads else f"{which}, tensors"
    path = None if folder is None else folder / f"{judge.net.name}, {len(judge.samples)}, {kind}.losses.json"
    book = Book.open(path, judge, which)
    return PLANNERS["autosplit"](book.complete(problem, with_baselines=False)), book


def picked(plan: Plan) -> Solution:
    """The plan's own among its solutions."""
    return next(s for s in plan.solutions if s.cut == plan.cuts[0] and s.bits == plan.bits and s.codec == plan.codec)


def on_the_wire(judge: HeadJudge, pick: Solution) -> tuple[float, float]:
    """Loss where every picture goes by itself and what crosses is packed, and the mean of its bytes."""
    one = replace(judge, batch=1)
    sizes: list[int] = []

    def packed(name: str, codec: str, values: Any, head: Any) -> Any:
        if head is not None and name in head.levels:
            written = codec_for(codec, "float32", head.steps[name].clip)
        else:
            written = judge.codec_at(name, codec, values)
        payload = memoryview(written.dump(values)).cast("B")
        sizes.append(payload.nbytes)
        return written.load(payload, values.shape, values.dtype.name)

    found = one.loss(pick.cut, pick.codec, pick.bits, sent=packed)
    crossing = 0 if pick.cut == OUTPUT else len(cut_at(judge.engine.graph, pick.cut).crossing)
    return found.loss, crossing * float(np.mean(sizes)) if sizes else 0.0


def held_out(problem: Problem, judge: HeadJudge, folder: Path | None) -> float:
    """Loss on the half that the plan was not made on, both ways."""
    count = len(judge.samples)
    halves = [judge.samples.pick(np.arange(first, count, 2)) for first in (0, 1)]
    lost = 0.0
    for k, (seen, unseen) in enumerate((halves, halves[::-1])):
        plan, _ = planned(problem, replace(judge, samples=seen), folder, f"half {k}")
        pick = picked(plan)
        found = replace(judge, samples=unseen).loss(pick.cut, pick.codec, pick.bits)
        lost += found.loss * len(unseen)
    return lost / count


def table(rows: Sequence[dict[str, Any]]) -> str:
    heads = (
        f"{'network':14}{'Mbit/s':>7}  {'recommended':36}{'ms':>8}{'promised':>10}{'wire':>8}{'held out':>10}"
        f"{'u8':>8}{'webp:75':>9}"
    )
    return "\n".join([heads, *map(line_of, rows)])


def line_of(row: dict[str, Any]) -> str:
    def percent(value: float | None) -> str:
        return "" if value is None else f"{value:.2%}"

    found = row["baselines"]
    what = {INPUT: "upload", OUTPUT: "device"}.get(row["cut"], row["cut"])
    bits = f" W{row['weight_bits']:.1f} A{row['activation_bits']:.1f}" if row["weight_bits"] else ""
    said = f"{what}{bits} {row['codec']}"
    return (
        f"{row['network']:14}{row['rate_mbit']:>7g}  {said:36}{row['ms']:>8.2f}"
        f"{percent(row['promised']):>10}{percent(row['wire']):>8}{percent(row['held_out']):>10}"
        f"{percent(found.get('u8')):>8}{percent(found.get('webp:75')):>9}"
    )


if __name__ == "__main__":
    main()

"""Does the recommended solution lose what it promises, and no more than a point?

Trained networks on labelled pictures: those of the folder that ISTHMUS_DATA names (CIFAR-10 ResNet-20 and -56, the
last exit of a ResNet-20 with ten, MLPerf-Tiny's ResNet-8, MobileNetV1 and V2 on a part of ImageNet's validation set,
a small network for MNIST) and zoo:digits. Eyeriss and TPU simulated, a device that holds `--memory` times the weights
at 8 bits, one row an uplink. Distortion tables come from other pictures than those judged (`--calibrate` of them).

promised: the loss measured for the plan, on all pictures to judge by, and its standard error. wire: the same solution
once more, every picture by itself, the crossing tensors as the packed bytes that travel; `sent` are their bytes over
the plan's. held out (`--held-out N`): the plan is made on one half of the pictures and its loss measured on the other,
both ways, for N divisions by chance, all answers counted together: what a choice by measured losses is worth on
pictures it has not seen. estimated: what the distortion alone would say. `u8`, `webp:75`: losses of those baselines on
the same pictures. `--tables DIR` keeps tables and what every picture came to through every head, so that a run that
was broken off goes on, and other uplinks or limits run only heads that are new.
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
import onnx
from autosplit_outcomes import Outcomes, SomeJudge

from isthmus.cli.labelled import labelled_samples, undivided
from isthmus.cli.measuring import Book, picture_of
from isthmus.files import read_json, write_json
from isthmus.graph import INPUT, OUTPUT, graph_of
from isthmus.link import Link
from isthmus.model import Model, fused, load_model
from isthmus.model.onnx_file import model_from_proto
from isthmus.plan import Limits, Problem, problem_for
from isthmus.plan.baselines import baselines
from isthmus.plan.joint import Joint, joint
from isthmus.plan.planners.autosplit import keeps
from isthmus.plan.solution import Solution
from isthmus.plan.types import USUAL_ERRORS
from isthmus.profile.datasets import spread
from isthmus.profile.devices import computed_profile, shipped
from isthmus.profile.devices.widths import WidthWork
from isthmus.profile.distortion import measure_distortions
from isthmus.profile.heads import HeadJudge
from isthmus.profile.samples import Samples
from isthmus.quant import Distortions

MOST = 0.01
SHOWN = ("u8", "webp:75")
"""Baselines whose loss stands beside."""


@dataclass(frozen=True)
class Net:
    """A trained network, its pictures, and what they are brought to."""

    model: str
    data: str
    scale: str = ""
    first_class: int = 0
    output: str = ""
    """the only one to keep, where the network has several"""
    seen: bool = False
    """judged by the pictures it has learnt from too: more of them for the wire, but no measure of its loss"""


NETS = {
    "digits": Net("zoo:digits", "digits"),
    "digits_seen": Net("zoo:digits", "digits", seen=True),
    "mnist": Net("mnist", "mnist", "bytes"),
    "resnet8": Net("mlperf_tiny_resnet8", "cifar10", "bytes"),
    "resnet20": Net("cifar10_resnet20", "cifar10", "imagenet"),
    "resnet20_exit10": Net("portend_resnet20_10exits_joint", "cifar10", "0/1", output="exit10"),
    "resnet56": Net("cifar10_resnet56", "cifar10", "imagenet"),
    "mobilenet_v1": Net("mobilenet_v1_0.5_160", "imagenet", "centred", 1),
    "mobilenet_v2": Net("mobilenet_v2_1.0_224", "imagenet", "centred", 1),
}


@dataclass(frozen=True)
class World:
    """One network with everything that plans for it need; `outcomes` holds the pictures to judge by."""

    name: str
    outcomes: Outcomes
    problem: Problem


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    usual = ",".join(name for name, net in NETS.items() if not net.seen)
    parser.add_argument("--networks", default=usual, help=f"of {', '.join(NETS)}")
    parser.add_argument("--rates-mbit", default="1,3,10,20")
    parser.add_argument("--memory", type=float, default=0.5, help="of the device, over the weights at 8 bits")
    parser.add_argument("--no-pictures", action="store_true", help="as if nothing could be sent as JPEG or WebP")
    parser.add_argument("--calibrate", type=int, default=64, help="pictures for the distortion tables")
    parser.add_argument("--samples", type=int, default=2000, help="pictures to judge by, at most")
    parser.add_argument("--tables", type=Path, help="folder that keeps tables and losses between runs")
    parser.add_argument(
        "--held-out", type=int, default=0, metavar="N", help="also plan on either half and judge on the other, N times"
    )
    parser.add_argument("--loss-errors", type=float, default=USUAL_ERRORS, help="as isthmus plan has it")
    asked = parser.parse_args()
    if not os.environ.get("ISTHMUS_DATA") and not set(asked.networks.split(",")) <= {"digits", "digits_seen"}:
        sys.exit("set ISTHMUS_DATA to a folder with models/ and images/, or ask for --networks digits")
    rows = []
    for name in asked.networks.split(","):
        world = made(name, asked)
        for rate in [float(r) for r in asked.rates_mbit.split(",")]:
            rows.append(row_of(world, rate, asked.held_out))
            print(line_of(rows[-1]), file=sys.stderr, flush=True)
    answer = {"rows": rows, "most": MOST, "worst": max(r["promised"] for r in rows)}
    print(json.dumps(answer) if asked.json else table(rows))


def made(name: str, asked: argparse.Namespace) -> World:
    """The network fused, its tables, its pictures, and the simulated pair."""
    net = NETS[name]
    folder = Path(os.environ.get("ISTHMUS_DATA", "."))
    whole = load_model(net.model if ":" in net.model else str(folder / "models" / f"{net.model}.onnx"))
    model = fused(only(whole, net.output) if net.output else whole)
    picture = picture_of(model, net.scale or "0/1")
    samples, early, source = parted(model, net, asked.calibrate, asked.samples)
    tables = tables_of(model, early, source, asked.tables, picture)
    if asked.no_pictures:
        tables = tables.model_copy(update={"uploads": {}})
    graph = graph_of(model, 1)
    device, server = shipped()["eyeriss"], shipped()["tpu"]
    home, away = (computed_profile(d, [graph], model.fingerprint, taken="computed") for d in (device, server))
    memory = int(asked.memory * sum(layer.weight_elements for layer in tables.layers))
    limits = Limits(home_memory_bytes=memory, loss=MOST, loss_errors=asked.loss_errors)
    problem = problem_for(graph, home, away, Link(1e6, 1e6), limits=limits)
    machines = (replace(problem.machines[0], work=WidthWork(device, graph)), problem.machines[1])
    problem = replace(problem, machines=machines, distortions=tables)
    return World(name, Outcomes.open(HeadJudge(model, tables, samples, picture), asked.tables), problem)


def only(model: Model, output: str) -> Model:
    """The network of one of its outputs."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    kept = [value for value in proto.graph.output if value.name == output]
    del proto.graph.output[:]
    proto.graph.output.extend(kept)
    return model_from_proto(proto, model.name)


def parted(model: Model, net: Net, calibrate: int, most: int) -> tuple[Samples, Samples, str]:
    """Pictures to judge by, others to calibrate with, and what to call those."""
    take = {"first_class": net.first_class, "purpose": "accuracy is measured on"}
    judged, source = labelled_samples(model, net.data, net.scale, **take)  # type: ignore[arg-type]
    if undivided(net.data):
        places = spread(len(judged), calibrate)
        early = judged.pick(places)
        judged = judged.pick(np.setdiff1d(np.arange(len(judged)), places))
    else:
        more = None if net.seen else calibrate
        learnt, source = labelled_samples(model, net.data, net.scale, train=True, most=more, **take)  # type: ignore[arg-type]
        places = spread(len(learnt), calibrate)
        early = learnt.pick(places)
        if net.seen:
            judged = joined(judged, learnt.pick(np.setdiff1d(np.arange(len(learnt)), places)))
    return judged.pick(spread(len(judged), most)), early, source


def joined(one: Samples, other: Samples) -> Samples:
    """Labelled samples of two sets."""
    assert one.labels is not None
    assert other.labels is not None
    inputs = {name: np.concatenate([values, other.inputs[name]]) for name, values in one.inputs.items()}
    return Samples(inputs, np.concatenate([one.labels, other.labels]))


def tables_of(model: Model, early: Samples, source: str, folder: Path | None, picture: Any) -> Distortions:
    """Measured now, or in an earlier run."""
    path = None if folder is None else folder / f"{model.name}-{len(early)}.json"
    if path is not None and path.is_file():
        return read_json(path, Distortions)
    found = measure_distortions(model, early, source=source, picture=picture)
    if path is not None:
        write_json(path, found)
    return found


def row_of(world: World, rate: float, divisions: int) -> dict[str, Any]:
    """The recommended solution at one uplink: promised, on the wire, with `divisions` held out as well."""
    began = time.perf_counter()
    problem = replace(world.problem, links=(Link(rate * 1e6, rate * 1e6),))
    judge = SomeJudge(world.outcomes, world.outcomes.judge.order)
    every = joint(problem)
    pick, book = picked(problem, every, judge)
    others = {r.name: others_loss(judge, r) for r in baselines(problem, every) if r.name in SHOWN}
    promised = judge.loss(pick.cut, pick.codec, pick.bits)
    wire = judge.loss(pick.cut, pick.codec, pick.bits, wire=True)
    sent = wire.sample_bytes if pick.sent_bytes else None
    unseen = held_out(problem, every, world.outcomes, divisions) if divisions else None
    return {
        "network": world.name, "rate_mbit": rate, "samples": len(judge.samples), "score": judge.score,
        "solution": pick.name, "cut": pick.cut, "ms": pick.total_s * 1e3, "weight_bits": pick.weight_bits,
        "activation_bits": pick.activation_bits, "codec": pick.codec if pick.sent_bytes else "",
        "memory_bytes": pick.memory_bytes, "sent_bytes": pick.sent_bytes,
        "promised": promised.loss, "give_or_take": promised.give_or_take, "wire": wire.loss,
        "difference": wire.loss - promised.loss, "sent": sent / pick.sent_bytes if sent else None,
        **(unseen or {"held_out": None}), "measured": len(book.losses.rows),
        "estimated": every.estimates.judged(pick).loss,
        "baselines": others, "took_s": time.perf_counter() - began,
    }  # fmt: skip


def others_loss(judge: SomeJudge, row: Solution) -> float:
    """What a baseline loses; about so much where that is hopeless."""
    return judge.loss(row.cut, row.codec, row.bits, most=MOST).loss


def picked(problem: Problem, every: Joint, judge: SomeJudge) -> tuple[Solution, Book]:
    """What autosplit picks by measured losses: the fastest that keeps the limit; and those losses."""
    book = Book.open(None, judge, "pictures")
    solutions = book.judged(problem, every).solutions
    return next(s for s in solutions if keeps(s, None, problem.limits.loss)), book


def held_out(problem: Problem, every: Joint, outcomes: Outcomes, divisions: int) -> dict[str, Any]:
    """Loss on the half that the plan was not made on, both ways, over so many divisions by chance."""
    count = len(outcomes.judge.samples)
    lost, picks = np.zeros((divisions, count)), []
    for division in range(divisions):
        order = np.random.default_rng(1 + division).permutation(count)
        for seen, unseen in ((order[::2], order[1::2]), (order[1::2], order[::2])):
            pick, _ = picked(problem, every, SomeJudge(outcomes, seen))
            right = np.concatenate([p.right for p in outcomes.at(pick.cut, pick.codec, pick.bits, unseen)])
            lost[division, unseen] = outcomes.base[unseen].astype(float) - right
            picks.append(
                {"solution": pick.name, "ms": pick.total_s * 1e3, "loss": float(lost[division, unseen].mean())}
            )
    each = lost.mean(axis=0)
    spread = float(each.std() / np.sqrt(count))
    return {"held_out": float(each.mean()), "held_out_give_or_take": spread, "picks": picks}


def table(rows: Sequence[dict[str, Any]]) -> str:
    heads = (
        f"{'network':14}{'Mbit/s':>7}  {'recommended':36}{'ms':>8}{'promised':>18}{'wire':>8}{'held out':>18}"
        f"{'u8':>8}{'webp:75':>9}"
    )
    return "\n".join([heads, *map(line_of, rows)])


def line_of(row: dict[str, Any]) -> str:
    def percent(value: float | None) -> str:
        return "" if value is None else f"{value:.2%}"

    def spread(value: float | None, error: float | None) -> str:
        return "" if value is None else f"{value:.2%} ± {error or 0.0:.2%}"

    found = row["baselines"]
    what = {INPUT: "upload", OUTPUT: "device"}.get(row["cut"], row["cut"])
    bits = f" W{row['weight_bits']:.1f} A{row['activation_bits']:.1f}" if row["weight_bits"] else ""
    said = f"{what}{bits} {row['codec']}"
    return (
        f"{row['network']:14}{row['rate_mbit']:>7g}  {said:36}{row['ms']:>8.2f}"
        f"{spread(row['promised'], row['give_or_take']):>18}{percent(row['wire']):>8}"
        f"{spread(row['held_out'], row.get('held_out_give_or_take')):>18}"
        f"{percent(found.get('u8')):>8}{percent(found.get('webp:75')):>9}"
    )


if __name__ == "__main__":
    main()

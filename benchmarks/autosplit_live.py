"""On a slow device and a shaped link: is the recommended split with its bit widths what the plan says?

The device is a process on a core of its own that is declared slow (`isthmus.engine.slow`), the server has the other
core, between them lie two namespaces and a shaped link (root). The picture may not leave the device (`--private`): else
an upload as WebP, of a few kilobytes, is hard to beat, and nothing would be split. Everything is done by the verbs a
person types: distortion tables (`isthmus quantize`), profiles of both machines, a plan with losses measured on labelled
pictures, bundles. How much longer or shorter the device takes with few bits is measured when a bundle is packed, and
planned with again until it comes out the same.

Asked: measured latency over planned, in all and by cause (within 10 %; `ratio_now` takes the machines as slow beside
their profiles as the floating-point network alone showed them in the race); faster than the float split and than all
at 8 bits on the device where the plan says so; bytes on the wire and on the disk over planned (within 10 %), and
memory: that of a process over what was planned for a process, over what the plan counts for a machine made for few
bits, and over what it counts in a runtime whose numbers have 8 bits at least; accuracy of the answers that came over
the wire against the accuracy that was promised (within half a point on 500 pictures).

Trained networks and pictures are those of the data folder (environment variable ISTHMUS_DATA); ResNet-50 and GoogLeNet
are the zoo's, whose weights are drawn: their plans estimate losses, and nothing is said of accuracy. Link, memory limit
and, with `--slowdown`, the device are such that a split is the plan.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import onnx
from autosplit_race import CAUSES, awake, race, undisturbed, ways
from autosplit_tables import measured_tables
from shaped_runs import on_core

from isthmus.adapt import Fixed
from isthmus.bundle import Bundle, open_bundle
from isthmus.files import read_json
from isthmus.link.testbed import ShapedNetwork, goodput
from isthmus.model import fused, load_model
from isthmus.plan import Plan
from isthmus.record import Choice
from isthmus.session import connect, ready

MTU = 576
"""So that what passes at once after a pause, two packets, is a small part of what is sent."""
READY = "packed"
"""A file that says that all bundles are in the folder."""
REST = "40ms"
"""Before every part that is profiled: about what lies between two requests, which lets caches and processor go cold."""
ROUNDS = 4
MOST_PASSES = 3
_BEGUN = time.monotonic()
AGREE = 0.05
"""A ratio that was planned with and one that was measured this near to it are the same."""


@dataclass(frozen=True)
class Network:
    """A model of the data folder with labelled pictures and how they become its inputs, or one of the zoo's, whose
    weights are drawn; and the link and memory limit that it is raced with."""

    model: str
    data: str = ""
    scale: str = ""
    first_class: int = 0
    uplink_mbit: float = 8.0
    memory: str = "2MiB"

    @property
    def path(self) -> str:
        """What `isthmus` is given."""
        return str(Path(os.environ.get("ISTHMUS_DATA", "")) / self.model) if self.data else self.model

    @property
    def pictures(self) -> list[str]:
        """What the verbs are told of the pictures."""
        first = ["--first-class", str(self.first_class)] if self.first_class else []
        return ["--data", self.data, "--scale", self.scale, *first]


NETWORKS = {
    "mobilenet_v2": Network("models/mobilenet_v2_1.0_224.onnx", "imagenet", "centred", 1),
    "resnet56": Network("models/cifar10_resnet56.onnx", "cifar10", "imagenet", uplink_mbit=1.0, memory="512KiB"),
    "resnet50": Network("zoo:resnet50", uplink_mbit=20.0, memory="4MiB"),
    "googlenet": Network("zoo:googlenet", uplink_mbit=20.0, memory="4MiB"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--network", default="mobilenet_v2", choices=NETWORKS)
    parser.add_argument("--uplink-mbit", type=float, help="instead of the network's own")
    parser.add_argument("--delay-ms", type=float, default=5.0, help="one way")
    parser.add_argument("--slowdown", type=float, default=6.67, help="of the device")
    parser.add_argument("--memory", help="of the device, for its part, instead of the network's own; 0: no limit")
    parser.add_argument("--requests", type=int, default=24, help="of each method, in all")
    parser.add_argument("--pictures", type=int, default=500, help="to judge by, where there are labels; 0: nothing")
    parser.add_argument("--keep", type=Path, help="folder for all files; those there are used again")
    parser.add_argument("--prepare", action="store_true", help="only what comes before the race, into --keep")
    parser.add_argument("--runs", type=int, default=9, help="runs of every part in a profile")
    asked = parser.parse_args()
    network = NETWORKS[asked.network]
    network = replace(
        network, uplink_mbit=asked.uplink_mbit or network.uplink_mbit, memory=asked.memory or network.memory
    )
    if not os.environ.get("ISTHMUS_DATA"):
        raise SystemExit("set ISTHMUS_DATA to a folder with models/ and images/")
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with awake():
            result = live(network, asked, folder)
    if asked.prepare:
        return
    print(json.dumps(result)) if asked.json else show(result)


def live(network: Network, asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything, in order; all files in `folder`."""
    name = prepared(network, folder)
    tables = quantised(network, name, folder)
    machines = [*profiled(name, folder, asked), *link_options(network, asked.delay_ms)]
    if not (folder / READY).exists():
        packed(network, name, tables, machines, folder, asked.pictures)
    planned = read_json(folder / "plan.json", Plan)
    if asked.prepare:
        return {}
    rate = f"{network.uplink_mbit}Mbit"
    with undisturbed(), ShapedNetwork(rate, delay_s=asked.delay_ms / 1e3, mtu=MTU) as net:
        rows = race(folder, ways(folder, planned), net, rounds=ROUNDS, requests=max(1, asked.requests // ROUNDS))
    show_rows(rows, sys.stderr)
    own = open_bundle(folder / "ours")
    return {
        "model": Path(name).stem,
        "uplink_mbit": network.uplink_mbit,
        "memory": network.memory,
        "slowdown": asked.slowdown,
        "rows": rows,
        **sizes(own, rows[0]),
        **(accuracy(own, network, tables, asked.pictures) if network.data and asked.pictures else {}),
    }


def packed(network: Network, name: str, tables: Path, machines: Sequence[str], folder: Path, pictures: int) -> None:
    """The bundles `ours`, `u8` and `float` in the folder, and the plan of ours."""
    few = [name, *machines, "--distortions", str(tables), "--private"]
    narrow = float(verb("pack", *few, "--planner", "u8", "--out", str(folder / "u8"), "--json", "--force")["ratio"])
    limit = [] if network.memory == "0" else ["--memory", network.memory]
    losses = ["--losses", str(folder / "losses.json"), *network.pictures, "--samples", str(pictures)]
    joint = ["--planner", "autosplit", *limit, *(losses if network.data else ())]
    plan = str(folder / "plan.json")
    for _ in range(MOST_PASSES):
        verb("plan", *few, *joint, "--narrow", f"{narrow:.4f}", "--out", plan, "--json")
        ratio = verb("pack", *few, "--plan", plan, "--out", str(folder / "ours"), "--json", "--force")["ratio"]
        if abs(ratio / narrow - 1) <= AGREE:
            break
        narrow = ratio
    plain = ["--planner", "mincut", "--codecs", "float32,int8", "--out", str(folder / "float"), "--json", "--force"]
    verb("pack", name, *machines, *plain)
    (folder / READY).touch()


def prepared(network: Network, folder: Path) -> str:
    """The network as it is cut (normalisations folded) in a file of its own."""
    path = folder / f"{Path(network.model).stem.rpartition(':')[2]}.onnx"
    onnx.save_model(fused(load_model(network.path)).proto, path)
    return str(path)


def quantised(network: Network, name: str, folder: Path) -> Path:
    """Distortion tables on pictures, made unless they are in the folder."""
    if not network.data:
        zoo = network.model.partition(":")[2]
        measured_tables(zoo, folder)
        return folder / f"{zoo}.json"
    tables = folder / "tables.json"
    if not tables.exists():
        verb("quantize", name, *network.pictures, "--samples", "16", "--out", str(tables), "--json")
    return tables


def verb(*words: str) -> dict[str, Any]:
    """What `isthmus …` says on the device's core; of a bundle, also what its part takes beside floating point."""
    done = subprocess.run(
        [*on_core(0), sys.executable, "-m", "isthmus", *words], capture_output=True, text=True, check=False
    )
    print(f"{time.monotonic() - _BEGUN:5.0f} s  {words[0]}", file=sys.stderr)
    if done.returncode:
        raise SystemExit(f"isthmus {words[0]}: {done.stderr.strip() or done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    few = found.get("few_bits")
    if few is not None:
        found["ratio"] = (few["head"] or few["whole"])["ratio"]
    return found


def profiled(name: str, folder: Path, asked: argparse.Namespace) -> list[str]:
    """The options that name the machines' profiles, each taken on its core, at the same time; the device's is declared
    slow. Those in the folder are used again."""
    files = {place: folder / f"{place}.json" for place in ("device", "server")}
    taking = []
    for core, (place, slow) in enumerate((("device", asked.slowdown), ("server", 1.0))):
        words = ["profile", name, "--out", str(files[place]), "--runs", str(asked.runs), "--rest", REST]
        line = [*on_core(core), sys.executable, "-m", "isthmus", *words, "--slowdown", f"{slow:.4f}"]
        if not files[place].exists():
            with undisturbed():
                taking.append(subprocess.Popen(line, stdout=subprocess.DEVNULL))
    ended = [process.wait() for process in taking]
    if any(ended):
        raise SystemExit("isthmus profile failed")
    print(f"{time.monotonic() - _BEGUN:5.0f} s  profiles", file=sys.stderr)
    return [word for place, file in files.items() for word in (f"--{place}-profile", str(file))]


def link_options(network: Network, delay_ms: float) -> list[str]:
    """The link as plans know it: what of its rate is left for payload."""
    rate_bps = network.uplink_mbit * 1e6 * goodput(MTU)
    return ["--uplink", f"{rate_bps / 1e6:.6f}Mbit", "--rtt", f"{2 * delay_ms}ms"]


def sizes(own: Bundle, row: dict[str, Any]) -> dict[str, Any]:
    """Bytes of the plan that ran, measured over planned."""
    few, solution = own.manifest.few_bits, own_solution(own.plan)
    part = None if few is None else few.head or few.whole
    if part is None:
        return {}
    file = (own.path / part.file).stat().st_size
    held = {} if part.held_bytes is None else {
        "held_bytes": part.held_bytes,
        "held_over_planned_held": part.held_bytes / part.planned_held_bytes if part.planned_held_bytes else None,
        "held_over_plan": part.held_bytes / part.memory_bytes,
        "held_over_containers": part.held_bytes / part.container_bytes,
    }  # fmt: skip
    return {
        "sent_bytes": row["bytes"],
        "wire_over_plan": row["bytes"] / solution["sent_bytes"] if solution["sent_bytes"] else 1.0,
        "few_bits_over_float": part.ratio,
        "disk_bytes": file,
        "disk_over_plan": file / part.planned_file_bytes if part.planned_file_bytes else None,
        "planned_memory_bytes": part.memory_bytes,
        "container_bytes": part.container_bytes,
        **held,
    }


def own_solution(plan: Plan) -> dict[str, Any]:
    """The row of the plan's own choice in its list."""
    return next(
        s.model_dump() for s in plan.solutions
        if s.planner == "autosplit" and s.cut == plan.cuts[0] and s.codec == plan.codec and s.bits == plan.bits
    )  # fmt: skip


def accuracy(own: Bundle, network: Network, measured_on: Path, pictures: int) -> dict[str, Any]:
    """Right answers of the bundle over the wire (without the slow link), of the whole network, and what was promised.

    The pictures are those that the promise was measured on."""
    from isthmus.cli.measuring import Measuring, judging_samples
    from isthmus.engine import Engine
    from isthmus.quant import Distortions
    from isthmus.run import serve

    model = own.model()
    tables = read_json(measured_on, Distortions)
    how = Measuring(network.data, network.scale, pictures, network.first_class)
    samples, _ = judging_samples(model, tables, how)
    engine = Engine.open(model, cuts="none")
    last = engine.graph.outputs[-1]
    choice = Choice(cut=own.plan.cuts[0], codec=own.plan.codec)
    right = {"wire": 0, "float": 0}
    labels = np.asarray(samples.labels)
    here = ready(own, slowdown=1.0)
    with (
        serve(engine, own.manifest.name, clips=own.clips, pictures=own.pictures) as server,
        connect(here, server.address, chooser=Fixed(choice), deadline_s=30) as session,
    ):
        session.wait_connected(10)
        for at in range(0, len(samples), 10):
            inputs = dict(samples.part(at, at + 10).inputs)
            answer = session.infer(inputs)
            if answer.step.trouble:
                raise SystemExit(f"not over the wire: {answer.step.trouble}")
            for name, outputs in (("wire", answer.outputs), ("float", engine.whole(inputs))):
                right[name] += int((outputs[last].argmax(1) == labels[at : at + 10]).sum())
    solution, count = own_solution(own.plan), len(samples)
    lost = (right["float"] - right["wire"]) / count
    return {
        "pictures": count,
        "float_accuracy": right["float"] / count,
        "wire_accuracy": right["wire"] / count,
        "loss": lost,
        "promised_loss": solution["loss"],
        "promise_measured": solution["measured"],
        "promise_missed_by": lost - (solution["loss"] or 0.0),
    }


def show(result: dict[str, Any]) -> None:
    print(f"{result['model']}, {result['uplink_mbit']:g} Mbit/s, device {result['slowdown']:g} times as slow")
    show_rows(result["rows"], sys.stdout)
    shares = ("wire_over_plan", "disk_over_plan", "held_over_planned_held", "held_over_plan", "held_over_containers")
    for name in ("few_bits_over_float", *shares):
        if result.get(name) is not None:
            print(f"  {name}: {result[name]:.3f}")
    if "wire_accuracy" in result:
        print(
            f"  right over the wire {result['wire_accuracy']:.1%} of {result['pictures']}, in floating point "
            f"{result['float_accuracy']:.1%}: {result['loss']:.2%} lost, {result['promised_loss']:.2%} promised"
        )


def show_rows(rows: Sequence[dict[str, Any]], to: TextIO) -> None:
    for row in rows:
        print(
            f"  {row['method']:10} {row['cut']:14} {row['codec']:8} {row['measured_ms']:8.1f} ms measured "
            f"{row['planned_ms']:8.1f} planned ({row['ratio']:.2f}; machines as they were then: "
            f"{row['ratio_now']:.2f})  {row['bytes']:8.0f} B",
            file=to,
        )
        both = [(row["measured_by_cause_ms"][name], row["planned_by_cause_ms"][name]) for name in CAUSES]
        causes = zip(CAUSES, both, strict=True)
        said = [f"{name} {m:.1f} / {p:.1f}" for name, (m, p) in causes if m >= 0.05 or p]
        if row["held_bytes"] and row["planned_held_bytes"]:
            said.append(f"a process holds {row['held_bytes'] / 1e6:.2f} / {row['planned_held_bytes'] / 1e6:.2f} MB")
        print("     " + ", ".join(said), file=to)


if __name__ == "__main__":
    main()

"""On a real slow device and a shaped link: is the recommended split with its bit widths what the plan says?

The device is a process with a share of one core, the server has the other core, between them lie two namespaces and a
shaped link (root). The picture may not leave the device (`--private`): else an upload as WebP, of a few kilobytes, is
hard to beat, and nothing would be split. Everything is done by the verbs a person types: distortion tables (`isthmus
quantize`), profiles of both machines, a plan with losses measured on labelled pictures, bundles. How
much longer or shorter the device takes with few bits is measured when a bundle is packed, and planned with again until
it comes out the same.

Asked: measured latency over predicted (within 10 %; `ratio_now` takes the machines as slow beside their profiles as the
floating-point network alone was on each in the race: under a quota that wanders by a third from minute to minute);
faster than the float split and than all at 8 bits on the device where the plan says so; bytes on the wire and on the
disk over planned (within 10 %), and memory: that of the process over what the plan counts, and over what it counts in a
runtime whose numbers have 8 bits at least; accuracy of the answers that came over the wire against the accuracy that
was promised (within half a point on 500 pictures).

Without --model: MobileNetV2 of the data folder (environment variable ISTHMUS_DATA).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from shaped_runs import PORT, on_core, serving

from isthmus.adapt import Fixed
from isthmus.bundle import Bundle, open_bundle
from isthmus.files import read_json
from isthmus.graph import INPUT, OUTPUT
from isthmus.link.testbed import ShapedNetwork, goodput
from isthmus.model import fused, load_model
from isthmus.plan import Plan
from isthmus.record import Choice, Step
from isthmus.session import connect, ready, table_of

MOBILENET = ("models/mobilenet_v2_1.0_224.onnx", "centred", 1)
MTU = 1500
WARM_UP = 1
ROUNDS = 3
METHODS = {"ours": ("autosplit",), "u8": ("u8",), "float": ("float", "float_int8", "cloud", "device")}
"""By bundle. The last two are what the machines' speeds in the race are known by."""
MOST_PASSES = 2
_BEGUN = time.monotonic()
AGREE = 0.05
"""A ratio that was planned with and one that was measured this near to it are the same."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--model", default="", help="a model without labelled pictures; MobileNetV2 without")
    parser.add_argument("--uplink-mbit", type=float, default=8.0)
    parser.add_argument("--delay-ms", type=float, default=5.0, help="one way")
    parser.add_argument("--share", type=float, default=0.15, help="of one core, for the device")
    parser.add_argument("--memory", default="2MiB", help="of the device, for its part; 0: no limit")
    parser.add_argument("--requests", type=int, default=12)
    parser.add_argument("--pictures", type=int, default=500, help="to judge accuracy by, where there are labels")
    parser.add_argument("--keep", type=Path, help="folder for tables, profiles and losses; those there are used again")
    parser.add_argument("--runs", type=int, default=5, help="runs of every part in a profile")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) if asked.keep is None else asked.keep
        kept.mkdir(parents=True, exist_ok=True)
        result = live(asked, Path(folder), kept)
    print(json.dumps(result)) if asked.json else show(result)


def live(asked: argparse.Namespace, folder: Path, kept: Path) -> dict[str, Any]:
    """Everything, in order."""
    name, data = prepared(asked, folder)
    tables = quantised(name, data, kept / "tables.json")
    profiles = [profiled(name, place, kept, asked) for place in ("device", "server")]
    common = [name, *profiles[0], *profiles[1], "--distortions", str(tables), *link_options(asked), "--private"]
    narrow = float(verb("pack", *common, "--planner", "u8", "--out", str(folder / "u8"), "--json")["ratio"])
    losses = ["--losses", str(kept / "losses.json"), *data, "--samples", str(asked.pictures)] if data else []
    plan_file, bundle = folder / "plan.json", folder / "ours"
    for _ in range(MOST_PASSES):
        limit = [] if asked.memory == "0" else ["--memory", asked.memory]
        verb("plan", *common, "--planner", "autosplit", "--narrow", f"{narrow:.4f}", *limit, *losses, "--out",
             str(plan_file), "--json")  # fmt: skip
        packed = verb("pack", *common, "--plan", str(plan_file), "--out", str(bundle), "--json", "--force")
        if abs(packed["ratio"] / narrow - 1) <= AGREE:
            break
        narrow = packed["ratio"]
    verb("pack", name, *profiles[0], *profiles[1], *link_options(asked), "--planner", "mincut", "--codecs",
         "float32,int8", "--out", str(folder / "float"), "--json")  # fmt: skip
    rows = raced(folder, asked)
    own = open_bundle(bundle)
    return {
        "model": Path(name).stem,
        "uplink_mbit": asked.uplink_mbit,
        "share": asked.share,
        "narrow": narrow,
        "rows": rows,
        **sizes(own, rows[0]),
        **(accuracy(own, data, tables, asked) if data else {}),
    }


def prepared(asked: argparse.Namespace, folder: Path) -> tuple[str, list[str]]:
    """The network as it is cut (normalisations folded) in a file of its own, and the options of its labelled data."""
    data: list[str] = []
    name = asked.model
    if not name:
        root = os.environ.get("ISTHMUS_DATA", "")
        name, scale, first = str(Path(root) / MOBILENET[0]), MOBILENET[1], str(MOBILENET[2])
        if not Path(name).is_file():
            raise SystemExit("ISTHMUS_DATA names no folder with MobileNetV2; give --model zoo:resnet50 or another")
        data = ["--data", "imagenet", "--scale", scale, "--first-class", first]
    path = folder / f"{Path(name).stem.rpartition(':')[2]}.onnx"
    onnx.save_model(fused(load_model(name)).proto, path)
    return str(path), data


def verb(*words: str) -> dict[str, Any]:
    """What `isthmus …` says; for a bundle, how long its part takes beside floating point (`ratio`)."""
    done = subprocess.run(
        [*on_core(1), sys.executable, "-m", "isthmus", *words], capture_output=True, text=True, check=False
    )
    print(f"{time.monotonic() - _BEGUN:5.0f} s  {words[0]}", file=sys.stderr)
    if done.returncode:
        raise SystemExit(f"isthmus {words[0]}: {done.stderr.strip() or done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    few = found.get("few_bits")
    if few is not None:
        found["ratio"] = (few["head"] or few["whole"])["ratio"]
    return found


def quantised(name: str, data: Sequence[str], to: Path) -> Path:
    """Distortion tables on pictures, on random inputs where there are none."""
    if not to.exists():
        verb("quantize", name, *(data or ["--random"]), "--samples", "16", "--out", str(to), "--json")
    return to


def profiled(name: str, place: str, folder: Path, asked: argparse.Namespace) -> list[str]:
    """The option that names a machine's profile, taken on its core; the device's is declared as slow as its share is.

    With a rest before each run: in use, too, a part does not follow upon itself, and its caches are cold.
    Not under the quota: the kernel notices at its tick that a quota is used up, so a part of some milliseconds runs
    through unhindered after a rest (3.7 ms where it takes 22 in a run of requests) and its successor pays."""
    file = str(folder / f"{place}.json")
    slow = 1 / asked.share if place == "device" else 1.0
    words = ["profile", name, "--out", file, "--runs", str(asked.runs), "--rest", "12ms", "--slowdown", f"{slow:.4f}"]
    line = [*on_core(0 if place == "device" else 1), sys.executable, "-m", "isthmus", *words]
    if not Path(file).exists():
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    return [f"--{place}-profile", file]


def link_options(asked: argparse.Namespace) -> list[str]:
    """The link as plans know it: what of its rate is left for payload."""
    rate_bps = asked.uplink_mbit * 1e6 * goodput(MTU)
    return ["--uplink", f"{rate_bps / 1e6:.6f}Mbit", "--rtt", f"{2 * asked.delay_ms}ms"]


def raced(folder: Path, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Our plan, all at 8 bits on the device, float splits, the server alone and the device alone, over the link, in
    turns: a machine under a quota wanders from minute to minute, and no method shall meet another machine."""
    plan = read_json(folder / "plan.json", Plan)
    wanted = {name: [chosen(m, plan, folder / name) for m in methods] for name, methods in METHODS.items()}
    found: dict[str, list[dict[str, Any]]] = {}
    with ShapedNetwork(f"{asked.uplink_mbit}Mbit", delay_s=asked.delay_ms / 1e3, mtu=MTU) as net:
        players = {name: Player(net, folder / name, PORT + at, asked.share) for at, name in enumerate(METHODS)}
        for _ in range(ROUNDS):
            for name, player in players.items():
                for choice in wanted[name]:
                    row = player.play(choice, max(2, asked.requests // ROUNDS))
                    found.setdefault(choice["method"], []).append(row)
    rows = []
    for name in METHODS:
        for choice in wanted[name]:
            own = found[choice["method"]]
            rows.append({**choice, **{key: statistics.median(r[key] for r in own) for key in own[0]}})
    device, server = loads(rows)
    for row in rows:
        table = table_of(open_bundle(folder / row.pop("bundle")))
        at = list(zip(table.cuts, table.codecs, strict=True)).index((row["cut"], row["codec"]))
        link = table.link
        now = table.latency_s(link.up_bps, link.down_bps, link.rtt_s, server, device)
        row |= {"predicted_now_ms": float(now[at]) * 1e3, "device_load": device, "server_load": server}
        row["ratio"] = row["measured_ms"] / row["predicted_ms"]
        row["ratio_now"] = row["measured_ms"] / row["predicted_now_ms"]
        print(f"{time.monotonic() - _BEGUN:5.0f} s  {row}", file=sys.stderr)
    return rows


def loads(rows: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """How slow (device, server) were in the race beside their profiles, by the floating-point network alone on each."""
    by = {row["method"]: row for row in rows}
    return by["device"]["measured_ms"] / by["device"]["device_ms"], by["cloud"]["tail_ms"] / by["cloud"]["server_ms"]


class Player:
    """A bundle between both sides: a server for it, and a device's process that plays what it is told."""

    def __init__(self, net: ShapedNetwork, path: Path, port: int, share: float) -> None:
        host = net.address("server")
        words = serving(path, host)
        words[words.index("--port") + 1] = str(port)
        server = net.start("server", [*on_core(1), *words], stdout=subprocess.PIPE)
        assert server.stdout is not None
        server.stdout.readline()
        line = [*on_core(0), sys.executable, __file__, str(path), f"{host}:{port}"]
        process = net.start("device", line, cpu_share=share, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin is not None
        assert process.stdout is not None
        self._orders, self._answers = process.stdin, process.stdout

    def play(self, choice: dict[str, Any], requests: int) -> dict[str, Any]:
        self._orders.write(json.dumps([choice["cut"], choice["codec"], requests]) + "\n")
        self._orders.flush()
        line = self._answers.readline()
        if not line:
            raise SystemExit(f"the device's process ended at {choice['method']}")
        found: dict[str, Any] = json.loads(line)
        return found


def chosen(method: str, plan: Plan, path: Path) -> dict[str, Any]:
    """Where a method cuts, and how long it should take by the profiles."""
    table = table_of(open_bundle(path))
    seconds = table.latency_s(table.link.up_bps, table.link.down_bps, table.link.rtt_s)
    every = list(zip(table.cuts, table.codecs, strict=True))
    inner = [k for k, (cut, _) in enumerate(every) if cut not in (INPUT, OUTPUT)]
    allowed = {
        "autosplit": [k for k, pair in enumerate(every) if pair == (plan.cuts[0], plan.codec)],
        "u8": [k for k, (cut, _) in enumerate(every) if cut == OUTPUT],
        "device": [k for k, (cut, _) in enumerate(every) if cut == OUTPUT],
        "float": [k for k in inner if every[k][1] == "float32"],
        "float_int8": [k for k in inner if every[k][1] == "int8"],
        "cloud": [k for k, pair in enumerate(every) if pair == (INPUT, "int8")],
    }[method]
    best = min(allowed, key=lambda k: float(seconds[k]))
    predicted_s = plan.cost.total_s if method == "autosplit" else float(seconds[best])
    return {
        "method": method,
        "bundle": path.name,
        "cut": every[best][0],
        "codec": every[best][1],
        "predicted_ms": predicted_s * 1e3,
        "device_ms": float(table.device_s[best]) * 1e3,
        "server_ms": float(table.server_s[best]) * 1e3,
    }


def sizes(own: Bundle, row: dict[str, Any]) -> dict[str, Any]:
    """Bytes of the plan that ran, measured over planned."""
    few, solution = own.manifest.few_bits, own_solution(own.plan)
    part = None if few is None else few.head or few.whole
    if part is None:
        return {}
    file = (own.path / part.file).stat().st_size
    held = {} if part.held_bytes is None else {
        "held_bytes": part.held_bytes,
        "held_over_plan": part.held_bytes / part.memory_bytes,
        "held_over_containers": part.held_bytes / part.container_bytes,
    }  # fmt: skip
    return {
        "sent_bytes": row["bytes"],
        "wire_over_plan": row["bytes"] / solution["sent_bytes"] if solution["sent_bytes"] else 1.0,
        "disk_bytes": file,
        "disk_over_plan": file / part.weight_bytes,
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


def accuracy(own: Bundle, data: Sequence[str], measured_on: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Right answers of the bundle over the wire (without the slow link), of the whole network, and what was promised.

    The pictures are those that the promise was measured on."""
    from isthmus.cli.measuring import Measuring, judging_samples
    from isthmus.engine import Engine
    from isthmus.quant import Distortions
    from isthmus.run import serve

    words = dict(zip(data[::2], data[1::2], strict=True))
    model = own.model()
    tables = read_json(measured_on, Distortions)
    how = Measuring(words["--data"], words["--scale"], asked.pictures, int(words["--first-class"]))
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


def device(path: Path, address: str) -> None:
    """Runs in the device's process: an order a line, (cut, codec, requests); an answer a line, medians."""
    here = ready(open_bundle(path), slowdown=1.0)  # the quota makes it slow
    inputs = here.engine.model.random_inputs(1)
    for line in sys.stdin:
        cut, codec, requests = json.loads(line)
        with connect(here, address, chooser=Fixed(Choice(cut=cut, codec=codec)), deadline_s=60) as session:
            session.wait_connected(20)
            steps = [session.infer(inputs).step for _ in range(requests + WARM_UP)][WARM_UP:]
        if any(s.trouble or s.cut != cut for s in steps):
            raise SystemExit(f"{cut} was not what ran: {steps[-1].trouble}")
        row = {"bytes": steps[0].up_bytes, "measured_ms": middle_ms(steps, "total"), **by_cause(steps)}
        print(json.dumps(row), flush=True)


def by_cause(steps: Sequence[Step]) -> dict[str, float]:
    return {f"{name}_ms": middle_ms(steps, name) for name in ("head", "encode", "up", "queue", "tail", "down")}


def middle_ms(steps: Sequence[Step], name: str) -> float:
    return float(statistics.median(getattr(s.seconds, name) for s in steps)) * 1e3


def show(result: dict[str, Any]) -> None:
    print(f"{result['model']}, {result['uplink_mbit']:g} Mbit/s, device with {result['share']:.0%} of a core")
    for row in result["rows"]:
        print(
            f"  {row['method']:10} {row['cut']:14} {row['codec']:8} {row['measured_ms']:8.1f} ms measured "
            f"{row['predicted_ms']:8.1f} predicted ({row['ratio']:.2f}), {row['predicted_now_ms']:8.1f} for machines "
            f"as they were ({row['ratio_now']:.2f})  {row['bytes']:8.0f} B"
        )
    for name in ("narrow", "wire_over_plan", "disk_over_plan", "held_over_plan", "held_over_containers"):
        if name in result:
            print(f"  {name}: {result[name]:.3f}")
    if "wire_accuracy" in result:
        print(
            f"  right over the wire {result['wire_accuracy']:.1%} of {result['pictures']}, in floating point "
            f"{result['float_accuracy']:.1%}: {result['loss']:.2%} lost, {result['promised_loss']:.2%} promised"
        )


if __name__ == "__main__":
    if len(sys.argv) == 3 and Path(sys.argv[1]).is_dir():
        device(Path(sys.argv[1]), sys.argv[2])
    else:
        main()

"""Does a promise hold? Edgent's static plans on a slowed device and a shaped link: share of requests in time.

The device is a process that computes and then waits (`--slowdown` times as slow as this core), the server another one
on another core; between them lie two namespaces (root) or a token bucket, at several rates. Each rate is first seen for
two dozen requests: the fixed cost of one, how late one in ten is, how slow both machines are beside their profiles.
Then every latency requirement is planned for twice, by `edgent` at 95 % and as the papers do (typical seconds), and
each plan that promises something answers real pictures. Some requirements are set just above what an exit's best
partition surely takes, where a promise is hardest to keep. Asked: of each plan's requests at least 95 % in time.

With ISTHMUS_DATA: the ten-exit ResNet-20 and CIFAR-10 of that folder; without, the digits that ship with isthmus.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from shaped_runs import PORT, on_core, packed, serving

from isthmus.adapt import Fixed
from isthmus.bundle import Bundle, open_bundle
from isthmus.engine import Engine
from isthmus.errors import NoPlan
from isthmus.files import write_json
from isthmus.graph import INPUT, OUTPUT
from isthmus.link import Link, ShapedLink
from isthmus.link.testbed import ShapedNetwork, missing
from isthmus.model import digits_test, load_model
from isthmus.plan import PLANNERS, Limits, Plan, Problem
from isthmus.plan.types import Exit
from isthmus.plan.uneven import uneven
from isthmus.profile.datasets import load_dataset
from isthmus.profile.exit_measure import measure_exits
from isthmus.profile.measure import Measuring, measure
from isthmus.profile.samples import Samples
from isthmus.record import Choice, Step, crossing_s, late_of
from isthmus.session import connect, problem_of, ready

RATES_MBIT = (0.5, 1.0, 2.0, 5.0)
DELAY_S = 0.0025
SHARE = 0.95
SEEN = 24
"""Requests of each kind by which a rate is known before it is planned for."""
PAUSE_S = REST_S = 0.006
"""Before a request, and before every part where the profile is measured: a core that has rested is slower."""
RESNET = "models/portend_resnet20_10exits_joint.onnx"
Name = tuple[str, str, str | None]
"""Cut, codec, exit."""


@dataclass(frozen=True)
class Subject:
    """A network with exits, pictures as it takes them and their classes."""

    model: str
    inputs: np.ndarray
    labels: np.ndarray
    slowdown: float


def subject(slowdown: float | None) -> Subject:
    """What is run: trained exits and real pictures either way."""
    root = os.environ.get("ISTHMUS_DATA")
    if root and Path(root, RESNET).is_file():
        pictures = load_dataset("cifar10", data_folder=Path(root))
        mixed = pictures.test.pick(np.random.default_rng(0).permutation(len(pictures.test))[:2000])
        return Subject(str(Path(root, RESNET)), pictures.floats(mixed), mixed.labels, slowdown or 60.0)
    images, labels = digits_test()
    return Subject("zoo:digits", images, labels, slowdown or 400.0)


class Device:
    """The process on the device's side; `play` has it answer so many requests by each choice."""

    def __init__(self, process: subprocess.Popen[Any]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout

    def play(self, choices: Sequence[Name], requests: int) -> list[tuple[list[Step], float]]:
        """(steps, share of right answers) of each choice, in turn."""
        self._in.write(json.dumps([choices, requests]) + "\n")
        self._in.flush()
        line = self._out.readline()
        if not line:
            raise SystemExit("the device's process ended")
        return [([Step.model_validate(s) for s in steps], right) for steps, right in json.loads(line)]


@contextmanager
def machines(bundle: Path, about: Subject, keep: Path) -> Iterator[tuple[Device, Any]]:
    """Both processes at work, and the link between them (`set_rate`)."""
    np.savez(keep / "pictures.npz", inputs=about.inputs, labels=about.labels)
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}

    def line(address: str) -> list[str]:
        script = [sys.executable, __file__, "--device", str(bundle), address, str(keep / "pictures.npz")]
        return [*on_core(0), *script, str(about.slowdown)]

    with ExitStack() as stack:
        if missing():
            server = subprocess.Popen([*on_core(1), *serving(bundle, "127.0.0.1")], stdout=subprocess.PIPE)
            stack.callback(server.wait)
            stack.callback(server.kill)
            server.stdout.readline()  # type: ignore[union-attr]
            shaped = stack.enter_context(ShapedLink(f"127.0.0.1:{PORT}", "10Mbit", delay_s=DELAY_S))
            child = subprocess.Popen(line(shaped.address), **pipes)
            stack.callback(child.wait)
            stack.callback(child.kill)
            yield Device(child), shaped
            return
        net = stack.enter_context(ShapedNetwork("10Mbit", delay_s=DELAY_S))
        host = net.address("server")
        net.start("server", [*on_core(1), *serving(bundle, host)], stdout=subprocess.PIPE).stdout.readline()  # type: ignore[union-attr]
        yield Device(net.start("device", line(f"{host}:{PORT}"), **pipes)), net


def seen(device: Device, problem: Problem, rate_bps: float) -> tuple[Problem, dict[str, float]]:
    """The problem as two dozen requests of three kinds show it: link, device and server at this hour."""
    last = problem.exits[-1].output
    at = problem.at_exit(last)
    split = [c for c in at.ready or () if c not in (INPUT, OUTPUT)]
    names: list[Name] = [(cut, "float32", last) for cut in (INPUT, split[len(split) // 2], OUTPUT)]
    far, middle, near = (steps for steps, _ in device.play(names, SEEN))
    plain = Link(rate_bps, rate_bps, 2 * DELAY_S)
    m_device, m_server = (m.profile.typical_s(m.profile.exits[last][1].whole) for m in problem.machines)
    device_now = [s.seconds.local for s in near]
    server_now = [s.seconds.decode + s.seconds.tail for s in far]
    sent = [*far, *middle]
    plain = plain.slowed(min(1.0, float(np.median([crossing_s(s) / by_rate(plain, s) for s in sent]))))
    fixed_s = max(0.0, float(np.median([crossing_s(s) - by_rate(plain, s) for s in sent])))
    link = replace(plain, fixed_s=fixed_s)
    machines = tuple(
        replace(m, factor=float(np.median(now)) / usual_s)
        for m, usual_s, now in zip(problem.machines, (m_device, m_server), (device_now, server_now), strict=True)
    )
    shown = late_of([*sent, *near])
    problem = uneven(
        replace(problem, links=(link,), machines=machines), link=shown.link, device=shown.device, server=shown.server
    )
    (link,), machines = problem.links, problem.machines
    told = {"payload_mbit": link.up_bps / 1e6, "fixed_ms": fixed_s * 1e3, "late": link.late}
    told |= {f"{who}_{what}": getattr(m, what) for who, m in zip(("device", "server"), machines, strict=True)
             for what in ("factor", "late")}  # fmt: skip
    return problem, told


def by_rate(link: Link, step: Step) -> float:
    """Seconds that a link's rates and round trip alone make of what a request sent."""
    return link.up_s(step.up_bytes) + link.down_s(step.down_bytes)


def requirements(problem: Problem, wanted: Sequence[float]) -> Iterator[tuple[float, str]]:
    """(seconds, kind): those wanted, and some just above what the best partition of an exit surely takes."""
    for seconds in wanted:
        yield seconds, "given"
    exits = problem.exits
    for place in (exits[0], exits[len(exits) // 2], exits[-1]):
        at = problem.at_exit(place.output)
        sure = replace(at, limits=Limits(latency_s=1e3, sure=SHARE)).surely
        best = PLANNERS["neurosurgeon"](replace(sure, limits=Limits()))
        yield best.cost.total_s * 1.001, "tight"


def planned(problem: Problem, within_s: float, share: float | None) -> Plan | None:
    """Edgent's plan; None where it promises nothing."""
    try:
        return PLANNERS["edgent"](replace(problem, limits=Limits(latency_s=within_s, sure=share)))
    except NoPlan:
        return None


def at_rate(device: Device, problem: Problem, rate_bps: float, asked: Any) -> dict[str, Any]:
    """Every requirement at one rate."""
    known, told = seen(device, problem, rate_bps)
    rows = []
    for within_s, kind in requirements(known, [ms / 1e3 for ms in asked.requirements]):
        for share in (SHARE, None):
            plan = planned(known, within_s, share)
            row: dict[str, Any] = {"within_ms": within_s * 1e3, "kind": kind, "sure": share, "promised": bool(plan)}
            if plan is not None:
                ((steps, right),) = device.play([(plan.cuts[0], plan.codec, plan.exit)], asked.requests)
                row |= kept(plan, steps, within_s) | {"right": right}
            rows.append(row)
    return {"mbit": rate_bps / 1e6, "seen": told, "rows": rows}


def kept(plan: Plan, steps: Sequence[Step], within_s: float) -> dict[str, Any]:
    """What became of one plan."""
    total = np.array([s.seconds.total for s in steps])
    promise = plan.promise
    accuracy = next(row.accuracy for row in plan.exits if row.output == plan.exit)
    return {
        "exit": plan.exit,
        "accuracy": accuracy,
        "cut": plan.cuts[0],
        "typical_ms": plan.cost.total_s * 1e3,
        "sure_ms": None if promise is None else promise.sure_s * 1e3,
        "measured_ms": float(np.median(total)) * 1e3,
        "p95_ms": float(np.quantile(total, 0.95)) * 1e3,
        "requests": len(steps),
        "in_time": float((total <= within_s).mean()),
        "lost": sum(bool(s.trouble) for s in steps),
        "wrong": sum(bool(s.wrong) for s in steps),
    }


def summed(rates: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The numbers asked for, by who planned."""
    found = {}
    for share, name in ((SHARE, "sure"), (None, "printed")):
        rows = [r for rate in rates for r in rate["rows"] if r["sure"] == share]
        promised = [r for r in rows if r["promised"]]
        requests = sum(r["requests"] for r in promised)
        found[name] = {
            "requirements": len(rows),
            "promised": len(promised),
            "requests": requests,
            "in_time": sum(r["in_time"] * r["requests"] for r in promised) / max(1, requests),
            "plans_at_95": sum(r["in_time"] >= SHARE for r in promised),
            "worst_plan": min((r["in_time"] for r in promised), default=1.0),
            "mean_accuracy": float(np.mean([r["accuracy"] or 0.0 for r in promised])) if promised else 0.0,
            "lost": sum(r["lost"] for r in promised),
            "wrong": sum(r["wrong"] for r in promised),
        }
    return found


@contextmanager
def bundled(asked: argparse.Namespace) -> Iterator[tuple[Subject, Path]]:
    """What is run, packed with profiles of this core and the accuracies of its exits."""
    about = subject(asked.slowdown)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "exits.json"
        write_json(table, exits_of(about))
        with packed(about.model, asked.runs, options=options(about.model, asked.runs, table)) as bundle:
            yield about, bundle


def measured(about: Subject, bundle: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Every rate and requirement, run."""
    problem = right_sized(open_bundle(bundle))
    with tempfile.TemporaryDirectory() as folder, machines(bundle, about, Path(folder)) as (device, link):
        rates = []
        for mbit in asked.rates:
            link.set_rate(mbit * 1e6)
            goodput = 1.0 if missing() else link.goodput
            rates.append(at_rate(device, problem, mbit * 1e6 * goodput, asked))
            print(f"{mbit:g} Mbit/s done", file=sys.stderr, flush=True)
    exits = [(e.output, e.accuracy) for e in problem.exits]
    name = Path(about.model).stem
    return {"model": name, "slowdown": about.slowdown, "exits": exits, "rates": rates, "summary": summed(rates)}


def options(model: str, runs: int, exits: Path, rest_s: float = REST_S) -> list[str]:
    """What to pack with: this table of exits, and beside it one profile of this core for both machines, with a rest
    before each part, as in use."""
    file = str(exits.with_name("profile.json"))
    script = [sys.executable, __file__, "--profile", model, file, str(runs), str(rest_s)]
    subprocess.run([*on_core(0), *script], check=True)
    return ["--device-profile", file, "--server-profile", file, "--codecs", "float32", "--exits", str(exits)]


def profile_main(model: str, file: str, runs: str, rest_s: str) -> None:
    """Runs in a process of its own."""
    engine = Engine.open(load_model(model))
    how = Measuring(runs=int(runs), codecs=("float32",), rest_s=float(rest_s), exits=True)
    write_json(Path(file), measure(engine, how, taken="", clock=time.perf_counter))


def exits_of(about: Subject) -> Any:
    """How good the exits are on the pictures."""
    engine = Engine.open(load_model(about.model), cuts="none")
    samples = Samples({engine.model.inputs[0].name: about.inputs}, about.labels)
    return measure_exits(engine, samples, data="test pictures")


def right_sized(bundle: Bundle) -> Problem:
    """The bundle's problem with its exits."""
    assert bundle.exits is not None
    return replace(problem_of(bundle), exits=tuple(Exit(row.output, row.accuracy) for row in bundle.exits.rows))


def device_main(folder: str, address: str, pictures: str, slowdown: str) -> None:
    """Runs in the device's process: orders come in line by line."""
    here = ready(Path(folder), slowdown=float(slowdown))
    held = np.load(pictures)
    inputs, labels = held["inputs"], held["labels"]
    name, at = here.engine.graph.inputs[0], 0
    for line in sys.stdin:
        choices, requests = json.loads(line)
        answers = []
        for cut, codec, output in choices:
            choice = Choice(cut=cut, codec=codec, exit=output)
            with connect(here, address, chooser=Fixed(choice), deadline_s=10, verify=True) as session:
                session.wait_connected(10)
                steps, right = [], 0
                for number in range(-2, requests):
                    picture, label = inputs[at % len(inputs)], labels[at % len(inputs)]
                    answer = session.infer({name: picture[None]})
                    time.sleep(PAUSE_S)
                    if number >= 0:
                        at += 1
                        right += int(next(iter(answer.outputs.values())).argmax()) == int(label)
                        steps.append(answer.step.model_dump())
            answers.append((steps, right / requests))
        print(json.dumps(answers), flush=True)


def shown(found: dict[str, Any]) -> str:
    lines = [f"{found['model']}, device {found['slowdown']:g}× as slow as this core"]
    for rate in found["rates"]:
        told = ", ".join(f"{k} {v:.3g}" for k, v in rate["seen"].items())
        lines.append(f"{rate['mbit']:g} Mbit/s of payload ({told})")
        for r in rate["rows"]:
            who = "95 %" if r["sure"] else "printed"
            what = "promises nothing"
            if r["promised"]:
                sure = "" if r["sure_ms"] is None else f", {r['sure_ms']:.1f} sure"
                what = (
                    f"{r['exit']} {r['cut']}: {r['typical_ms']:.1f} ms{sure}; measured {r['measured_ms']:.1f}, p95 "
                    f"{r['p95_ms']:.1f}; in time {r['in_time']:.1%}, right {r['right']:.0%}"
                )
            lines.append(f"  {r['within_ms']:7.1f} ms {r['kind']:5s} {who:7s} {what}")
    for name, s in found["summary"].items():
        lines.append(
            f"{name}: {s['promised']} of {s['requirements']} promised, {s['in_time']:.2%} of {s['requests']} in time, "
            f"{s['plans_at_95']} plans at 95 %, worst {s['worst_plan']:.1%}; lost {s['lost']}, wrong {s['wrong']}"
        )
    return "\n".join(lines)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is run, and how often."""
    parser.add_argument("--slowdown", type=float, default=None, help="of the device; 60, or 400 for digits")
    parser.add_argument("--runs", type=int, default=20, help="of every part where the profile is measured")
    parser.add_argument("--requests", type=int, default=40, help="of every plan")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES_MBIT, help="Mbit/s")
    parser.add_argument("--requirements", type=float, nargs="+", default=(20.0, 35.0, 60.0, 100.0), help="ms")


def main() -> None:
    for word, run in (("--device", device_main), ("--profile", profile_main)):
        if sys.argv[1:2] == [word]:
            run(*sys.argv[2:])
            return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_options(parser)
    asked = parser.parse_args()
    with bundled(asked) as (about, bundle):
        found = measured(about, bundle, asked)
    print(json.dumps(found) if asked.json else shown(found))


if __name__ == "__main__":
    main()

"""Bundles raced over one link: a slow device's process and a server for each, and what each request cost by cause.

The device is declared slow (`isthmus.engine.slow`): after computing for t seconds it waits (factor − 1)·t more. A quota
of the kernel's would be no such device: it is noticed at a tick of some milliseconds, so that a part shorter than a
tick runs through at full speed. Device and server have a core each.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shaped_runs import PORT, on_core, serving

from isthmus.adapt import Fixed
from isthmus.bundle import Bundle, open_bundle
from isthmus.bundle.prices import narrowed
from isthmus.graph import INPUT, OUTPUT, cut_at
from isthmus.link.testbed import ShapedNetwork
from isthmus.plan import Plan
from isthmus.plan.cost import parts, price
from isthmus.plan.splits import at_bits
from isthmus.record import Choice, Step
from isthmus.session import connect, problem_of, ready, table_of

WARM_UP = 2
METHODS = {"ours": ("autosplit",), "u8": ("u8",), "float": ("float", "float_int8", "cloud", "device")}
"""By bundle."""
CAUSES = ("head", "encode", "up", "queue", "decode", "tail", "down")


@dataclass(frozen=True)
class Way:
    """A method's bundle, cut and codec, and what the plan says of it: milliseconds in all, by cause, and what a process
    holds for its part at few bits (planned and measured when it was packed; None where it has no such part)."""

    method: str
    bundle: str
    cut: str
    codec: str
    planned_ms: float
    planned_by_cause_ms: Mapping[str, float]
    planned_held_bytes: int | None = None
    held_bytes: int | None = None


def ways(folder: Path, plan: Plan) -> list[Way]:
    """All methods, with the bundles in this folder."""
    return [_way(method, plan, folder / name) for name, methods in METHODS.items() for method in methods]


def _way(method: str, plan: Plan, path: Path) -> Way:
    bundle = open_bundle(path)
    cut, codec = (plan.cuts[0], plan.codec) if method == "autosplit" else _fastest(method, bundle)
    problem = problem_of(bundle)
    few = bundle.manifest.few_bits
    part = next((part for part in (() if few is None else few.parts) if part.cut == cut), None)
    if part is not None:
        problem = at_bits(narrowed(problem, part.ratio), part.bits)
    cuts = (cut_at(problem.graph, cut),)
    coding_s = parts(problem, cuts, codec).codec_s
    cost = plan.cost if method == "autosplit" else price(problem, cuts, codec)
    planned_s = {
        "head": cost.compute_s[0],
        "encode": coding_s[0],
        "up": cost.up_s[0],
        "decode": coding_s[1],
        "tail": cost.compute_s[1],
        "down": cost.down_s[0],
    }
    by_cause = {name: planned_s.get(name, 0.0) * 1e3 for name in CAUSES}
    held = (None, None) if part is None else (part.planned_held_bytes, part.held_bytes)
    return Way(method, path.name, cut, codec, cost.total_s * 1e3, by_cause, *held)


def _fastest(method: str, bundle: Bundle) -> tuple[str, str]:
    """Where a method cuts, and what it writes with."""
    table = table_of(bundle)
    seconds = table.latency_s(table.link.up_bps, table.link.down_bps, table.link.rtt_s)
    every = list(zip(table.cuts, table.codecs, strict=True))
    allowed = {
        "u8": [pair for pair in every if pair[0] == OUTPUT],
        "device": [pair for pair in every if pair[0] == OUTPUT],
        "float": [pair for pair in every if pair[0] not in (INPUT, OUTPUT) and pair[1] == "float32"],
        "float_int8": [pair for pair in every if pair[0] not in (INPUT, OUTPUT) and pair[1] == "int8"],
        "cloud": [(INPUT, "int8")],
    }[method]
    return min(allowed, key=lambda pair: float(seconds[every.index(pair)]))


@contextmanager
def undisturbed() -> Iterator[None]:
    """What is started inside comes before other programs of its core (real-time scheduling), where that is allowed: a
    machine of its own would not have to share. All of it sleeps most of the time."""
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameter)


_SPIN = """import os
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""


@contextmanager
def awake(cores: Sequence[int] = (0, 1)) -> Iterator[None]:
    """These cores are never idle inside: each spins for whoever does not want it, so that the machine is the same when
    it is profiled and when it is raced. A shared one was slower where its cores had slept (MobileNetV2 11.3 to 12.8 ms
    idle, 10.3 to 11.9 with the other core busy), and a profile that was taken while something else ran promised 1.11 to
    1.17 times the speed that the race had."""
    spinning = [subprocess.Popen([*on_core(core), sys.executable, "-c", _SPIN]) for core in cores]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def race(
    folder: Path, wanted: Sequence[Way], net: ShapedNetwork, *, rounds: int, requests: int
) -> list[dict[str, Any]]:
    """Each way in turn, round after round, so that no method meets another machine than the others; a row each, with
    the median of all its requests. The requests themselves are kept in `requests.json`."""
    players = {name: Player(net, folder / name, PORT + at) for at, name in enumerate(METHODS)}
    found: dict[str, list[dict[str, float]]] = {way.method: [] for way in wanted}
    for _ in range(rounds):
        for way in wanted:
            found[way.method] += players[way.bundle].play(way, requests)
    (folder / "requests.json").write_text(json.dumps(found))
    return with_loads([_row(way, found[way.method]) for way in wanted])


def _row(way: Way, requests: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    middle = {key: statistics.median(r[key] for r in requests) for key in requests[0]}
    return {
        "method": way.method,
        "cut": way.cut,
        "codec": way.codec,
        "requests": len(requests),
        "bytes": middle["bytes"],
        "planned_ms": way.planned_ms,
        "measured_ms": middle["total"],
        "ratio": middle["total"] / way.planned_ms,
        "planned_by_cause_ms": dict(way.planned_by_cause_ms),
        "measured_by_cause_ms": {name: middle[name] for name in CAUSES},
        "planned_held_bytes": way.planned_held_bytes,
        "held_bytes": way.held_bytes,
    }


def with_loads(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, each also beside its plan for machines as slow as the floating-point network alone showed them."""
    by = {row["method"]: row for row in rows}
    alone = [("device", ("head", "encode"), by["device"]), ("server", ("tail", "decode"), by["cloud"])]
    for row in rows:
        now_ms = row["planned_ms"]
        for place, causes, known in alone:
            load = known["measured_by_cause_ms"][causes[0]] / known["planned_by_cause_ms"][causes[0]]
            row[f"{place}_load"] = load
            now_ms += (load - 1) * sum(row["planned_by_cause_ms"][name] for name in causes)
        row |= {"planned_now_ms": now_ms, "ratio_now": row["measured_ms"] / now_ms}
    return rows


class Player:
    """A bundle between both sides: a server for it, and a device's process that plays what it is told."""

    def __init__(self, net: ShapedNetwork, path: Path, port: int) -> None:
        host = net.address("server")
        words = serving(path, host)
        words[words.index("--port") + 1] = str(port)
        server = net.start("server", [*on_core(1), *words], stdout=subprocess.PIPE)
        assert server.stdout is not None
        server.stdout.readline()
        line = [*on_core(0), sys.executable, __file__, str(path), f"{host}:{port}"]
        process = net.start("device", line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin is not None
        assert process.stdout is not None
        self._orders, self._answers = process.stdin, process.stdout

    def play(self, way: Way, requests: int) -> list[dict[str, float]]:
        """What so many requests took, by cause, and their bytes."""
        self._orders.write(json.dumps([way.cut, way.codec, requests]) + "\n")
        self._orders.flush()
        line = self._answers.readline()
        if not line:
            raise SystemExit(f"the device's process ended at {way.method}")
        found: list[dict[str, float]] = json.loads(line)
        return found


def device(path: Path, address: str) -> None:
    """Runs in the device's process, as slow as the bundle's profile declares it: an order a line, (cut, codec,
    requests); an answer a line."""
    here = ready(open_bundle(path))
    inputs = here.engine.model.random_inputs(1)
    for line in sys.stdin:
        cut, codec, requests = json.loads(line)
        with connect(here, address, chooser=Fixed(Choice(cut=cut, codec=codec)), deadline_s=60) as session:
            session.wait_connected(20)
            steps = [session.infer(inputs).step for _ in range(requests + WARM_UP)][WARM_UP:]
        if any(s.trouble or s.cut != cut for s in steps):
            raise SystemExit(f"{cut} was not what ran: {steps[-1].trouble}")
        print(json.dumps([_milliseconds(step) for step in steps]), flush=True)


def _milliseconds(step: Step) -> dict[str, float]:
    """By cause; what the device does where nothing is sent is its head."""
    seconds = step.seconds
    by_cause = {name: getattr(seconds, name) * 1e3 for name in ("total", *CAUSES)}
    return {**by_cause, "head": (seconds.head + seconds.local) * 1e3, "bytes": float(step.up_bytes)}


if __name__ == "__main__":
    device(Path(sys.argv[1]), sys.argv[2])

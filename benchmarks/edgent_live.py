"""Edgent's configurators on real machines: the live part of edgent_dynamic.py.

The device is a process whose network runs as many times slower as its profile declares, the server has the other core,
between them lie two namespaces and a shaped link with 10 ms of round trip that replays a trace at its own pace. Every
policy plays the same parts, each part by all before the next, requests at the same moments (later where the one before
is not answered yet); nobody is saved by the device finishing late answers. Reported over all parts together: one part
tells how good a plan for its first rate happens to be.

History and playing parts are different files. The history's median is brought to the rate at which the device alone and
the server are equally fast to the first exit, the requirement is 1.5 times what that takes, by what the device takes in
use: a few requests before tell how many times as slow as its profile it is. Of every file that is not
history the part in which the rate spreads most stands for it, and of those the `--live-parts` that spread most are
played, beginning with number `--rank`: where there is something to follow, however it begins.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from dynamic_split_live import Device, Settings, machines
from edgent_cases import ALLOWED, NETS, Net, Set, judged
from edgent_static_live import options
from live_judging import LEAD_S
from shaped_runs import packed

from isthmus.adapt import bandwidth_states, belief_spread
from isthmus.bundle import Bundle, open_bundle
from isthmus.files import write_json
from isthmus.graph import OUTPUT, graph_of
from isthmus.link import Link, Trace
from isthmus.model import Model, load_model
from isthmus.plan import Problem
from isthmus.plan.planners.edgent import in_time
from isthmus.plan.strategies import link_at, strategies
from isthmus.profile import ExitTable
from isthmus.profile.exits import ExitRow
from isthmus.record import Step
from isthmus.session import problem_of
from isthmus.simulate import Served, served

SLOWDOWN = {"b_alexnet": 120.0, "digits": 1500.0}
"""So slow that the first exit takes some 100 ms on the device, as on a small board; digits is a tiny network."""
DELAY_S = 0.005
EVERY_S = 0.2
SEEN_S = 5.0
RUNS, REST_S = 8, 0.05
"""Of every part where the profile is measured: a core that has rested so long is as slow as one in use."""


@dataclass(frozen=True)
class Going:
    """What holds for a whole run: seconds of a part, from which of the liveliest files on, how many, the traces' sets,
    who plays, where journals are kept."""

    seconds: float
    rank: int
    parts: int
    sets: tuple[str, ...]
    policies: tuple[str, ...]
    keep: Path


def live(root: Path, nets: Sequence[str], most: int, going: Going, bundles: Path | None) -> list[dict[str, Any]]:
    """A row for each network and set."""
    rows = []
    for name in nets:
        sets = [Set.read(root / "traces" / one, most) for one in going.sets]
        if bundles is not None and (bundles / name).is_dir():
            rows += played(name, bundles / name, sets, going)
            continue
        with packed_with_exits(name) as bundle:
            rows += played(name, bundle, sets, going)
    return rows


def packed_with_exits(name: str) -> Any:
    """A bundle with the accuracies of `NETS`, profiled here as it is used: a core that rests between requests."""
    model = load_model(f"zoo:{name}")
    table = Path(tempfile.mkdtemp()) / "exits.json"
    write_json(table, exit_table(model, NETS[name]))
    slow = ("--slowdown", str(SLOWDOWN[name]))
    return packed(f"zoo:{name}", RUNS, options=[*slow, *options(f"zoo:{name}", RUNS, table, REST_S)])


def exit_table(model: Model, shares: Sequence[float]) -> ExitTable:
    """A table with these accuracies; its thresholds are never asked for, for no input leaves early here."""
    outputs = graph_of(model).outputs
    rows = tuple(
        ExitRow(output=output, accuracy=share, threshold=0.5 if output != outputs[-1] else None)
        for output, share in zip(outputs, shares, strict=True)
    )
    known = {"model": model.name, "fingerprint": model.fingerprint, "classes": 10, "data": "told", "samples": 1}
    return ExitTable(rows=rows, accuracy=shares[-1], **known)


def played(name: str, path: Path, sets: Sequence[Set], going: Going) -> list[dict[str, Any]]:
    """Every set and policy with one bundle."""
    profiled = net_of(name, open_bundle(path))
    going.keep.mkdir(parents=True, exist_ok=True)
    inputs = going.keep / "input.npy"
    np.save(inputs, next(iter(load_model(f"zoo:{name}").random_inputs(1, 0).values())))
    settings = Settings(going.seconds, every_s=EVERY_S, rounds=1, delay_s=DELAY_S)
    rows = []
    with machines(path, inputs, going.keep, settings) as device:
        net = in_use(device, profiled)
        tie_bps, tie_s = net.tie()
        within_s = ALLOWED[-1] * tie_s
        device.settings = replace(settings, every_s=max(EVERY_S, within_s))
        for data in sets:
            scaled = data.scaled(tie_bps / data.median_bps)
            parts = liveliest(scaled.playing, going.seconds)[going.rank : going.rank + going.parts]
            if len(parts) < going.parts:
                raise SystemExit(f"{data.name} has too few traces of {going.seconds:g} s without an outage")
            keep = [going.keep / f"{name}-{data.name}-{going.rank + k}" for k in range(len(parts))]
            rows.append(
                {
                    "net": name,
                    "set": data.name,
                    **case(device, net, scaled, within_s, dict(zip(keep, parts, strict=True)), going.policies),
                }
            )
    return rows


def in_use(device: Device, net: Net) -> Net:
    """The same network on a device as slow as some requests to the first exit show it to be."""
    first = net.ahead[0]
    link = Link(1e6, 1e6, 2 * DELAY_S)
    steps, _ = device.play(
        "seen", Trace.of([0], [1e6], duration_s=SEEN_S), link, choice=(OUTPUT, "float32"), exit=first.exit.output
    )
    factor = float(np.median([s.seconds.local for s in steps])) / first.home_s
    print(f"{net.name}: in use the device takes {factor:.2f} times what its profile says", file=sys.stderr, flush=True)
    near, *others = net.problem.machines
    problem = replace(net.problem, machines=(replace(near, factor=factor), *others))
    return Net.of(net.name, problem, [e.accuracy or 0.0 for e in problem.exits])


def net_of(name: str, bundle: Bundle) -> Net:
    """The bundle's own problem on the testbed's link."""
    problem = problem_of(bundle, link=Link(1e6, 1e6, 2 * DELAY_S))
    return Net.of(name, problem, NETS[name])


def case(
    device: Device, net: Net, data: Set, within_s: float, parts: dict[Path, Trace], policies: Sequence[str]
) -> dict[str, Any]:
    """These policies over these parts, by where their journals go; rates of the traces are payload, the wire carries a
    little more."""
    states = bandwidth_states(data.history)
    problem = replace(net.asked(within_s, states), states_spread=belief_spread(data.history))
    steps: dict[str, list[Step]] = {name: [] for name in policies}
    each: list[dict[str, Any]] = []
    for folder, part in parts.items():
        device.keep = folder
        folder.mkdir(exist_ok=True)
        told: dict[str, Any] = {"from_mbit": float(part.rates_bps[0]) / 1e6}
        for name in policies:
            played = replayed(device, name, part, problem)
            steps[name] += played
            one = served(played, problem.exits, within_s)
            told[name] = {"met": one.met, "reward": one.reward}
            say(net.name, data.name, name, one, played)
        each.append(told)
    found = {name: served(steps[name], problem.exits, within_s) for name in policies}
    return {
        "setting": f"live × {ALLOWED[-1]:g}",
        "within_s": within_s,
        "median_mbit": float(np.median(np.concatenate([part.rates_bps for part in parts.values()]))) / 1e6,
        "states": len(states),
        "parts": len(parts),
        "by_part": each,
        **judged(found),
        "policies": {k: one.model_dump(mode="json") for k, one in found.items()},
    }


def replayed(device: Device, name: str, part: Trace, problem: Problem) -> list[Step]:
    """The requests of a policy over a part, without those of the lead; the static one is planned for the first rate by
    the same requirement and share of requests."""
    wire = part.scaled(1 / device.net.goodput)
    link, within_s = link_at(problem.links[0], max(1e3, float(part.rates_bps[0]))), problem.limits.latency_s
    if name == "edgent":
        row = in_time(strategies(problem), link, within_s)
        steps, _ = device.play(name, wire, link, choice=(row.cut, row.codec), exit=row.exit)
    else:
        asked = {"within_s": within_s, "states_bps": problem.states_bps, "states_spread": problem.states_spread}
        asked["device_factor"] = problem.machines[0].factor
        steps, _ = device.play(name, wire, link, strategy=name, **asked)
    return [s for s in steps if s.t_s >= LEAD_S]


def liveliest(traces: Sequence[Trace], seconds: float) -> list[Trace]:
    """Of every trace the part of so many seconds in which the logarithm of the rate spreads most, the liveliest first;
    its beginning holds for the lead."""
    best: list[tuple[float, int, Trace]] = []
    for number, trace in enumerate(traces):
        parts = []
        for start_s in np.arange(0, trace.duration_s - seconds, seconds / 2):
            part = trace.part(float(start_s), float(start_s) + seconds)
            if part.rates_bps.min() < 0.05 * float(np.median(trace.rates_bps)):
                continue  # an outage is the same for all
            moments = part.times_s.searchsorted(np.arange(0, seconds, 0.5), side="right") - 1
            parts.append((float(np.std(np.log(part.rates_bps[moments]))), number, part))
        best += [max(parts, key=lambda p: p[0])] if parts else []
    return [
        Trace(np.concatenate([[0.0], part.times_s[1:] + LEAD_S]), part.rates_bps, part.duration_s + LEAD_S)
        for _, _, part in sorted(best, key=lambda p: -p[0])
    ]


def say(net: str, data: str, policy: str, one: Served, steps: Sequence[Step]) -> None:
    """How it went, for who watches."""
    p50_ms = float(np.median([s.seconds.total for s in steps])) * 1e3
    exits = {e: sum(s.exit == e for s in steps) for e in sorted({s.exit or "" for s in steps})}
    text = f"{net}, {data}, {policy}: {one.met:.1%} in time, reward {one.reward:.2f}, p50 {p50_ms:.0f} ms, {exits}"
    print(text, file=sys.stderr, flush=True)

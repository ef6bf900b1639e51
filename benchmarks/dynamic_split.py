"""How much faster is a split that follows link and batch than one that does not? The study of Dynamic Split Computing.

Bakhtiarnia et al., ICASSP 2023: 14 EfficientNets, 1…128 MB/s in powers of two, batches of 1…64 in powers of two; in
every state the best of {no offload, full offload, the compressive bottlenecks at block outputs} against what does not
change: no offload, full offload, the best one of the splits, and the best one of everything. As in the paper a state
costs head + bytes / rate + tail: no round trip and no way back.

Three pairs of machines:

- `card`: the paper's, a 2080 Ti and the same at 300 MHz, computed by the roofline model; the memory keeps its clock.
- `card, all slowed`: the same server, and as the device the same with every layer 13.45 / 2.37 = 5.68 times slower.
- `here`: profiles measured on this machine, and as the device the same declared 5.68 times slower. Batches that were
  not measured are in proportion to the largest that was. Only with `--profiles DIR`, where `--measure` writes what is
  missing, one model after the other; it can be stopped and goes on with the next call.

Three ways to write what crosses, because the paper does not say which: everything as float32; everything with 8 bits
an element; features with 8 bits and the input as a JPEG picture of quality 95.

A gain is what dynamic saves, in both readings of the paper's word: the mean over states of the relative savings, and
one minus the ratio of the sums.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from split_map import draw_maps

from isthmus.errors import IsthmusError
from isthmus.files import read_json, write_json
from isthmus.graph import INPUT, OUTPUT, Graph, bottlenecks, graph_of
from isthmus.link import Link
from isthmus.model import load_model
from isthmus.plan import CostTable, candidates_for, problem_for
from isthmus.profile import Profile
from isthmus.profile.devices import computed_profile, find_device
from isthmus.simulate.gain import gain
from isthmus.simulate.states import PAPER_BATCHES, PAPER_RATES_BPS, Evaluated, States, evaluate

MODELS = tuple(f"efficientnet_b{k}" for k in range(7)) + tuple(
    f"efficientnet_v2_{k}" for k in ("b0", "b1", "b2", "b3", "s", "m", "l")
)
DRAWN = ("efficientnet_b4", "efficientnet_v2_s", "efficientnet_v2_l")
FACTOR = 13.45 / 2.37
"""Peak of the paper's server over that of its device."""
WIRES = {"float32": ("float32", "float32"), "8 bit": ("int8", "int8"), "8 bit, JPEG": ("jpeg:95", "int8")}
"""name → codec of the input, codec of features"""
TARGET = 0.20
STATES = len(PAPER_RATES_BPS) * len(PAPER_BATCHES)
_LARGE_MACS = 6e9
"""Networks beyond this are measured at batches of 1 and 2 only."""


@dataclass(frozen=True)
class Net:
    """A network, its graph at every batch size, and the cuts of the study."""

    name: str
    graphs: tuple[Graph, ...]
    cuts: tuple[str, ...]

    @classmethod
    def of(cls, name: str) -> Net:
        model = load_model(f"zoo:{name}", weights=False)
        graphs = tuple(graph_of(model, batch) for batch in PAPER_BATCHES)
        return cls(name, graphs, tuple(b.cut.id for b in bottlenecks(graphs[0], "block") if b.compressive))


def computed_pair(net: Net, device: str, server: str, slowdown: float) -> tuple[Profile, Profile]:
    near, far = (
        computed_profile(find_device(name), net.graphs, net.name, taken="", bits=32) for name in (device, server)
    )
    return slowed(near, slowdown), far


def slowed(profile: Profile, factor: float) -> Profile:
    machine = profile.machine.model_copy(update={"slowdown": factor})
    return profile.model_copy(update={"machine": machine})


def pairs_of(net: Net, folder: Path | None) -> dict[str, tuple[Profile, Profile]]:
    """Name of the pair → (device, server)."""
    card = "rtx_2080_ti"
    found = {
        "card": computed_pair(net, f"{card}_at_300_mhz", card, 1.0),
        "card, all slowed": computed_pair(net, card, card, FACTOR),
    }
    measured = None if folder is None else finished(folder, net.name)
    if measured is not None:
        found["here"] = slowed(measured, FACTOR), measured
    return found


def finished(folder: Path, name: str) -> Profile | None:
    """The measured profile of a network, where it is complete."""
    file = folder / f"{name}.json"
    found = read_json(file, Profile) if file.exists() else None
    return found if found is not None and found.complete else None


def evaluated(net: Net, pair: tuple[Profile, Profile], wire: str) -> Evaluated:
    """Every choice in every state of the grid."""
    of_input, of_features = WIRES[wire]
    tables = {}
    for graph in net.graphs:
        problem = problem_for(
            graph,
            *pair,
            Link(up_bps=PAPER_RATES_BPS[0], down_bps=math.inf),
            codecs={INPUT: (of_input,)},
            default_codecs=(of_features,),
            ready=(INPUT, *net.cuts, OUTPUT),
        )
        tables[graph.batch] = CostTable.of(problem, candidates_for(problem))
    return evaluate(tables, States.grid())


def judged(net: Net, states: Evaluated) -> dict[str, Any]:
    """Gains in both readings against each policy that does not change, and how often each choice is the best."""
    seconds = {cut: states.seconds[:, at] for at, (cut, _) in enumerate(states.names)}
    best_split = min(net.cuts, key=lambda cut: float(seconds[cut].sum()))
    static = states.names[states.static][0]
    others = {
        "no offload": seconds[OUTPUT],
        "full offload": seconds[INPUT],
        "best split": seconds[best_split],
        "best static": seconds[static],
    }
    dynamic = states.seconds_of("dynamic")
    gains = {name: gain(dynamic, other) for name, other in others.items()}
    hardest = min(("no offload", "full offload", "best split"), key=lambda name: gains[name].mean_of_savings)
    wins = dict.fromkeys((INPUT, *net.cuts, OUTPUT), 0) | {cut: n for (cut, _), n in states.wins().items()}
    return {
        "static": label(net, static),
        "split": label(net, best_split),
        "hardest": hardest,
        "already_best": int((others[hardest] <= dynamic * (1 + 1e-12)).sum()),
        "mean_of_savings": {name: g.mean_of_savings for name, g in gains.items()},
        "ratio_of_sums": {name: g.ratio_of_sums for name, g in gains.items()},
        "fixed": {label(net, cut): gain(dynamic, seconds[cut]).mean_of_savings for cut in wins},
        "wins": {label(net, cut): n for cut, n in wins.items()},
        "map": [label(net, states.names[i][0]) for i in states.dynamic.tolist()],
    }


def label(net: Net, cut: str) -> str:
    """`device`, `server`, or the number of the block after which the network is cut, from 1."""
    blocks = net.graphs[0].blocks
    return {INPUT: "server", OUTPUT: "device"}.get(cut) or f"block {blocks.index(cut) + 1}"


def least(gains: dict[str, float]) -> float:
    """Against the hardest of no offload, full offload and the best one split."""
    return min(gains["no offload"], gains["full offload"], gains["best split"])


def study(names: Sequence[str], folder: Path | None) -> list[dict[str, Any]]:
    rows = []
    for name in names:
        net = Net.of(name)
        for pair, machines in pairs_of(net, folder).items():
            for wire in WIRES:
                found = judged(net, evaluated(net, machines, wire))
                rows.append({"model": name, "pair": pair, "kind": machines[0].machine.kind, "wire": wire, **found})
    return rows


def measure_missing(names: Sequence[str], folder: Path, minutes: float, runs: int) -> list[str]:
    """Measure the networks that have no complete profile yet, until the time is over; those that are left."""
    ends = time.monotonic() + 60 * minutes
    left = [name for name in names if finished(folder, name) is None]
    while left and time.monotonic() < ends:
        measure_one(left[0], folder / f"{left[0]}.json", runs, ends)
        if finished(folder, left[0]) is None:
            break
        left = left[1:]
    return left


class OutOfTimeError(Exception):
    """The go is over; what was measured is in the file."""


def measure_one(name: str, file: Path, runs: int, ends: float) -> None:
    from isthmus.engine import Engine
    from isthmus.profile.measure import Measuring, measure

    net = Net.of(name)
    batches = (1, 2) if net.graphs[0].macs > _LARGE_MACS else (1, 2, 4)
    codecs = tuple(sorted({c for pair in WIRES.values() for c in pair}))

    def keep(so_far: Profile) -> None:
        write_json(file, so_far)
        if time.monotonic() > ends and not so_far.complete:
            raise OutOfTimeError

    with tempfile.TemporaryDirectory() as cache:
        engine = Engine.open(load_model(f"zoo:{name}"), cuts=net.cuts, cache_dir=Path(cache))
        try:
            found = measure(
                engine,
                Measuring(batches=batches, runs=runs, codecs=codecs, cuts=net.cuts),
                taken=datetime.now(UTC).isoformat(timespec="seconds"),
                clock=time.perf_counter,
                progress=lambda done, of, what: print(f"{name}: {what}, {done} of {of}", file=sys.stderr, flush=True),
                resume=read_json(file, Profile) if file.exists() else None,
                checkpoint=keep,
            )
        except OutOfTimeError:
            return
    write_json(file, found)


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the models, for each pair and way to write."""
    found = []
    for pair, wire in dict.fromkeys((r["pair"], r["wire"]) for r in rows):
        mine = [r for r in rows if (r["pair"], r["wire"]) == (pair, wire)]
        line: dict[str, Any] = {"pair": pair, "wire": wire, "models": len(mine)}
        for reading in ("mean_of_savings", "ratio_of_sums"):
            line[reading] = {k: float(np.mean([r[reading][k] for r in mine])) for k in mine[0][reading]}
            line[f"least_{reading}"] = float(np.mean([least(r[reading]) for r in mine]))
            line[f"reach_target_{reading}"] = sum(least(r[reading]) >= TARGET for r in mine)
        found.append(line)
    return found


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The tables as they stand in docs/results.md."""
    names = "pair,written as,models,no offload,full offload,best split,best static,least of three,≥ 20 %"
    parts = [f"| {' | '.join(names.split(','))} |"]
    parts.append("|---|---|---|---|---|---|---|---|---|")
    for line in summary(rows):
        both = [_cell(line, k) for k in ("no offload", "full offload", "best split", "best static")]
        ends = f"{line['least_mean_of_savings']:.0%} / {line['least_ratio_of_sums']:.0%}"
        reach = f"{line['reach_target_mean_of_savings']} / {line['reach_target_ratio_of_sums']}"
        cells = [line["pair"], line["wire"], str(line["models"]), *both, ends, reach]
        parts.append(f"| {' | '.join(cells)} |")
    for pair in dict.fromkeys(r["pair"] for r in rows):
        parts += ["", f"**{pair}**, float32; how often each place is the best of {STATES} states:", ""]
        parts.append("| model | no offload | full offload | best split | best static | least of three | states |")
        parts.append("|---|---|---|---|---|---|---|")
        parts += [_line(r) for r in rows if (r["pair"], r["wire"]) == (pair, "float32")]
    return "\n".join(parts) + "\n"


def _line(row: dict[str, Any]) -> str:
    """One model's row: gains, against what it is least and in how many states that is the best already (where nothing
    can be gained), and how often each place is the best."""
    cells = [_cell(row, k) for k in ("no offload", "full offload", "best split", "best static")]
    cells[2] += f" ({row['split']})"
    cells[3] += f" ({row['static']})"
    ends = f"{least(row['mean_of_savings']):.0%} / {least(row['ratio_of_sums']):.0%}"
    ends += f" ({row['hardest']}, best in {row['already_best']})"
    wins = ", ".join(f"{k} {n}" for k, n in row["wins"].items())
    return f"| {row['model'].removeprefix('efficientnet_')} | {' | '.join(cells)} | {ends} | {wins} |"


def _cell(row: dict[str, Any], against: str) -> str:
    return f"{row['mean_of_savings'][against]:.0%} / {row['ratio_of_sums'][against]:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--profiles", type=Path, metavar="DIR", help="profiles measured here, NAME.json")
    parser.add_argument("--measure", action="store_true", help="measure what is missing there first")
    parser.add_argument("--minutes", type=float, default=25.0, help="time for measuring in this go")
    parser.add_argument("--runs", type=int, default=3, help="runs of every part that is measured")
    parser.add_argument("--models", default=",".join(MODELS), help="names without zoo:")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw which split is best where")
    asked = parser.parse_args()
    names = asked.models.split(",")
    try:
        if asked.measure and asked.profiles is not None:
            left = measure_missing(names, asked.profiles, asked.minutes, asked.runs)
            if left:
                print(f"not measured yet: {', '.join(left)}; call again to go on", file=sys.stderr)
        rows = study(names, asked.profiles)
    except IsthmusError as error:
        sys.exit(str(error))
    if asked.markdown is not None:
        asked.markdown.write_text(markdown(rows), encoding="utf-8")
    if asked.picture is not None:
        drawn = [r for r in rows if r["model"] in DRAWN and r["wire"] == "float32"]
        asked.picture.write_text(draw_maps(drawn, PAPER_RATES_BPS, PAPER_BATCHES), encoding="utf-8")
    if asked.json:
        print(json.dumps({"target": TARGET, "factor": FACTOR, "summary": summary(rows), "rows": rows}))
    else:
        print(markdown(rows))


if __name__ == "__main__":
    main()

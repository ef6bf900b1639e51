"""How well do latency laws, fitted on single layers of this machine, predict layers and networks they have not seen?

Layers are timed over a seeded grid of shapes. By layer type: R² of a law fitted to three quarters on the last, and the
median relative error where each quarter is judged by a law fitted to the others (target: 15 % at most with the extended
variables). Then whole networks are measured here, every head and
tail that is ready, and compared with what the laws say (target: median error 10 % at most). The peers in the same run:
the paper's variables (Edgent 2018, Table I), multiply-accumulates only by layer type, and one rate for all
multiply-accumulates.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.cli.common import today
from isthmus.engine import Engine
from isthmus.files import read_json, write_json
from isthmus.graph import Graph, cut_at, graph_of
from isthmus.model import load_model
from isthmus.profile import Profile
from isthmus.profile.measure import Measuring, measure
from isthmus.profile.regression import Regression, Sample, predict
from isthmus.profile.regression.fit import judged_in_turn
from isthmus.profile.regression.measure import LayerMeasuring, LayerTimes, measure_layers, regression_of
from isthmus.profile.regression.types import VARIABLE_SETS

TYPE_TARGET, NET_TARGET = 0.15, 0.10
MODELS = "zoo:mobilenet_v2,zoo:resnet18,zoo:resnet50,zoo:efficientnet_b0,zoo:googlenet,zoo:alexnet"
ONE_RATE = "one rate"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true", help="tables for the docs")
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--per-type", type=int, default=60)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0, help="of the grid, and of which shapes judge")
    parser.add_argument("--layers", type=Path, help="keep the timed layers here, and go on with what is there")
    parser.add_argument("--nets", type=Path, help="keep the measured networks in this folder, and go on with them")
    options = parser.parse_args()
    how = LayerMeasuring(per_type=options.per_type, passes=options.passes, runs=options.runs, seed=options.seed)
    times = _layers(how, options.layers)
    regression = regression_of(times, seed=options.seed)
    names = [name for name in options.models.split(",") if name]
    # one network after the other, then all once more: a slow moment of the machine costs a network one pass
    profiles = [[_measured(name, options.nets, turn) for name in names] for turn in range(options.passes)]
    nets = [_of_net(name, regression, times.samples, [p[i] for p in profiles]) for i, name in enumerate(names)]
    result = {
        "machine": times.machine.model_dump(),
        "types": list(_of_types(regression, times.samples, options.seed)),
        "nets": nets,
    }
    result |= _summary(result["types"], nets)
    if options.json:
        print(json.dumps(result))
    else:
        print(_as_tables(result, markdown=options.markdown))


def _layers(how: LayerMeasuring, kept: Path | None) -> LayerTimes:
    before = read_json(kept, LayerTimes) if kept is not None and kept.exists() else None
    found = measure_layers(
        how,
        taken=today(),
        clock=time.perf_counter,
        resume=before,
        progress=lambda done, of, what: print(f"\r{done}/{of} {what:20}", end="", file=sys.stderr),
        checkpoint=None if kept is None else lambda so_far: write_json(kept, so_far),
    )
    if kept is not None:
        write_json(kept, found)
    return found


def _of_types(regression: Regression, samples: tuple[Sample, ...], seed: int) -> Iterator[dict[str, Any]]:
    for kind, laws in regression.layers.items():
        row: dict[str, Any] = {"type": kind, "fitted": laws.fitted, "held_out": laws.held_out}
        for which, law in laws.laws.items():
            error = judged_in_turn([s for s in samples if s.shape.type == kind], which, seed=seed)
            row[which] = {"r2": law.r2, "median_error": error, "last_quarter": law.median_error}
        yield row


def _measured(name: str, kept: Path | None, turn: int) -> Profile:
    file = None if kept is None else kept / f"{name.replace(':', '_')}-{turn}.json"
    if file is not None and file.exists():
        return read_json(file, Profile)
    engine = Engine.open(load_model(name))
    found = measure(engine, Measuring(batches=(1,), codecs=()), taken=today(), clock=time.perf_counter)
    if file is not None:
        write_json(file, found)
    return found


def _of_net(name: str, regression: Regression, samples: tuple[Sample, ...], measured: list[Profile]) -> dict[str, Any]:
    """Median relative error of heads and of tails, by kind of law, and of the whole network."""
    graph = graph_of(load_model(name, weights=False), 1)
    true = _quickest([_parts(p) for p in measured])
    errors: dict[str, dict[str, float]] = {}
    for which in VARIABLE_SETS:
        errors[which] = _errors(_parts(predict([graph], regression, "", taken="", variables=which)), true)
    errors[ONE_RATE] = _errors(_by_rate(graph, list(true["head"]), samples), true)
    return {"model": name, "cuts": len(true["head"]), "whole_ms": 1e3 * true["whole"][""], **errors}


def _quickest(passes: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    return {part: {c: min(p[part][c] for p in passes) for c in cuts} for part, cuts in passes[0].items()}


def _parts(profile: Profile) -> dict[str, dict[str, float]]:
    batch = profile.batches[1]
    return {
        "head": {c: t.low_s for c, t in batch.heads.items()},
        "tail": {c: t.low_s for c, t in batch.tails.items()},
        "whole": {"": batch.whole.low_s},
    }


def _by_rate(graph: Graph, cuts: list[str], samples: tuple[Sample, ...]) -> dict[str, dict[str, float]]:
    """Seconds by the median rate of all layers that multiply."""
    rate = statistics.median(s.shape.macs / s.seconds for s in samples if s.shape.macs and s.seconds)
    heads = {c: sum(graph.nodes[i].macs for i in cut_at(graph, c).head) / rate for c in cuts}
    whole = graph.macs / rate
    return {"head": heads, "tail": {c: whole - s for c, s in heads.items()}, "whole": {"": whole}}


def _errors(said: dict[str, dict[str, float]], true: dict[str, dict[str, float]]) -> dict[str, float]:
    """The median over heads, over tails; the whole is signed, so that it shows which way a law errs."""
    medians = {p: statistics.median(abs(said[p][c] / s - 1) for c, s in true[p].items()) for p in ("head", "tail")}
    return {**medians, "whole": said["whole"][""] / true["whole"][""] - 1}


def _summary(types: Any, nets: list[dict[str, Any]]) -> dict[str, Any]:
    kinds = (*VARIABLE_SETS, ONE_RATE)
    parts = {k: float(np.median([n[k][p] for n in nets for p in ("head", "tail")])) for k in kinds} if nets else {}
    return {
        "net_error": parts,
        "worst_type": max(types, key=lambda t: t["extended"]["median_error"])["type"],
        "types_over_target": [t["type"] for t in types if t["extended"]["median_error"] > TYPE_TARGET],
        "nets_over_target": [
            n["model"] for n in nets if max(n["extended"]["head"], n["extended"]["tail"]) > NET_TARGET
        ],
        "targets": {"type": TYPE_TARGET, "net": NET_TARGET},
    }


def _as_tables(result: dict[str, Any], *, markdown: bool) -> str:
    kinds = VARIABLE_SETS
    head = ["layer type", "shapes", *(f"{k}: {what}" for k in kinds for what in ("R²", "error"))]
    rows = [
        [t["type"], str(t["fitted"] + t["held_out"])]
        + [cell for k in kinds for cell in (f"{t[k]['r2']:.3f}", f"{t[k]['median_error']:.1%}")]
        for t in result["types"]
    ]
    nets_head = ["network", "cuts", "whole", *(f"{k}: {p}" for k in (*kinds, ONE_RATE) for p in ("head", "tail"))]
    nets = [
        [n["model"], str(n["cuts"]), f"{n['whole_ms']:.1f} ms ({n['extended']['whole']:+.1%})"]
        + [f"{n[k][p]:.1%}" for k in (*kinds, ONE_RATE) for p in ("head", "tail")]
        for n in result["nets"]
    ]
    said = "; ".join(f"{k} {v:.1%}" for k, v in result["net_error"].items())
    last = f"Median error of heads and tails: {said} (target {NET_TARGET:.0%}); types over {TYPE_TARGET:.0%}: "
    last += ", ".join(result["types_over_target"]) or "none"
    return "\n\n".join([_table(head, rows, markdown), _table(nets_head, nets, markdown), last])


def _table(head: list[str], rows: list[list[str]], markdown: bool) -> str:
    if markdown:
        lines = [head, ["---"] * len(head), *rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)
    widths = [max(len(line[k]) for line in [head, *rows]) for k in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in [head, *rows])


if __name__ == "__main__":
    main()

"""How much faster than its baselines is the joint choice of split and bit widths, and is it ever slower?

Simulated pair of Auto-Split (KDD 2021): Eyeriss on the device, TPU at 16 bits as server, uplinks of 1, 3, 10 and 20
Mbit/s, the study's models with the device memory that its code gives each. For every baseline: its latency against the
fastest solution of ours that loses no more than it, and against the recommended one (at most one point lost, estimated
from the distortion). What does not fit the memory is shown and is no rival. Normalised latency as in the
paper: over the slowest of CLOUD16, U8, Neurosurgeon and QDMP. A violation is a cell where a baseline that fits is
faster than ours of equal or smaller loss, or faster than the recommended one without losing more than a point.

Distortion tables are kept in `--tables DIR` and measured into it where they are missing (`autosplit_tables.py`: zoo
weights, pictures; a few minutes for all); without it every tensor is taken to be as sensitive as Gaussian numbers are
(`gaussian_tables`), which the rows say, and what uploads as JPEG or WebP lose is not known.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from autosplit_picture import draw_latencies
from autosplit_published import against_the_chart
from autosplit_tables import measured_tables

from isthmus.graph import Graph, fused_graph, graph_of
from isthmus.link import Link
from isthmus.model import Model, fused, load_model
from isthmus.plan import Limits, Problem, problem_for
from isthmus.plan.baselines import baselines
from isthmus.plan.joint import Joint, joint
from isthmus.plan.solution import Solution
from isthmus.profile.devices import computed_profile, shipped
from isthmus.profile.devices.widths import WidthWork
from isthmus.quant import Distortions, LayerBits, OutputBits

MEMORY_KIB = {
    "resnet18": 1024, "resnet50": 4096, "resnext50_32x4d": 4096, "googlenet": 8192, "mobilenet_v2": 1024,
    "mnasnet1_0": 4096, "vgg16": 4096, "yolov3_tiny": 32768, "yolov3": 131072, "yolov3_spp": 131072,
    "fasterrcnn_resnet50_fpn": 131072,
}  # fmt: skip
"""Of the device, by model, in the published code; the last, which has none there, as the other large detectors."""
RATES_MBIT = (1.0, 3.0, 10.0, 20.0)
MOST_LOSS = 0.01
OURS = ("autosplit", "tensors")
"""The recommended solution, and the recommended one of those that send no picture, as the paper has them."""
SLOWEST_OF = ("cloud16", "u8", "neurosurgeon", "qdmp")
BITS = (2, 4, 6, 8)
ROUNDING = 1e-9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--models", default=",".join(MEMORY_KIB))
    parser.add_argument("--rates-mbit", default=",".join(f"{r:g}" for r in RATES_MBIT))
    parser.add_argument("--tables", type=Path, help="folder of distortion tables; the missing ones are measured")
    parser.add_argument("--no-memory-limit", action="store_true", help="as if every device had all the memory it wants")
    parser.add_argument("--picture", type=Path, help="write the chart to this SVG file")
    asked = parser.parse_args()
    rates = [float(r) for r in asked.rates_mbit.split(",")]
    rows: list[dict[str, Any]] = []
    published: list[dict[str, Any]] = []
    for name in asked.models.split(","):
        problem, source = world(name, asked.tables, limited=not asked.no_memory_limit)
        began = time.perf_counter()
        rows += [row for rate in rates for row in compared(name, at_rate(problem, rate), rate, source)]
        if name == "resnet50":
            published = against_the_chart(at_rate(problem, 3 * 1.048576))
        print(f"{name}: {len(rates)} uplinks in {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
    result = {"rows": rows, "means": means(rows), "violations": violations(rows), "lost": lost_to(rows),
              "published": published, "most_loss": MOST_LOSS}  # fmt: skip
    if asked.picture is not None:
        asked.picture.write_text(draw_latencies(rows), encoding="utf-8")
    print(json.dumps(result)) if asked.json else show(result)


def world(name: str, tables: Path | None, *, limited: bool) -> tuple[Problem, str]:
    """The model between Eyeriss and TPU, and where its tables come from."""
    model = fused(load_model(f"zoo:{name}", weights=False))
    graph = graph_of(model, 1)
    device, server = shipped()["eyeriss"], shipped()["tpu"]
    profiles = [computed_profile(d, [graph], model.fingerprint, taken="computed") for d in (device, server)]
    memory = MEMORY_KIB.get(name, 4096) * 1024 if limited else None
    limits = Limits(home_memory_bytes=memory, loss=MOST_LOSS)
    problem = problem_for(graph, profiles[0], profiles[1], Link(1e6, 1e6), limits=limits)
    found, source = tables_for(name, model, graph, tables)
    machines = (replace(problem.machines[0], work=WidthWork(device, graph)), problem.machines[1])
    return replace(problem, machines=machines, distortions=found), source


def at_rate(problem: Problem, rate_mbit: float) -> Problem:
    """With another uplink; no round trip, as in the paper."""
    return replace(problem, links=(Link(rate_mbit * 1e6, rate_mbit * 1e6),))


def tables_for(name: str, model: Model, graph: Graph, folder: Path | None) -> tuple[Distortions, str]:
    """Measured tables where there is a folder for them, else those of Gaussian numbers."""
    if folder is None:
        return gaussian_tables(graph, model.fingerprint), "Gaussian numbers"
    found, took_s = measured_tables(name, folder)
    if took_s:
        print(f"{name}: distortion tables in {took_s:.0f} s", file=sys.stderr, flush=True)
    return found, found.source


def gaussian_tables(graph: Graph, fingerprint: str) -> Distortions:
    """Every tensor loses what normally distributed numbers of variance 1 do at the best clip of a uniform quantiser."""
    errors = tuple(_gaussian_error(b) for b in BITS)
    layers = []
    for node in fused_graph(graph).nodes:
        for place, tensor in enumerate(node.outputs):
            heavy = node.parameters if node.product is not None and not place else 0
            layers.append(
                LayerBits(
                    node=node.name,
                    weight_elements=heavy,
                    weights=errors if heavy else (),
                    output=tensor,
                    output_elements=graph.tensors[tensor].elements,
                    outputs=errors if graph.tensors[tensor].dtype == "float32" else (),
                    weight_power=1.0,
                    output_power=1.0,
                )
            )
    inputs = tuple(
        OutputBits(name=t, elements=graph.tensors[t].elements, errors=errors, power=1.0) for t in graph.inputs
    )
    return Distortions(
        model=graph.name, fingerprint=fingerprint, bits=BITS, layers=tuple(layers), inputs=inputs, samples=0,
        source="Gaussian numbers",
    )  # fmt: skip


def _gaussian_error(bits: int) -> float:
    """Mean square error of 2^bits even levels on ±clip, over the clips, for normally distributed numbers."""
    x = np.random.default_rng(0).standard_normal(50_000)
    steps = 2**bits - 1
    best = float("inf")
    for clip in np.linspace(0.8, 5.0, 43):
        level = np.round((np.clip(x, -clip, clip) + clip) * steps / (2 * clip)) * (2 * clip) / steps - clip
        best = min(best, float(np.mean((x - level) ** 2)))
    return best


def compared(name: str, problem: Problem, rate: float, source: str) -> list[dict[str, Any]]:
    """One row a method, ours first."""
    began = time.process_time()
    found = joint(problem)
    took_s = time.process_time() - began
    rivals = baselines(problem, found)
    slowest_s = max(r.total_s for r in rivals if r.name in SLOWEST_OF)
    true = [s for s in found.solutions if s.loss is not None and s.loss <= MOST_LOSS]
    pick = min(true, key=lambda s: s.total_s)
    tensors = min((s for s in true if ":" not in s.codec), key=lambda s: s.total_s)
    head = {"model": name, "rate_mbit": rate, "tables": source, "planned_in_s": took_s}
    rows = []
    for method, row in (("autosplit", pick), ("tensors", tensors), *((r.name, r) for r in rivals)):
        own = method in OURS
        equal = row if own else _no_worse(found, row)
        rows.append(
            {
                **head,
                "method": method,
                **told(row, slowest_s),
                "reduction": 1 - pick.total_s / row.total_s,
                "reduction_tensors": 1 - tensors.total_s / row.total_s,
                "saved": None if equal is None else 1 - equal.total_s / row.total_s,
            }
        )
    return rows


def _no_worse(found: Joint, rival: Solution) -> Solution | None:
    """The fastest of ours that loses no more than a baseline; None where its loss is unknown or it does not fit."""
    if rival.loss is None or not rival.fits:
        return None
    ours = [s for s in found.solutions if s.loss is not None and s.loss <= rival.loss * (1 + 1e-9)]
    return min(ours, key=lambda s: s.total_s, default=None)


def told(row: Solution, slowest_s: float) -> dict[str, Any]:
    """What a table shows of a solution."""
    return {
        "cut": row.cut,
        "codec": row.codec if row.sent_bytes else "",
        "ms": row.total_s * 1e3,
        "normalised": row.total_s / slowest_s,
        "loss": row.loss,
        "distortion": row.distortion,
        "memory_bytes": row.memory_bytes,
        "sent_bytes": row.sent_bytes,
        "fits": row.fits,
        "weight_bits": row.weight_bits,
        "activation_bits": row.activation_bits,
        "wire_bits": row.wire_bits,
    }


def means(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """By method, over models and rates: mean normalised latency; what our pick saves in all cells, and in those where
    the method fits and loses a point at most; the same for our pick without pictures; what ours of equal loss saves,
    and how often that is less than nothing."""
    found = []
    for method in dict.fromkeys(r["method"] for r in rows):
        mine = [r for r in rows if r["method"] == method]
        fitting = [r for r in mine if r["fits"]]
        fair = [r for r in fitting if _true(r)]
        saved = [r["saved"] for r in mine if r["saved"] is not None]
        found.append(
            {
                "method": method,
                "normalised": mean(r["normalised"] for r in mine),
                "reduction_of_all": _mean([r["reduction"] for r in mine]),
                "reduction": _mean([r["reduction"] for r in fair]),
                "reduction_tensors": _mean([r["reduction_tensors"] for r in fair]),
                "saved": _mean(saved),
                "slower": sum(s < -ROUNDING for s in saved),
                "compared": len(saved),
                "fits": len(fitting),
                "within": len(fair),
                "of": len(mine),
            }
        )
    return found


def violations(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cells where a baseline that fits is faster than ours that loses no more, or than our pick and loses a point at
    most."""
    return [
        r
        for r in rows
        if r["method"] not in OURS
        and r["fits"]
        and ((r["saved"] or 0.0) < -ROUNDING or (_true(r) and r["reduction"] < -ROUNDING))
    ]


def lost_to(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """By method, how often it is faster than our pick, and why it was not picked."""
    found = []
    for method in dict.fromkeys(r["method"] for r in rows):
        ahead = [r for r in rows if r["method"] == method and (r["reduction"] or 0.0) < -ROUNDING]
        if ahead and method not in OURS:
            why = {
                "does not fit": sum(not r["fits"] for r in ahead),
                "loses more than a point": sum(r["fits"] and not _true(r) for r in ahead),
                "ours to lose": sum(r["fits"] and _true(r) for r in ahead),
            }
            found.append({"method": method, "ahead": len(ahead), **why})
    return found


def _true(row: dict[str, Any]) -> bool:
    return row["loss"] is not None and row["loss"] <= MOST_LOSS


def _mean(values: Sequence[float]) -> float | None:
    return mean(values) if values else None


def show(result: dict[str, Any]) -> None:
    for row in result["rows"]:
        if row["method"] in OURS:
            print(
                f"{row['model']:23} {row['rate_mbit']:4g} Mbit/s  {row['method']:10} {row['cut']:20} {row['codec']:8} "
                f"{row['ms']:8.1f} ms "
                f"({row['normalised']:.2f})  W{row['weight_bits']:.1f} A{row['activation_bits']:.1f} "
                f"loss ~{row['loss']:.2%}  planned in {row['planned_in_s']:.2f} s"
            )
    print(
        f"\n{'method':14} {'normalised':>10} {'our pick saves':>15} {'where allowed':>14} {'with tensors':>13} "
        f"{'at equal loss':>14} "
        f"{'slower':>10} {'fits':>8} {'and true':>9}"
    )
    for m in result["means"]:
        every, reduction, tensors, saved = (
            "" if m[k] is None else f"{m[k]:.0%}"
            for k in ("reduction_of_all", "reduction", "reduction_tensors", "saved")
        )
        print(
            f"{m['method']:14} {m['normalised']:10.2f} {every:>15} {reduction:>14} {tensors:>13} {saved:>14} "
            f"{m['slower']:>4} of {m['compared']:<3} {m['fits']:>3} of {m['of']:<3} {m['within']:>6}"
        )
    for row in result["lost"]:
        why = ", ".join(f"{row[k]} {k}" for k in ("does not fit", "loses more than a point", "ours to lose") if row[k])
        print(f"{row['method']} is faster than our pick {row['ahead']} times: {why}")
    print(f"violations: {len(result['violations'])}")
    for row in result["violations"]:
        where = f"{row['model']} at {row['rate_mbit']:g} Mbit/s"
        print(f"  {where}: {row['method']} {row['ms']:.2f} ms, loss {row['loss']:.2%}")
    for row in result["published"]:
        print(f"{row['config']:10} published {row['published']:.3f}  here {row['here']:.3f}  {row['how']}")


if __name__ == "__main__":
    main()

"""Does a process hold as much memory as the plan says, for parts of several networks, cuts and widths?

Every part is measured in a fresh process that has loaded onnxruntime and run a network of one node: the most that it
has resident while it loads the part and runs it, above what it had before (private memory and the weights' pages, not
program code; `isthmus.engine.footprint`). Parts with widths are what `isthmus pack` writes; those in floating point are
heads of the engine. Planned by `isthmus.plan.held`. Wanted: measured over planned within 10 %.

What a session and its kernels take was fitted (`--fit`) on ResNet-18, ResNet-56 and MobileNetV1; the other networks are
what the plan is judged on. Memory does not depend on the values of weights or on ranges, so levels span ranges that are
made up; networks of the data folder (environment variable ISTHMUS_DATA) are taken where it is there, with the weights
they were trained to.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from isthmus.bundle.few_bits import bare
from isthmus.codec import write_head
from isthmus.engine import Engine
from isthmus.engine.few_bits import ready_part
from isthmus.engine.footprint import held_bytes, measured
from isthmus.engine.store import default_folder
from isthmus.graph import OUTPUT, Graph, cut_at, fused_graph, graph_of, narrow_cuts
from isthmus.model import Model, fused, load_model, load_model_file
from isthmus.plan.held import held
from isthmus.profile.runtime_memory import made_up_tables
from isthmus.quant import BitPlan, Distortions, quantised_head

BITS = (2, 4, 8)
FLOAT = (16, 16)
LIMIT = 0.10
JUDGED = {
    "mobilenet_v2": ("zoo:mobilenet_v2", "models/mobilenet_v2_1.0_224.onnx"),
    "resnet50": ("zoo:resnet50", ""),
    "googlenet": ("zoo:googlenet", ""),
    "efficientnet_b0": ("zoo:efficientnet_b0", ""),
    "resnet20": ("", "models/cifar10_resnet20.onnx"),
}
FITTED = {
    "resnet18": ("zoo:resnet18", ""),
    "resnet56": ("", "models/cifar10_resnet56.onnx"),
    "mobilenet_v1": ("zoo:mobilenet_v1", "models/mobilenet_v1_0.5_160.onnx"),
}
"""Name → what stands for it without a data folder ("": nothing does), and its file there."""
PLACES = (0.25, 0.5, 1.0)
"""Of the places where one tensor crosses; the last is the whole network."""
WIDTHS = ((8, 8), (4, 8), (2, 4), (8, 16), FLOAT)
"""Of weights and of tensors; 16: in floating point, the last all of it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--networks", default=",".join(JUDGED), help="names, separated by commas")
    parser.add_argument("--fit", action="store_true", help="of the networks that the plan's constants come from")
    parser.add_argument("--float-head", nargs=2, metavar=("FILE", "CUT"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.float_head:
        print(json.dumps({"held_bytes": float_head(Path(asked.float_head[0]), asked.float_head[1])}))
        return
    known = FITTED | JUDGED
    names = list(FITTED) if asked.fit else asked.networks.split(",")
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"{unknown[0]} is none of {', '.join(known)}")
    rows = [row for name in names for row in network_rows(name, *known[name])]
    worst = max((abs(row["ratio"] - 1) for row in rows), default=0.0)
    found = {"limit": LIMIT, "worst": worst, "reached": worst <= LIMIT, "rows": rows}
    print(json.dumps(found, indent=2)) if asked.json else show(found)


def network_rows(name: str, zoo: str, file: str) -> list[dict[str, Any]]:
    """All parts of a network, planned and measured."""
    trained = Path(os.environ.get("ISTHMUS_DATA", "")) / file
    source = str(trained) if file and trained.is_file() else zoo
    if not source:
        print(f"{name}: ISTHMUS_DATA names no folder with {file}", file=sys.stderr)
        return []
    net = fused(load_model(source))
    tables, rows = made_up_tables(net, BITS), []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "shapes.onnx").write_bytes(bare(net).SerializeToString())
        onnx.save_model(net.proto, place / "model.onnx")
        Engine.open(net, cuts="none")
        for cut in cuts_of(graph_of(net)):
            for widths in WIDTHS:
                row = {"network": name, "cut": cut, "weights": widths[0], "tensors": widths[1]}
                row |= part_row(net, tables, cut, widths, place)
                print(f"{line(row)}", file=sys.stderr)
                rows.append(row)
    return rows


def part_row(net: Model, tables: Distortions, cut_id: str, widths: tuple[int, int], place: Path) -> dict[str, Any]:
    """One part: planned by cause, measured."""
    graph = graph_of(net)
    cut, bits = cut_at(graph, cut_id), plan_of(graph, *widths)
    plan = held(graph, cut, bits if widths != FLOAT else None)
    if widths == FLOAT:
        line = [sys.executable, __file__, "--float-head", str(place / "model.onnx"), cut_id]
        done = subprocess.run(line, check=True, capture_output=True, text=True)
        took: int | None = json.loads(done.stdout)["held_bytes"]
    else:
        outputs = tuple(s.name for s in net.outputs)
        made = quantised_head(net, cut.crossing, bits, tables, early=outputs if cut_id == OUTPUT else ())
        write_head(place / "part.packed", made)
        ready_part(place / "part.packed", default_folder(), 1)  # optimised for this CPU and kept
        took = held_bytes(place / "part.packed", place / "shapes.onnx")
    if took is None:
        raise SystemExit("this system does not tell how much memory a process holds")
    causes = {"mapped": plan.mapped_bytes, "arena": plan.arena_bytes, "session": plan.session_bytes,
              "ends": plan.ends_bytes}  # fmt: skip
    return {"planned_bytes": plan.total_bytes, "measured_bytes": took, "ratio": took / plan.total_bytes, **causes}


def float_head(file: Path, cut_id: str) -> int:
    """What this process holds for a head in floating point. Reading the model is not counted, nor what looks at it."""
    model = load_model_file(file)
    inputs = model.random_inputs(1)
    Engine.open(model, cuts="none")

    def load() -> Callable[[], object]:
        engine = Engine.open(model, cuts="none")
        return lambda: engine.head(cut_id, inputs)

    return measured(load, inputs, part=False)


def cuts_of(graph: Graph) -> list[str]:
    """Ids of the parts to look at."""
    made = {name for node in fused_graph(graph).nodes for name in node.outputs}
    places = [cut.id for cut in narrow_cuts(graph) if len(cut.crossing) == 1 and cut.crossing[0] in made]
    return [OUTPUT if share == 1 else places[int(len(places) * share)] for share in PLACES]


def plan_of(graph: Graph, weights: int, tensors: int) -> BitPlan:
    """One width for all weights and one for all tensors."""
    layers = fused_graph(graph).nodes
    return BitPlan(
        weights={node.name: weights for node in layers if node.product is not None},
        outputs={name: tensors for node in layers for name in node.outputs},
    )


def line(row: dict[str, Any]) -> str:
    """A row as text."""
    bits = "float " if row["weights"] == FLOAT[0] else f"w{row['weights']} a{row['tensors']} "
    mb = {key: row[key] / 1e6 for key in ("planned_bytes", "measured_bytes", "arena", "mapped", "session", "ends")}
    return (
        f"{row['network']:16} {row['cut'][:16]:16} {bits} planned {mb['planned_bytes']:7.2f} MB (arena "
        f"{mb['arena']:6.2f}, mapped {mb['mapped']:6.2f}, session {mb['session']:5.2f}, ends {mb['ends']:5.2f}), "
        f"measured {mb['measured_bytes']:7.2f} MB: {row['ratio']:.3f}"
    )


def show(found: dict[str, Any]) -> None:
    """As text."""
    for row in found["rows"]:
        print(line(row))
    ratios = [row["ratio"] for row in found["rows"]]
    if ratios:
        low, high = min(ratios), max(ratios)
        print(f"{len(ratios)} parts: {low:.3f} to {high:.3f}, median {np.median(ratios):.3f} (limit ± {LIMIT:.0%})")


if __name__ == "__main__":
    main()

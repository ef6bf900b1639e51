"""What does cutting cost in time? (head + tail) against the whole, every fusion-safe cut, in the same run.

Runs are interleaved (plain onnxruntime, the engine's whole, then head and tail of every cut, over and over), one
thread, minima. The limit is 1.03 times the engine's whole network, whose own ratio to a plain session is given too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import onnxruntime as ort

from isthmus.engine import Engine
from isthmus.model import load_model

LIMIT = 1.03
MODELS = ["zoo:resnet50", "zoo:mobilenet_v2", "zoo:efficientnet_b0"]


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(name: str, runs: int) -> dict[str, object]:
    """Minima over `runs` rounds, seconds, and their ratios."""
    model = load_model(name)
    engine = Engine.open(model)
    inputs = model.random_inputs()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    del model
    cuts = [c for c in engine.cuts if c.id in engine.safe]
    crossing = {c.id: engine.head(c.id, inputs) for c in cuts}
    seen: dict[str, float] = {}

    def keep(what: str, value: float) -> None:
        seen[what] = min(value, seen.get(what, value))

    for _ in range(runs):
        keep("plain", timed(lambda: session.run(None, inputs)))
        keep("whole", timed(lambda: engine.whole(inputs)))
        for cut in cuts:
            keep(f"head {cut.id}", timed(lambda cut=cut: engine.head(cut.id, inputs)))  # type: ignore[misc]
            keep(f"tail {cut.id}", timed(lambda cut=cut: engine.tail(cut.id, crossing[cut.id])))  # type: ignore[misc]
    ratios = {c.id: (seen[f"head {c.id}"] + seen[f"tail {c.id}"]) / seen["whole"] for c in cuts}
    return {
        "model": name,
        "runs": runs,
        "plain_s": seen["plain"],
        "whole_s": seen["whole"],
        "whole_to_plain": seen["whole"] / seen["plain"],
        "cuts": len(cuts),
        "median": statistics.median(ratios.values()),
        "worst": max(ratios.values()),
        "limit": LIMIT,
        "reached": max(ratios.values()) <= LIMIT,
        "ratios": ratios,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--model", nargs="+", default=MODELS)
    chosen = parser.parse_args()
    rows = [measure(name, chosen.runs) for name in chosen.model]
    if chosen.json:
        print(json.dumps({"rows": rows}, indent=2))
        return
    for row in rows:
        print(
            f"{row['model']:22} {row['cuts']:3} cuts  whole {float(str(row['whole_s'])) * 1e3:6.1f} ms = "
            f"{row['whole_to_plain']:.3f} × plain; "
            f"head + tail: median {row['median']:.3f}, worst {row['worst']:.3f} × whole"
        )


if __name__ == "__main__":
    main()

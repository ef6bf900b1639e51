"""Over a real link of 1, 5, 20 and 100 Mbit/s: how far is a split request from what physics allows?

The floor of a request is head + bytes·8 / goodput + round trip + tail, head and tail as they were timed inside this
very request: a machine that others use has quick and slow moments, and medians of each part alone do not add up to one
request. The target is a ratio of at most 1.03 (median over requests), ResNet-50.
"""

from __future__ import annotations

import argparse
import json
import statistics

from shaped_runs import as_rows, goodput_mbit, measure, packed

from isthmus.bundle import open_bundle
from isthmus.graph import INPUT, OUTPUT, bottlenecks, graph_of
from isthmus.record import Choice

RATES_MBIT = (1.0, 5.0, 20.0, 100.0)
TARGET = 1.03


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--model", default="zoo:resnet50")
    parser.add_argument("--requests", type=int, default=15)
    parser.add_argument("--delay-ms", type=float, default=5.0, help="one way")
    options = parser.parse_args()
    with packed(options.model, runs=2) as bundle:
        opened = open_bundle(bundle)
        ready = [c for c in opened.manifest.cuts if c not in (INPUT, OUTPUT)]
        graph = graph_of(opened.model(weights=False))
        small = [b for b in bottlenecks(graph) if b.cut.id in ready and b.ratio < 1]
        by_size = sorted(small, key=lambda b: -b.ratio)
        picked = [by_size[0].cut.id, by_size[len(by_size) // 2].cut.id]
        choices = [Choice(cut=c, codec=k) for c in picked for k in ("int8", "int4")]
        rows = list(measure(bundle, choices, RATES_MBIT, options.requests, options.delay_ms / 1e3))
    found = []
    for row, plain in zip(rows, as_rows(rows), strict=True):
        wire_ms = row.bytes * 8 / (goodput_mbit(row.rate_mbit) * 1e6) * 1e3
        link_ms = wire_ms + 2 * options.delay_ms
        ratio = statistics.median(total / (head + link_ms + tail) for total, head, tail in row.each_ms)
        found.append({**plain, "floor_ms": row.head_ms + link_ms + row.tail_ms, "ratio": ratio})
    result = {
        "rows": found,
        "median_ratio": statistics.median(f["ratio"] for f in found),
        "worst_ratio": max(f["ratio"] for f in found),
        "target": TARGET,
    }
    if options.json:
        print(json.dumps(result))
        return
    for f in found:
        print(
            f"{f['rate_mbit']:6.0f} Mbit/s  {f['cut']:24} {f['codec']:6} {f['bytes']:8} B  "
            f"{f['measured_ms']:9.1f} ms  floor {f['floor_ms']:9.1f} ms  ratio {f['ratio']:.3f}"
        )
    print(f"median ratio {result['median_ratio']:.3f}, worst {result['worst_ratio']:.3f}, target {TARGET}")


if __name__ == "__main__":
    main()

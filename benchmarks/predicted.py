"""How well is the latency of a choice known before it is tried?

A bundle is packed here (profile and all); then cuts × rates are run over a real link and compared with what the cost
function says from the profile, the rate and the round trip alone. The target is a median error of at most 10 %.
"""

from __future__ import annotations

import argparse
import json
import statistics

from shaped_runs import as_rows, goodput_mbit, measure, packed

from isthmus.bundle import open_bundle
from isthmus.graph import OUTPUT
from isthmus.record import Choice
from isthmus.session import table_of

RATES_MBIT = (2.0, 8.0, 30.0, 100.0)
TARGET = 0.10
CUTS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--models", default="zoo:mobilenet_v2,zoo:efficientnet_b0,zoo:resnet50")
    parser.add_argument("--requests", type=int, default=4)
    parser.add_argument("--delay-ms", type=float, default=5.0, help="one way")
    options = parser.parse_args()
    found: list[dict[str, object]] = []
    for model in options.models.split(","):
        found += _of_model(model, options.requests, options.delay_ms / 1e3)
    errors = [float(str(f["error"])) for f in found]
    result = {
        "rows": found,
        "median_error": statistics.median(errors),
        "p90_error": statistics.quantiles(errors, n=10)[-1],
        "target": TARGET,
    }
    if options.json:
        print(json.dumps(result))
        return
    for f in found:
        print(
            f"{f['model']:20} {f['rate_mbit']:6} Mbit/s  {f['cut']:24} {f['codec']:6} "
            f"measured {f['measured_ms']:8.1f} ms, predicted {f['predicted_ms']:8.1f} ms, error {f['error']:6.1%}"
        )
    print(f"median error {result['median_error']:.1%}, 90 % within {result['p90_error']:.1%}, target {TARGET:.0%}")


def _of_model(model: str, requests: int, delay_s: float) -> list[dict[str, object]]:
    with packed(model) as bundle:
        opened = open_bundle(bundle)
        table = table_of(opened)
        cuts = [c for c in opened.manifest.cuts if c != OUTPUT]
        chosen = [cuts[round(i * (len(cuts) - 1) / (CUTS - 1))] for i in range(CUTS)]
        choices = [Choice(cut=c, codec="int8") for c in dict.fromkeys(chosen)]
        rows = list(measure(bundle, choices, RATES_MBIT, requests, delay_s))
    where = {name: i for i, name in enumerate(zip(table.cuts, table.codecs, strict=True))}
    found = []
    for row, plain in zip(rows, as_rows(rows), strict=True):
        bps = goodput_mbit(row.rate_mbit) * 1e6
        predicted_ms = 1e3 * float(table.latency_s(bps, bps, 2 * delay_s)[where[row.cut, row.codec]])
        error = abs(predicted_ms / row.measured_ms - 1)
        found.append({"model": model, **plain, "predicted_ms": predicted_ms, "error": error})
    return found


if __name__ == "__main__":
    main()

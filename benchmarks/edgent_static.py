"""Edgent's static optimiser beside what its papers draw: five methods, latency, decisions, accuracy in time.

Two set-ups. The published one: the latency laws of the 2018 paper's Table II (regressions for its two machines),
B-AlexNet, the server first; every statement of the paper that could be read is set beside ours. And this machine:
a network with trained exits, profiled here, the device declared slower (see edgent_static_live.py for which), the
device first; what is in time is judged by what 95 % of requests keep. Bandwidths 50 kbit/s to 10 Mbit/s both ways.

`--live` runs edgent_static_live.py as well: are promises kept by measured requests?
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import edgent_static_live as live
from edgent_methods import METHODS, Row, against_rates, against_requirements, as_dicts
from edgent_pictures import drawn
from edgent_published import ACCURACY, LOADED, READINGS, points, published, table
from edgent_published import as_dicts as points_as_dicts

from isthmus.bundle import open_bundle
from isthmus.link import Link
from isthmus.plan import Problem
from isthmus.plan.planners.edgent import in_time
from isthmus.plan.strategies import strategies

RATES = tuple(50e3 * 200 ** (k / 40) for k in range(41))
WITHIN_S, AT_BPS, REQUIREMENTS_S = 1.0, 400e3, tuple(k / 40 for k in range(2, 49))
"""The paper's: 1,000 ms against bandwidth, 400 kbit/s against the requirement."""


def set_up(problem: Problem, within_s: float, at_bps: float, wanted_s: tuple[float, ...]) -> dict[str, list[Row]]:
    """Both sweeps of one set-up."""
    return {
        "rates": against_rates(problem, RATES, within_s),
        "requirements": against_requirements(problem, at_bps, wanted_s),
    }


def here(about: live.Subject, bundle: Path) -> tuple[Problem, str]:
    """The problem of this machine, and what to call it."""
    problem = live.right_sized(open_bundle(bundle))
    device, server = problem.machines
    slower = replace(device, factor=about.slowdown)
    problem = replace(problem, machines=(slower, server), links=(Link(1e6, 1e6, 2 * live.DELAY_S),))
    return problem, f"{Path(about.model).stem}, device {about.slowdown:g}× as slow as this core"


def round_s(seconds: float) -> float:
    """To two digits."""
    return float(f"{seconds:.2g}")


def searched_us(problem: Problem) -> float:
    """Microseconds of one search, its tables made beforehand: the paper says below 1 ms."""
    tables, link = strategies(problem), problem.links[0]
    start, count = time.perf_counter(), 300
    for k in range(count):
        in_time(tables, replace(link, up_bps=RATES[k % len(RATES)]), WITHIN_S)
    return (time.perf_counter() - start) / count * 1e6


def summary(rows: dict[str, list[Row]]) -> dict[str, Any]:
    """Mean latency over all rates by method (geometric), and the share of requirements met."""
    found = {}
    for method in METHODS:
        mine = [r for r in rows["rates"] if r.method == method]
        asked = [r for r in rows["requirements"] if r.method == method]
        found[method] = {
            "mean_ms": math.exp(sum(math.log(r.seconds) for r in mine) / len(mine)) * 1e3,
            "rates_in_time": sum(r.meets for r in mine) / len(mine),
            "requirements_met": sum(r.meets for r in asked) / len(asked),
        }
    return found


def markdown(found: dict[str, Any]) -> str:
    """What stands in docs/edgent.md."""
    parts = [found["table"]]
    for name in ("published", "here"):
        if name in found:
            lines = ["| method | mean latency | rates in time | requirements met |", "|---|---|---|---|"]
            for method, row in found[name]["summary"].items():
                shares = f"{row['rates_in_time']:.0%} | {row['requirements_met']:.0%}"
                lines.append(f"| {method} | {row['mean_ms']:.0f} ms | {shares} |")
            parts.append(f"{found[name]['title']}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    parser.add_argument(
        "--pictures", type=Path, help="write edgent_published.svg and edgent_measured.svg to this folder"
    )
    parser.add_argument("--published", action="store_true", help="only the published set-up; nothing is measured")
    parser.add_argument("--live", action="store_true", help="also run the plans: are promises kept?")
    live.add_options(parser)
    asked = parser.parse_args()
    found = measured(asked)
    if asked.markdown:
        asked.markdown.write_text(markdown(found), encoding="utf-8")
    print(json.dumps(found) if asked.json else markdown(found) + found.get("live_shown", ""))


def measured(asked: argparse.Namespace) -> dict[str, Any]:
    """Everything asked for."""
    of_paper = points()
    found: dict[str, Any] = {"points": points_as_dicts(of_paper), "table": table(of_paper)}
    for reading in READINGS:
        problem = published(reading)
        rows = set_up(problem, WITHIN_S, AT_BPS, REQUIREMENTS_S)
        if reading == LOADED:
            title = f"The published pair, B-AlexNet, the server first, the model {reading}"
            shares = dict.fromkeys((e.output for e in problem.exits), None) | ACCURACY
            note = f"{WITHIN_S * 1e3:.0f} ms allowed; accuracy is known of exits 1 and 5 only"
            _picture(
                asked.pictures, "edgent_published.svg", drawn(title, rows["rates"], rows["requirements"], shares, note)
            )
            found["published"] = _told(title, rows, problem)
        else:
            found["published_loading"] = _told(reading, rows, problem)
    if not asked.published:
        with live.bundled(asked) as (about, bundle):
            found["here"] = _measured_here(about, bundle, asked)
            if asked.live:
                found["live"] = live.measured(about, bundle, asked)
                found["live_shown"] = live.shown(found["live"])
    return found


def _measured_here(about: live.Subject, bundle: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Both sweeps of this machine: three quarters of the device's own time are allowed, or from a twelfth to twice."""
    problem, name = here(about, bundle)
    device = problem.machines[0]
    whole_s = round_s(device.factor * device.profile.batches[1].whole.median_s)
    rows = set_up(problem, whole_s * 0.75, 2e6, tuple(whole_s * k / 24 for k in range(2, 49)))
    shares = {e.output: e.accuracy for e in problem.exits}
    note = f"{whole_s * 750:.0f} ms allowed in 95 % of requests; {2e3 * live.DELAY_S:g} ms of round trip"
    _picture(asked.pictures, "edgent_measured.svg", drawn(name, rows["rates"], rows["requirements"], shares, note))
    return _told(name, rows, problem) | {"whole_ms": whole_s * 1e3}


def _picture(folder: Path | None, name: str, text: str) -> None:
    if folder is not None:
        (folder / name).write_text(text, encoding="utf-8")


def _told(title: str, rows: dict[str, list[Row]], problem: Problem) -> dict[str, Any]:
    return {
        "title": title,
        "summary": summary(rows),
        "search_us": searched_us(problem),
        **{k: as_dicts(v) for k, v in rows.items()},
    }


if __name__ == "__main__":
    main()

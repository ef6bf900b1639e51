"""In virtual time, over recorded links: is dynamic ever more than 1 % slower than the best plan that never changes?

The live chooser plays in `isthmus.simulate` over eight sets of traces (environment variable ISTHMUS_DATA): Ghent 4G, 5G
uplink, Oboe, New York 4G, high-speed rail, Irish 5G, Norwegian 3G, Wi-Fi. A request comes every 0.73 s, so that much
happens unseen. The peer is the best plan that never changes, found in hindsight for that very part: it needs to find
out nothing. Mean latency of the one over that of the other, less 1; asked: at most +1 %, everywhere.

Four forms of the demand. `parts`: 90 s each, from the beginning, the middle and near the end of every file, the
chooser fresh at each. `later`: as long, from 45 s after those; nobody looked at them while the rules were made.
`halves`: either half of every file. `whole`: every file as it is, where the start weighs less. Four cost tables: two of
made-up machines with four choices, MobileNetV2 and EfficientNet-B0 at every narrow place as float32 and int8, the
device 6 and 12 times slower than the server. Every other file belongs to the half that the chooser's rules may be tuned
on (`tuning`); the others are only ever judged (`judging`).

Reported by form, half and set: mean, worst, how many lie above 1 %, and file, second and table of each that does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
from simulate_speed import made_up

from isthmus.graph.types import INPUT, OUTPUT
from isthmus.link import Link, Trace, read_trace
from isthmus.plan import CostTable
from isthmus.simulate import Requests, World, make_policy, play, statics

SETS = ("ghent_4g", "us_5g_iperf_uplink", "oboe", "nyc_4g", "hsr_4g", "irish_5g", "norway_3g", "wifi_solis")
ALLOWED = 0.01
PART_S = 90.0
STARTS = (0.0, 0.5, 0.9)
"""Of what a file has beyond one part."""
LATER_S = 45.0
FORMS = ("parts", "later", "halves", "whole")
EVERY_S = 0.73
LEAD_S = 1.0
"""The first request comes then: who probes knows something of the link."""
DEADLINE_S = 2.0
ROWS: dict[str, tuple[tuple[str, float, float, float], ...]] = {
    "steep": ((INPUT, 0, 10, 600), ("early", 15, 9, 200), ("late", 60, 5, 30), (OUTPUT, 120, 0, 0)),
    "close": ((INPUT, 1, 12, 300), ("a", 30, 9, 130), ("b", 31, 8, 125), ("c", 33, 8, 110), (OUTPUT, 110, 0, 0)),
}
"""Cut, ms on the device, ms on the server, kB up; 1 kB comes back."""
NETWORKS = {"mobilenet_v2": (0.072, 0.012), "efficientnet_b0": (0.24, 0.02)}
"""Seconds of the whole network on device and server."""


@dataclass(frozen=True)
class Case:
    """One run: where it is played (a set, a file, and the seconds of it), with which table, and which half of the files
    that belongs to."""

    form: str
    data: str
    file: str
    from_s: float
    to_s: float
    table: str
    half: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--files", type=int, default=8, metavar="N", help="of each set, evenly spread (default 8)")
    parser.add_argument("--form", choices=FORMS, action="append", help="only this one")
    parser.add_argument("--half", choices=["tuning", "judging"], action="append", help="only this one")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    asked = [
        case
        for case in cases(options.files)
        if case.form in (options.form or case.form) and case.half in (options.half or case.half)
    ]
    with Pool(options.processes) as pool:
        lost = []
        for x in pool.imap(loss, asked, chunksize=4):
            lost.append(x)
            if len(lost) % 50 == 0:
                print(f"{len(lost)} of {len(asked)} runs", file=sys.stderr, flush=True)
    found = summed(asked, lost)
    print(json.dumps(found) if options.json else shown(found))


def traces() -> Path:
    """Where the sets are. Ends the program where there are none."""
    folder = os.environ.get("ISTHMUS_DATA")
    if not folder or not Path(folder, "traces").is_dir():
        sys.exit("ISTHMUS_DATA is not set or holds no traces: give the folder that has traces/ghent_4g and the others")
    return Path(folder, "traces")


def cases(files: int) -> list[Case]:
    """Every run, set by set."""
    found = []
    for data in SETS:
        every = sorted(p for p in (traces() / data).iterdir() if p.name[0] != ".")
        for number, path in enumerate(every[:: max(1, len(every) // files)][:files]):
            half = "judging" if number % 2 else "tuning"
            for form, from_s, to_s in pieces(trace_of(data, path.name).duration_s):
                found += [Case(form, data, path.name, from_s, to_s, table, half) for table in (*ROWS, *NETWORKS)]
    return found


def pieces(duration_s: float) -> Iterator[tuple[str, float, float]]:
    """What is played of a file that is so long: (form, from when, until when). A short one has fewer parts, none later
    than another, and no halves shorter than one part."""
    beyond_s = max(0.0, duration_s - PART_S)
    starts = sorted({float(int(share * beyond_s)) for share in STARTS})
    later = {min(start + LATER_S, float(int(beyond_s))) for start in starts} - set(starts)
    for form, all_s in (("parts", starts), ("later", sorted(later))):
        for start in all_s:
            yield form, start, min(start + PART_S, duration_s)
    if duration_s >= 2 * PART_S:
        yield "halves", 0.0, duration_s / 2
        yield "halves", duration_s / 2, duration_s
    yield "whole", 0.0, duration_s


def loss(case: Case, policy: str = "dynamic") -> float:
    """How much slower the policy was than the best plan that never changes: 0.01 is 1 %."""
    world, asked = world_of(case)
    played = play(world, make_policy(policy, world, asked), asked)
    fixed = statics(world, asked)
    return float(np.mean([s.seconds.total for s in played.steps])) / float(fixed.mean_s[fixed.best]) - 1


def world_of(case: Case) -> tuple[World, Requests]:
    """What a case is played in, and what is asked for."""
    whole = trace_of(case.data, case.file)
    up = whole if case.form == "whole" else whole.part(case.from_s, case.to_s)
    asked = Requests(until_s=up.duration_s, every_s=EVERY_S, from_s=LEAD_S)
    return World({1: tables()[case.table]}, up, deadline_s=DEADLINE_S), asked


@cache
def trace_of(data: str, file: str) -> Trace:
    """One file as it is."""
    return read_trace(traces() / data / file)


@cache
def tables() -> dict[str, CostTable]:
    """The four cost tables."""
    found = {name: _table(rows) for name, rows in ROWS.items()}
    for net, (device_s, server_s) in NETWORKS.items():
        found[net] = made_up(net, device_s, server_s, ("float32", "int8"))
    return found


def _table(rows: Sequence[tuple[str, float, float, float]]) -> CostTable:
    cuts, device_ms, server_ms, kilobytes = zip(*rows, strict=True)
    up = np.array(kilobytes) * 1e3
    return CostTable(
        cuts=cuts,
        codecs=("float32",) * len(rows),
        device_s=np.array(device_ms) / 1e3,
        server_s=np.array(server_ms) / 1e3,
        up_bytes=up,
        down_bytes=np.where(up > 0, 1e3, 0.0),
        link=Link(20e6, 20e6, rtt_s=0.005),
    )


def summed(asked: Sequence[Case], lost: Sequence[float]) -> dict[str, Any]:
    """By form and half: all sets together, each set, and every run above what is allowed."""
    found: dict[str, Any] = {}
    for form in FORMS:
        for half in ("tuning", "judging"):
            rows = [(c, x) for c, x in zip(asked, lost, strict=True) if (c.form, c.half) == (form, half)]
            if not rows:
                continue
            by_set = {s: numbers(of) for s in SETS if (of := [x for c, x in rows if c.data == s])}
            above = sorted(((x, c) for c, x in rows if x > ALLOWED), key=lambda pair: -pair[0])
            found[f"{form}, {half}"] = {
                **numbers([x for _, x in rows]),
                "sets": by_set,
                "above": [
                    {"loss": x, "set": c.data, "file": c.file, "from_s": c.from_s, "to_s": c.to_s, "table": c.table}
                    for x, c in above
                ],
            }
    return found


def numbers(lost: Sequence[float]) -> dict[str, float]:
    """How many, the mean, the worst, how many are above what is allowed, and their share."""
    above = sum(x > ALLOWED for x in lost)
    return {
        "runs": len(lost),
        "mean": float(np.mean(lost)),
        "worst": float(max(lost)),
        "above_allowed": above,
        "share_above": above / len(lost),
    }


def shown(found: dict[str, Any]) -> str:
    """A table for each form and half, and what is above."""
    lines = []
    for name, data in found.items():
        lines += ["", f"| {name} | runs | mean | worst | above 1 % |", "|---|---|---|---|---|"]
        for what, row in {**data["sets"], "all": data}.items():
            lines.append(
                f"| {what} | {row['runs']} | {row['mean']:+.1%} | {row['worst']:+.2%} | {row['above_allowed']} "
                f"({row['share_above']:.1%}) |"
            )
        for row in data["above"]:
            where = f"from {row['from_s']:.0f} s to {row['to_s']:.0f} s"
            lines.append(f"{row['loss']:+.2%}  {row['set']}/{row['file']}, {where}, {row['table']}")
    return "\n".join(lines).strip()


if __name__ == "__main__":
    main()

"""Over real traces, does Edgent's dynamic configurator beat the static one: more requests in time, more reward?

Networks with exits on the published device pair (Raspberry Pi 3 and desktop machine, the regressions of Edgent 2018,
Table II), played over Oboe's and Ghent's 4G traces (environment variable ISTHMUS_DATA) in virtual time by the choosers
that run live. Every other file of a set is history: bandwidth states and scale come from those alone; of the others a
part each is played. Two scales. `paper`: rates as the paper has them (Oboe as recorded, Ghent's to at most 10 Mbit/s),
with a requirement of 1 s, and one of 1.5 times what the fastest strategy takes at the history's median (`tight`).
`tie`: the history's median at the rate where the device alone and the server are equally fast to the first exit, and a
requirement of 1.1 and 1.5 times what that takes; only where that rate is at least 50 kbit/s, the paper's least.

Policies: `edgent`, the static configurator's plan for the rate at the start; `edgent_each`, the same search before
every request for the rate measured last; `edgent_map`, the configuration map by the paper's reward, expected over the
spread of rates that the history shows, and `edgent_map_accuracy` by the other; `edgent_map, mean`, Algorithm 2 as
published, every state taken at its mean. Requests start at the same moments for all, as far as the one before has
ended. Late answers are not finished by the device (the papers have no such thing), but for the maps with a spread and
`edgent_each`: there the device begins by itself where that still keeps the requirement, else as soon as an answer is
late. Reported: throughput, reward (mean and distribution), share of requests in time, accuracy expected, state changes,
over all parts together.

`--live` plays parts on real machines instead: a slowed device process, a server process, a shaped link that replays the
trace (edgent_live.py). Target: `edgent_map`'s mean reward and share in time above `edgent`'s.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgent_cases import NETS, SETS, Net, Set, judged, settings
from edgent_cdf import draw_distributions
from edgent_live import Going, live

from isthmus.adapt import MapChooser, bandwidth_states, belief_spread
from isthmus.errors import IsthmusError
from isthmus.record import Step
from isthmus.simulate import RIGHT_SIZING, Requests, Served, make_policy, play, served

PUBLISHED = "edgent_map, mean"
EVERY_S = 0.5
"""Between requests, or the requirement where that is longer."""


def simulated(net: Net, data: Set, within_s: float) -> dict[str, Served]:
    """Every policy over every part, its requests pooled."""
    published = net.asked(within_s, bandwidth_states(data.history))
    spread = replace(published, states_spread=belief_spread(data.history))
    found = {}
    for name in (*RIGHT_SIZING, PUBLISHED):
        problem, policy_name = (published, "edgent_map") if name == PUBLISHED else (spread, name)
        steps: list[Step] = []
        asked = changes = 0
        for part in data.playing:
            world = net.world(part)
            requests = Requests(until_s=part.duration_s, every_s=max(within_s, EVERY_S))
            policy = make_policy(policy_name, world, requests, problem=problem)
            if name == PUBLISHED and isinstance(policy, MapChooser):
                policy.races = False
            played = play(world, policy, requests)
            steps += played.steps
            asked += played.asked
            changes += getattr(policy, "state_changes", 0)
        found[name] = served(steps, problem.exits, within_s, asked=asked, state_changes=changes)
    return found


def study(root: Path, nets: Sequence[str], names: Sequence[str], most: int) -> list[dict[str, Any]]:
    """A row for each network, set and setting."""
    rows = []
    sets = [Set.read(root / "traces" / name, most) for name in names]
    for name in nets:
        net = Net.published(name)
        for data in sets:
            for setting, within_s, scaled in settings(net, data):
                print(f"{name}, {data.name}, {setting}", file=sys.stderr, flush=True)
                played = simulated(net, scaled, within_s)
                rows.append({
                    "net": name,
                    "set": data.name,
                    "setting": setting,
                    "within_s": within_s,
                    "median_mbit": scaled.median_bps / 1e6,
                    "states": len(bandwidth_states(scaled.history)),
                    "parts": len(scaled.playing),
                    **judged(played),
                    "policies": {k: one.model_dump(mode="json") for k, one in played.items()},
                })  # fmt: skip
    return rows


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table as it stands in docs/edgent.md: a row a case, a cell a policy."""
    policies = list(rows[0]["policies"])
    lines = [
        f"| network | traces | requirement | median rate | {' | '.join(policies)} |",
        "|---|---|---|---|" + "---|" * len(policies),
    ]
    for row in rows:
        cells = [row["net"], row["set"], f"{row['setting']}: {row['within_s'] * 1e3:.0f} ms"]
        cells.append(f"{row['median_mbit']:.2f} Mbit/s")
        for one in row["policies"].values():
            accuracy = "-" if one["accuracy"] is None else f"{one['accuracy']:.1%}"
            cells.append(f"{one['met']:.1%}, **{one['reward']:.2f}**, {one['throughput_per_s']:.2f}/s, {accuracy}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--nets", default=",".join(NETS), help="of the zoo, with exits")
    parser.add_argument("--parts", type=int, default=16, help="files of a set at most, for history and for playing")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the distributions of the reward")
    parser.add_argument("--live", action="store_true", help="play on real machines instead")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each part that is played live")
    parser.add_argument("--rank", type=int, default=0, help="from which of the liveliest files on --live plays, from 0")
    parser.add_argument("--live-parts", type=int, default=4, help="how many of them --live plays")
    parser.add_argument("--live-policies", default="edgent,edgent_each,edgent_map", help="who plays live")
    parser.add_argument("--sets", default=",".join(SETS), help="of traces")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the journals of --live there")
    parser.add_argument("--bundles", type=Path, metavar="DIR", help="bundles packed before, by network; for --live")
    asked = parser.parse_args()
    data = os.environ.get("ISTHMUS_DATA")
    if not data:
        raise SystemExit("ISTHMUS_DATA is not set: traces are needed")
    try:
        if asked.live:
            with tempfile.TemporaryDirectory() as scratch:
                sets, who = tuple(asked.sets.split(",")), tuple(asked.live_policies.split(","))
                going = Going(asked.seconds, asked.rank, asked.live_parts, sets, who, asked.keep or Path(scratch))
                rows = live(Path(data), asked.nets.split(","), asked.parts, going, asked.bundles)
        else:
            rows = study(Path(data), asked.nets.split(","), asked.sets.split(","), asked.parts)
    except IsthmusError as error:
        sys.exit(str(error))
    if asked.markdown is not None:
        asked.markdown.write_text(markdown(rows), encoding="utf-8")
    if asked.picture is not None:
        asked.picture.write_text(draw_distributions(rows), encoding="utf-8")
    print(json.dumps({"live": asked.live, "rows": rows}) if asked.json else markdown(rows))


if __name__ == "__main__":
    main()

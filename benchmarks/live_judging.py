"""What a live replay of a trace comes to: means over time, each policy in numbers, and the figures asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from isthmus.plan import CostTable
from isthmus.record import Seconds, Step
from isthmus.simulate import Load, World, seconds_of_all

LEAD_S = 1.5
"""At the first rate of the part, not counted: connections and windows open, beliefs settle."""
GRID_S = 0.01
FEW = 10
Replay = tuple[Sequence[Step], float]
"""The requests of one replay, and when it ended on the trace's clock."""


def over_time(replays: Sequence[Replay]) -> float:
    """Seconds: the mean over the time after the lead of the latency of the request begun last."""
    total = spent = 0.0
    for steps, until_s in replays:
        begun = np.array([s.t_s for s in steps if s.kind == "request"])
        seconds = np.array([s.seconds.total for s in steps if s.kind == "request"])
        held = np.clip(np.append(begun[1:], until_s), LEAD_S, until_s) - np.clip(begun, LEAD_S, until_s)
        total += float(held @ seconds)
        spent += float(held.sum())
    return total / spent


def priced(world: World, replays: Sequence[Replay]) -> float:
    """Seconds: the same for somebody who asks at the same moments and takes what ends first."""
    best = [
        ([s.model_copy(update={"seconds": Seconds(total=t)}) for s, t in zip(steps, least, strict=True)], until_s)
        for steps, until_s in replays
        for least in [seconds_of_all(world, [s.t_s for s in steps]).min(1).tolist()]
    ]
    return over_time(best)


def priced_as_it_went(world: World, replays: Sequence[Replay], table: CostTable) -> float:
    """Seconds: `priced`, the machines as fast as in that very replay (medians of its own requests; where it has fewer
    than `FEW` of a kind, as fast as `world` says). What a machine that slows down for a replay does to that one and not
    to the next is then no regret."""
    whole = float(table.device_s[table.up_bytes + table.down_bytes == 0].min())
    there = dict(zip(zip(table.cuts, table.codecs, strict=True), table.server_s.tolist(), strict=True))
    total = spent = 0.0
    for steps, until_s in replays:
        alone = [s.seconds.local / whole for s in steps if s.ran == "device" and not s.trouble]
        sent = [(s.seconds.tail + s.seconds.decode) / there[s.cut, s.codec] for s in steps if s.ran == "server"]
        slow = replace(world, device_load=Load.constant(float(np.median(alone)))) if len(alone) >= FEW else world
        both = replace(slow, load=Load.constant(float(np.median(sent)))) if len(sent) >= FEW else slow
        total += priced(both, [(steps, until_s)]) * (until_s - LEAD_S)
        spent += until_s - LEAD_S
    return total / spent


def regrets(world: World, replays: Sequence[Replay], table: CostTable) -> dict[str, float]:
    """Against somebody who takes at each request what ends first by the profile: as it ran, the machines as fast as in
    the cell or as in that very replay; and of the choices alone, each priced as his are."""
    mine_s, best_s = over_time(replays), priced(world, replays)
    return {
        "regret_priced": mine_s / best_s - 1,
        "regret_as_it_went": mine_s / priced_as_it_went(world, replays, table) - 1,
        "regret_of_choices": over_time([(_as_priced(world, steps, table), u) for steps, u in replays]) / best_s - 1,
    }


def _as_priced(world: World, steps: Sequence[Step], table: CostTable) -> list[Step]:
    """The requests with the time that their choices take by the profile; one whose answer was late keeps its own, for
    the device that began beside it ended it."""
    rows = {name: at for at, name in enumerate(zip(table.cuts, table.codecs, strict=True))}
    every = seconds_of_all(world, [s.t_s for s in steps])
    return [
        s if s.trouble else s.model_copy(update={"seconds": Seconds(total=float(each[rows[s.cut, s.codec]]))})
        for s, each in zip(steps, every, strict=True)
    ]


def lost(mine: Sequence[Replay], theirs: Sequence[Replay]) -> dict[str, float]:
    """Milliseconds of the mean over time by which one policy is slower than another, by what it did at that moment:
    the same, less was sent than by the other, more. They add up to the difference of the two means."""
    found = {"same_choice": 0.0, "sent_less": 0.0, "sent_more": 0.0}
    grid = np.arange(LEAD_S, min(until_s for _, until_s in (*mine, *theirs)), GRID_S)
    for (one, _), (other, _) in product(mine, theirs):
        pair = [[s for s in steps if s.kind == "request"] for steps in (one, other)]
        at = [np.searchsorted([s.t_s for s in steps], grid, side="right") - 1 for steps in pair]
        for i, k in zip(*at, strict=True):
            a, b = pair[0][max(0, i)], pair[1][max(0, k)]
            same = (a.asked or a.cut) == (b.asked or b.cut)
            cause = "same_choice" if same else "sent_less" if a.up_bytes < b.up_bytes else "sent_more"
            found[cause] += (a.seconds.total - b.seconds.total) * 1e3
    return {cause: ms / (len(mine) * len(theirs) * len(grid)) for cause, ms in found.items()}


def device_now(steps: Sequence[Step], table: CostTable) -> float:
    """How many times as long as its profile says the device took; 1 where it did next to nothing."""
    rows = dict(zip(zip(table.cuts, table.codecs, strict=True), table.device_s.tolist(), strict=True))
    spent = [
        (s.seconds.local or s.seconds.head + s.seconds.encode, rows[s.cut, s.codec]) for s in steps if not s.trouble
    ]
    told = [took / said for took, said in spent if said > 0.05 * max(rows.values())]
    return float(np.median(told)) if told else 1.0


def summed(replays: Sequence[Replay], simulated_s: float, table: CostTable) -> dict[str, Any]:
    """One policy in numbers; milliseconds."""
    mean_ms = over_time(replays) * 1e3
    steps = [s for found, _ in replays for s in found if s.t_s + s.seconds.total > LEAD_S]
    total = np.array([s.seconds.total for s in steps]) * 1e3
    return {
        "requests": len(steps),
        "mean_ms": mean_ms,
        "per_request_ms": float(total.mean()),
        "p50_ms": float(np.median(total)),
        "p99_ms": float(np.quantile(total, 0.99)),
        "simulated_ms": simulated_s * 1e3,
        "simulated_over_real": simulated_s * 1e3 / mean_ms,
        "device_now": device_now(steps, table),
        "cuts": dict(Counter(f"{s.cut}/{s.codec}" for s in steps)),
        "troubles": sum(bool(s.trouble) for s in steps),
    }


def judged(rows: dict[str, Any]) -> dict[str, float | str]:
    """The numbers asked for."""
    mine = rows["dynamic"]["mean_ms"]
    fixed = {n: r["mean_ms"] for n, r in rows.items() if n not in ("dynamic", "clairvoyant") and r["whole_part"]}
    best = min(fixed, key=lambda n: fixed[n])
    plain = min((v for n, v in fixed.items() if n != "server/jpeg"), default=fixed[best])
    return {
        "regret": mine / rows["clairvoyant"]["mean_ms"] - 1,
        "best_static": best,
        "gain": 1 - mine / fixed[best],
        "gain_without_jpeg": 1 - mine / plain,
        "worst_simulated": max(abs(r["simulated_over_real"] - 1) for r in rows.values()),
        "simulated_dynamic": rows["dynamic"]["simulated_over_real"],
    }

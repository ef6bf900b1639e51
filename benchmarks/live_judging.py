"""What a live replay of a trace comes to: means over time, each policy in numbers, and the figures asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.graph import INPUT, OUTPUT
from isthmus.plan import CostTable
from isthmus.record import Seconds, Step
from isthmus.simulate import Load, World, seconds_of_all

LEAD_S = 1.5
"""At the first rate of the part, not counted: connections and windows open, beliefs settle."""
GRID_S = 0.01
FEW = 10
Replay = tuple[Sequence[Step], float]
"""The requests of one replay, and when it ended on the trace's clock."""


def over_time(replay: Replay) -> float:
    """Seconds: the mean over the time after the lead of the latency of the request begun last."""
    steps, until_s = replay
    begun = np.array([s.t_s for s in steps if s.kind == "request"])
    seconds = np.array([s.seconds.total for s in steps if s.kind == "request"])
    held = np.clip(np.append(begun[1:], until_s), LEAD_S, until_s) - np.clip(begun, LEAD_S, until_s)
    return float(held @ seconds) / float(held.sum())


def typical(replays: Iterable[Replay]) -> float:
    """Seconds: the median over replays. What disturbs a machine for half a minute then says nothing of a policy that
    has been played six times; a mean over all would be mostly about that."""
    return float(np.median([over_time(one) for one in replays]))


def priced(world: World, replay: Replay) -> Replay:
    """The same for somebody who asks at the same moments and takes what ends first."""
    steps, until_s = replay
    least = seconds_of_all(world, [s.t_s for s in steps]).min(1).tolist()
    return [s.model_copy(update={"seconds": Seconds(total=t)}) for s, t in zip(steps, least, strict=True)], until_s


def priced_as_it_went(world: World, replay: Replay, table: CostTable) -> Replay:
    """`priced`, the machines as fast as in that very replay (medians of its own requests; where it has fewer than `FEW`
    of a kind, as fast as `world` says). What a machine that slows down for a replay does to that one and not to the
    next is then no regret."""
    steps, _ = replay
    whole = float(table.device_s[table.up_bytes + table.down_bytes == 0].min())
    there = dict(zip(zip(table.cuts, table.codecs, strict=True), table.server_s.tolist(), strict=True))
    alone = [s.seconds.local / whole for s in steps if s.ran == "device" and not s.trouble]
    sent = [(s.seconds.tail + s.seconds.decode) / there[s.cut, s.codec] for s in steps if s.ran == "server"]
    slow = replace(world, device_load=Load.constant(float(np.median(alone)))) if len(alone) >= FEW else world
    both = replace(slow, load=Load.constant(float(np.median(sent)))) if len(sent) >= FEW else slow
    return priced(both, replay)


def regrets(world: World, replays: Sequence[Replay], table: CostTable) -> dict[str, float]:
    """Against somebody who takes at each request what ends first by the profile: as it ran, the machines as fast as in
    the cell or as in that very replay; and of the choices alone, each priced as his are. Medians over replays."""
    best = [over_time(priced(world, one)) for one in replays]
    went = [over_time(priced_as_it_went(world, one, table)) for one in replays]
    chosen = [over_time(_as_priced(world, one, table)) for one in replays]
    mine = [over_time(one) for one in replays]

    def regret(mine_s: list[float], best_s: list[float]) -> float:
        return float(np.median(np.array(mine_s) / np.array(best_s))) - 1

    return {
        "regret_priced": regret(mine, best),
        "regret_as_it_went": regret(mine, went),
        "regret_of_choices": regret(chosen, best),
    }


def _as_priced(world: World, replay: Replay, table: CostTable) -> Replay:
    """The requests with the time that their choices take by the profile; one whose answer was late keeps its own, for
    the device that began beside it ended it."""
    steps, until_s = replay
    rows = {name: at for at, name in enumerate(zip(table.cuts, table.codecs, strict=True))}
    every = seconds_of_all(world, [s.t_s for s in steps])
    as_priced = [
        s if s.trouble else s.model_copy(update={"seconds": Seconds(total=float(each[rows[s.cut, s.codec]]))})
        for s, each in zip(steps, every, strict=True)
    ]
    return as_priced, until_s


def lost(mine: Sequence[Replay], theirs: Sequence[Replay]) -> dict[str, float]:
    """Milliseconds of the mean over time by which one policy is slower than another, by what it did at that moment:
    the same, less was sent than by the other, more. Medians over all pairs of replays: of one pair they add up to the
    difference of its two means."""
    grid = np.arange(LEAD_S, min(until_s for _, until_s in (*mine, *theirs)), GRID_S)
    pairs = [_lost(one, other, grid) for one, other in product(mine, theirs)]
    return {cause: float(np.median([pair[cause] for pair in pairs])) for cause in pairs[0]}


def _lost(mine: Replay, theirs: Replay, grid: NDArray[np.float64]) -> dict[str, float]:
    found = {"same_choice": 0.0, "sent_less": 0.0, "sent_more": 0.0}
    pair = [[s for s in steps if s.kind == "request"] for steps, _ in (mine, theirs)]
    at = [np.searchsorted([s.t_s for s in steps], grid, side="right") - 1 for steps in pair]
    for i, k in zip(*at, strict=True):
        a, b = pair[0][max(0, i)], pair[1][max(0, k)]
        same = (a.asked or a.cut) == (b.asked or b.cut)
        cause = "same_choice" if same else "sent_less" if a.up_bytes < b.up_bytes else "sent_more"
        found[cause] += (a.seconds.total - b.seconds.total) * 1e3 / len(grid)
    return found


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
    mean_ms = typical(replays) * 1e3
    steps = [s for found, _ in replays for s in found if s.t_s + s.seconds.total > LEAD_S]
    total = np.array([s.seconds.total for s in steps]) * 1e3
    return {
        "requests": len(steps),
        "mean_ms": mean_ms,
        "replays_ms": [over_time(one) * 1e3 for one in replays],
        "shown": shown(replays),
        "per_request_ms": float(total.mean()),
        "p50_ms": float(np.median(total)),
        "p99_ms": float(np.quantile(total, 0.99)),
        "simulated_ms": simulated_s * 1e3,
        "simulated_over_real": simulated_s * 1e3 / mean_ms,
        "device_now": device_now(steps, table),
        "cuts": dict(Counter(f"{s.cut}/{s.codec}" for s in steps)),
        "troubles": sum(bool(s.trouble) for s in steps),
    }


def shown(replays: Sequence[Replay]) -> list[tuple[float, float, str]]:
    """The replay nearest to the median, to be drawn: begin of every request (seconds), milliseconds it took, and where
    it was to be computed: "device", "server" or a cut."""
    middle_s = typical(replays)
    steps, _ = min(replays, key=lambda one: abs(over_time(one) - middle_s))
    places = {INPUT: "server", OUTPUT: "device"}
    return [(s.t_s, s.seconds.total * 1e3, places.get(s.asked or s.cut, s.asked or s.cut)) for s in steps]


def judged(rows: dict[str, Any]) -> dict[str, float | str]:
    """The numbers asked for. `regret` compares every replay of dynamic with the clairvoyant's of the same round, half a
    minute away, and is the median of the rounds."""
    mine = rows["dynamic"]["mean_ms"]
    rounds = [np.array(rows[name]["replays_ms"]) for name in ("dynamic", "clairvoyant")]
    fixed = {n: r["mean_ms"] for n, r in rows.items() if n not in ("dynamic", "clairvoyant") and r["whole_part"]}
    best = min(fixed, key=lambda n: fixed[n])
    plain = min((v for n, v in fixed.items() if n != "server/jpeg"), default=fixed[best])
    return {
        "regret": float(np.median(rounds[0] / rounds[1])) - 1,
        "regret_of_means": float(rounds[0].mean() / rounds[1].mean()) - 1,
        "best_static": best,
        "gain": 1 - mine / fixed[best],
        "gain_without_jpeg": 1 - mine / plain,
        "worst_simulated": max(abs(r["simulated_over_real"] - 1) for r in rows.values()),
        "simulated_dynamic": rows["dynamic"]["simulated_over_real"],
    }

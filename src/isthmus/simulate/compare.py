"""Several policies through the same world and the same requests, as numbers beside each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from isthmus.adapt import Habits, is_own
from isthmus.errors import BadInput
from isthmus.model.types import Progress
from isthmus.plan.cost import CostTable
from isthmus.plan.types import Problem
from isthmus.record import Ran, StepWriter, Summary, summarise
from isthmus.simulate.fixed import names_of, statics
from isthmus.simulate.gain import Gain, gain_in_time
from isthmus.simulate.play import Played, play
from isthmus.simulate.policies import fixed_name, make_policy
from isthmus.simulate.requests import Requests
from isthmus.simulate.right_sizing import RIGHT_SIZING
from isthmus.simulate.served import Served, served
from isthmus.simulate.world import World

EVERY_CUT = "cuts"
"""Stands for one policy a cut: that cut, always, with its best codec."""
REFERENCE = "dynamic"


class Shares(BaseModel):
    """Shares of the requests, of 1: by where they ran, and by cut and codec (`cut/codec`), most used first; `exits`: of
    the samples that some exit answered, by exit."""

    model_config = ConfigDict(frozen=True)

    ran: dict[Ran, float]
    choices: dict[str, float]
    exits: dict[str, float] = {}


class Row(BaseModel):
    """How one policy did. Seconds of a request from its start to its answer; `wait_s` is how long its samples had
    waited before (mean). `gain` is what the reference saves against this policy, `regret` what this policy takes more
    than the clairvoyant (a share of 1; None where that did not play)."""

    model_config = ConfigDict(frozen=True)

    policy: str
    plays: str
    """the choice of one that never changes, else empty"""
    requests: int
    mean_s: float | None
    p50_s: float | None
    p99_s: float | None
    wait_s: float
    lost: int
    fallbacks: int
    switches: int
    probes: int
    up_bytes: int
    shares: Shares
    gain: Gain | None
    regret: float | None
    served: Served | None = None
    """what the answers were worth, where the accuracy of exits is known"""


def compare(
    world: World,
    requests: Requests,
    policies: Sequence[str],
    *,
    habits: Habits | None = None,
    believed: Mapping[int, CostTable] | None = None,
    problem: Problem | None = None,
    journals: Callable[[str], StepWriter | None] = lambda _: None,
    progress: Progress | None = None,
) -> tuple[str, list[Row]]:
    """Play every policy; (the reference that the gains are of, a row each in the order given).

    The reference is `dynamic`, or the first where that is not among them. problem: exits with their accuracies, the
    requirement and bandwidth states, for policies that choose among exits. journals makes the writer of a policy's
    lines. Raises BadInput for names that are no policy, or named twice.
    """
    names = expanded(world, requests, policies)
    runs: dict[str, tuple[str, Played]] = {}
    worth: dict[str, Served | None] = {}
    for at, name in enumerate(names):
        if progress is not None:
            progress(at, len(names), name)
        policy = make_policy(name, world, requests, habits=habits, believed=believed, problem=problem)
        played = play(world, policy, requests, journal=journals(name))
        runs[name] = _plays(name, played), played
        worth[name] = _worth(played, problem, getattr(policy, "state_changes", None))
    reference = REFERENCE if REFERENCE in runs else names[0]
    best = runs["clairvoyant"][1] if "clairvoyant" in runs else None
    rows = [_row(n, plays, one, runs[reference][1], best, worth[n]) for n, (plays, one) in runs.items()]
    return reference, rows


def expanded(world: World, requests: Requests, policies: Sequence[str]) -> list[str]:
    """The names, with `cuts` taken apart into `cut:ID/CODEC`, each checked."""
    found: list[str] = []
    for name in policies:
        found += _every_cut(world, requests) if name == EVERY_CUT else [name]
    if not found:
        raise BadInput("name at least one policy, such as dynamic,static,device,server,clairvoyant")
    twice = sorted({n for n in found if found.count(n) > 1})
    if twice:
        raise BadInput(f"the policy {twice[0]} is named twice")
    known = names_of(world, requests)
    if not known:
        raise BadInput(f"the batch sizes {requests.sizes} have no choice in common")
    for name in found:
        if not _thinks(name):
            fixed_name(name, known)
    return found


_THINKING = ("dynamic", "table", "static", "clairvoyant", *RIGHT_SIZING)


def _thinks(name: str) -> bool:
    return name in _THINKING or is_own(name)


def _every_cut(world: World, requests: Requests) -> list[str]:
    """One name a cut, in running order, with the codec that does best."""
    did = statics(world, requests)
    best: dict[str, tuple[tuple[int, float], str]] = {}
    for (cut, codec), mean_s, lost in zip(did.names, did.mean_s.tolist(), did.lost.tolist(), strict=True):
        if cut not in best or (lost, mean_s) < best[cut][0]:
            best[cut] = (lost, mean_s), codec
    return [f"cut:{cut}/{codec}" for cut, (_, codec) in best.items()]


def _plays(name: str, played: Played) -> str:
    if _thinks(name) and name not in ("static", "edgent"):
        return ""
    asked = {(s.asked or s.cut, s.codec, *((s.exit,) if s.exit else ())) for s in played.steps if not s.trouble}
    return "/".join(next(iter(asked))) if len(asked) == 1 else ""


def _worth(played: Played, problem: Problem | None, state_changes: int | None) -> Served | None:
    if problem is None or not played.asked or any(e.accuracy is None for e in problem.exits) or not problem.exits:
        return None
    within_s = problem.limits.latency_s
    return served(played.steps, problem.exits, within_s, asked=played.asked, state_changes=state_changes)


def _row(name: str, plays: str, played: Played, reference: Played, best: Played | None, worth: Served | None) -> Row:
    summary = summarise(played.steps, requests=played.asked)
    return Row(
        policy=name,
        plays=plays,
        requests=summary.requests,
        mean_s=summary.mean_s,
        p50_s=summary.p50_s,
        p99_s=summary.p99_s,
        wait_s=float(np.mean(played.waits_s)) if played.waits_s else 0.0,
        lost=summary.lost,
        fallbacks=summary.fallbacks,
        switches=summary.switches,
        probes=played.probes,
        up_bytes=summary.up_bytes,
        shares=_shares(summary),
        gain=_gain(reference, played),
        regret=None if best is None else _regret(played, best),
        served=worth,
    )


def _shares(summary: Summary) -> Shares:
    count = max(1, summary.answered)
    ran = {place: number / count for place, number in summary.ran.items()}
    choices = {f"{p.cut}/{p.codec}": p.share for p in summary.places}
    return Shares(ran=ran, choices=choices, exits={use.exit: use.share for use in summary.exits})


def _gain(mine: Played, other: Played) -> Gain | None:
    if not mine.steps or not other.steps:
        return None
    return gain_in_time(*_walked(mine), *_walked(other))


def _regret(played: Played, best: Played) -> float | None:
    """How much more than the clairvoyant, of the sums."""
    found = _gain(played, best)
    return None if found is None else 0.0 - found.ratio_of_sums


def _walked(played: Played) -> tuple[list[float], list[float]]:
    return [s.t_s for s in played.steps], [s.seconds.total for s in played.steps]

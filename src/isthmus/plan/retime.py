"""The cheapest additive cost is not always the measured best: run the best few and take what the clock says."""

from __future__ import annotations

import math
from collections.abc import Callable

from isthmus.errors import BadInput
from isthmus.plan.choose import name_of_candidate
from isthmus.plan.types import Candidate, Plan, Promise
from isthmus.units import show_seconds

Measure = Callable[[Candidate], float]
"""Runs one choice end to end and says how many seconds it took (a low quantile of some runs)."""


def retime(plan: Plan, measure: Measure, best: int = 4, within_s: float | None = None) -> Plan:
    """The plan with its `best` cheapest candidates measured; the measured best becomes the plan, and the why says so.

    Candidates are measured from the cheapest on, each once; `measured_s` is filled in. With `within_s`, the deadline
    the plan was made for, those that it found too late for it are left alone. What the plan promises becomes what the
    measured best keeps, and nothing where that was not told. Raises BadInput for best < 1, a
    plan without candidates, or a measurement that is not a number of seconds.
    """
    if best < 1:
        raise BadInput(f"at least 1 candidate must be timed, not {best}")
    if not plan.candidates:
        raise BadInput("the plan lists no candidates to time; make it with a planner")
    in_time = [c for c in plan.candidates if within_s is None or c.judged_s <= within_s] or plan.candidates
    cheapest = sorted(in_time, key=lambda c: c.cost.total_s)[:best]
    timed = {_key(c): c.model_copy(update={"measured_s": _measured(measure, c)}) for c in cheapest}
    winner = min(timed.values(), key=_seconds)
    return plan.model_copy(
        update={
            "cuts": winner.cuts,
            "codec": winner.codec,
            "cost": winner.cost,
            "promise": _promise(plan, winner),
            "why": _why(plan, winner, timed[_key(cheapest[0])], len(timed)),
            "candidates": tuple(timed.get(_key(c), c) for c in plan.candidates),
        }
    )


def _promise(plan: Plan, winner: Candidate) -> Promise | None:
    if plan.promise is None or _key(winner) == (plan.cuts, plan.codec):
        return plan.promise
    return None if winner.sure_s is None else plan.promise.model_copy(update={"sure_s": winner.sure_s})


def _measured(measure: Measure, candidate: Candidate) -> float:
    seconds = float(measure(candidate))
    if not (math.isfinite(seconds) and seconds >= 0):
        raise BadInput(f"{name_of_candidate(candidate)} was measured at {seconds} seconds; that is no time")
    return seconds


def _seconds(candidate: Candidate) -> float:
    return math.inf if candidate.measured_s is None else candidate.measured_s


def _key(candidate: Candidate) -> tuple[tuple[str, ...], str]:
    return candidate.cuts, candidate.codec


def _why(plan: Plan, winner: Candidate, expected: Candidate, count: int) -> str:
    name = name_of_candidate(winner)
    took = f"took {show_seconds(_seconds(winner))}, predicted {show_seconds(winner.cost.total_s)}"
    if _key(winner) == _key(expected):
        return f"{plan.why}; measured: it {took}, and is the best of the {count} timed"
    other = name_of_candidate(expected)
    return (
        f"{name}: {took}, the measured best of the {count} timed; predicted best was {other}, which took "
        f"{show_seconds(_seconds(expected))}"
    )

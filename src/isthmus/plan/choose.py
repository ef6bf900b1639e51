"""The last step every planner shares: price the choices, drop what breaks a limit, take the cheapest, say why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from isthmus.errors import NoPlan
from isthmus.graph import INPUT, OUTPUT, Cut
from isthmus.plan.cost import Option, priced, row
from isthmus.plan.limits import home_bytes, keeps_private
from isthmus.plan.types import Candidate, Cost, Plan, Problem, Promise
from isthmus.units import show_bytes, show_seconds


@dataclass(frozen=True)
class Priced:
    """A choice, what it costs, and whether it keeps the problem's limits. `judged_s`: the seconds that are held against
    a deadline: what the share of requests keeps that the limits ask for, else the typical ones."""

    cuts: tuple[Cut, ...]
    codec: str
    cost: Cost
    judged_s: float
    memory_bytes: int
    private: bool

    @property
    def name(self) -> str:
        return name_of(tuple(c.id for c in self.cuts), self.codec, sends=sum(self.cost.up_bytes) > 0)

    def candidate(self, *, promised: bool) -> Candidate:
        sure_s = self.judged_s if promised else None
        return Candidate(cuts=tuple(c.id for c in self.cuts), codec=self.codec, cost=row(self.cost), sure_s=sure_s)


def choose(problem: Problem, planner: str, options: Iterable[Option], note: str = "") -> Plan:
    """The cheapest option that keeps the limits; of equals the first in running order. `note` ends the plan's why.

    The plan's candidates are the options that keep privacy and memory; some may be later than the deadline. Cheapest is
    what typically takes least; in time is what the limits' share of requests surely is (`Problem.surely`).

    Raises NoPlan with the nearest miss when none does.
    """
    every = priced_options(problem, options)
    kept = _kept_private(every)
    fitting = _fitting(problem, kept)
    latency = problem.limits.latency_s
    meeting = [p for p in fitting if latency is None or p.judged_s <= latency]
    if not meeting:
        raise NoPlan(_miss(problem, planner, every, kept, fitting))
    best = min(meeting, key=lambda p: p.cost.total_s)
    why = why_of(problem, best, [p for p in meeting if p is not best])
    return plan_for(problem, planner, best, fitting, f"{why}; {note}" if note else why)


def plan_for(problem: Problem, planner: str, best: Priced, candidates: Iterable[Priced], why: str) -> Plan:
    """The plan that takes this choice."""
    promise = _promise(problem, best)
    return Plan(
        model=problem.graph.name,
        fingerprint=problem.machines[problem.home].profile.fingerprint,
        planner=planner,
        batch=problem.graph.batch,
        first="server" if problem.home else "device",
        cuts=tuple(c.id for c in best.cuts),
        codec=best.codec,
        cost=row(best.cost),
        why=why,
        candidates=tuple(p.candidate(promised=promise is not None) for p in candidates),
        promise=promise,
    )


def within_limits(problem: Problem, options: Iterable[Option]) -> list[Priced]:
    """The options that keep privacy and memory, priced, in running order; some may be later than the deadline."""
    return _fitting(problem, _kept_private(priced_options(problem, options)))


def _promise(problem: Problem, best: Priced) -> Promise | None:
    limits = problem.limits
    if problem.surely is problem or limits.latency_s is None or limits.sure is None:
        return None
    return Promise(within_s=limits.latency_s, share=limits.sure, sure_s=best.judged_s)


def _kept_private(options: Sequence[Priced]) -> list[Priced]:
    return [p for p in options if p.private]


def _fitting(problem: Problem, options: Sequence[Priced]) -> list[Priced]:
    memory = problem.limits.home_memory_bytes
    return [p for p in options if memory is None or p.memory_bytes <= memory]


def priced_options(problem: Problem, options: Iterable[Option]) -> list[Priced]:
    """Each option once, priced and weighed, in running order (ties keep the order given)."""
    unique = {(tuple(c.id for c in cuts), codec): (cuts, codec) for cuts, codec in reversed(list(options))}
    found = [priced_option(problem, cuts, codec) for cuts, codec in reversed(list(unique.values()))]
    return sorted(found, key=lambda p: tuple(len(c.head) for c in p.cuts))


def priced_option(problem: Problem, cuts: tuple[Cut, ...], codec: str) -> Priced:
    """One choice, priced and weighed."""
    cost, surely = priced(problem, cuts, codec), problem.surely
    return Priced(
        cuts=cuts,
        codec=codec,
        cost=cost,
        judged_s=cost.total_s if surely is problem else priced(surely, cuts, codec).total_s,
        memory_bytes=home_bytes(problem, cuts) if problem.limits.home_memory_bytes is not None else 0,
        private=keeps_private(problem, cuts),
    )


def why_of(problem: Problem, best: Priced, others: Sequence[Priced]) -> str:
    """One sentence with the numbers: where, what is sent instead of what, the sum by cause, the next best."""
    cost, sent = best.cost, sum(best.cost.up_bytes) + sum(best.cost.down_bytes)
    upward = sum(cost.up_bytes)
    moved = "sends nothing" if not sent else f"sends {show_bytes(upward)}"
    raw = problem.graph.input_bytes
    if sent and upward != raw:
        moved += f" instead of {show_bytes(raw)}"
    terms = [(role_of(problem, k), s) for k, s in enumerate(cost.compute_s)]
    terms += [("link", sum(cost.up_s) + sum(cost.down_s) + cost.fixed_s), ("coding", cost.codec_s)]
    summed = " + ".join(f"{name} {show_seconds(s)}" for name, s in terms if s > 0) or "no work"
    text = f"{best.name}: {moved}; {summed} = {show_seconds(cost.total_s)}"
    if not others:
        return f"{text}; nothing else {'to choose from' if problem.limits.latency_s is None else 'is in time'}"
    second = min(others, key=lambda p: p.cost.total_s)
    more = second.cost.total_s / cost.total_s - 1 if cost.total_s > 0 else 0.0
    return f"{text}; next best is {second.name}, +{more:.1%}"


def name_of(cuts: tuple[str, ...], codec: str, *, sends: bool) -> str:
    """A choice in words: `all on the device`, `cut after relu_3 as int8`. `sends`: something goes away from home."""
    if not sends:
        return "all on the device"
    if len(cuts) == 1 and cuts[0] in (INPUT, OUTPUT):
        return f"all on the server, input as {codec}"
    return f"{'cut' if len(cuts) == 1 else 'cuts'} after {' | '.join(cuts)} as {codec}"


def name_of_candidate(candidate: Candidate) -> str:
    """The same, of a candidate."""
    return name_of(candidate.cuts, candidate.codec, sends=sum(candidate.cost.up_bytes) > 0)


def role_of(problem: Problem, machine: int) -> str:
    """What to call a machine: device and server where there are two, else the profile's own name."""
    if len(problem.machines) == 2:
        return "device" if machine == problem.home else "server"
    return problem.machines[machine].profile.machine.name


def _miss(
    problem: Problem, planner: str, every: Sequence[Priced], kept: Sequence[Priced], fitting: Sequence[Priced]
) -> str:
    limits = problem.limits
    if not every:
        return f"{planner} has nothing to choose from: no codec is allowed at any cut; allow float32"
    if not kept:
        node = limits.private_until
        what = "the raw input, which private forbids"
        if node is not None:
            what = f"what is made before {node}, which is to stay private"
        return f"{planner} would send {what}; allow that, or use mincut or device_only"
    if not fitting:
        least = min(kept, key=lambda p: p.memory_bytes)
        return (
            f"{planner} finds no part for home within {show_bytes(limits.home_memory_bytes or 0)}: {least.name} needs "
            f"least, {show_bytes(least.memory_bytes)}; raise the memory limit or use a smaller model"
        )
    nearest = min(fitting, key=lambda p: p.judged_s)
    return (
        f"{planner} finds no plan within {show_seconds(limits.latency_s or 0.0)}: {nearest.name} comes nearest at "
        f"{judged_text(problem, nearest.judged_s, nearest.cost.total_s)}; raise the deadline, allow a smaller codec or "
        "get a faster link"
    )


def judged_text(problem: Problem, judged_s: float, typical_s: float) -> str:
    """Seconds held against a deadline in words: `52 ms`, or `61 ms in 95% of requests (52 ms as a rule)`."""
    if problem.surely is problem or judged_s == typical_s:
        return show_seconds(judged_s)
    share = f"{100 * (problem.limits.sure or 0.0):.4g}%"
    return f"{show_seconds(judged_s)} in {share} of requests ({show_seconds(typical_s)} as a rule)"

"""Auto-Split (Banitalebi-Dehkordi et al., KDD 2021): where to cut and with how many bits, under memory and accuracy.

The candidates are the places where sending is worth it and a head at the lowest widths fits (`isthmus.plan.potential`);
for each, widths of weights and of activations are chosen apart, for shares of the memory (`isthmus.plan.splits`,
`isthmus.quant.assign`, `isthmus.quant.alive`). The answer is a list of solutions and the fastest of those that lose no
more than allowed; all on the device and all on the server are among them.

Beyond the paper: cheapest cuts of the DAG that are no prefix of the running order are candidates too, assignments are
exact or within 1 % of a bound, and what crosses is tried at every width. `Problem.literal` takes the published working
set (the largest single tensor) and sums distortions as they are instead of relative to each tensor's power.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from isthmus.errors import NoPlan
from isthmus.graph import cut_at
from isthmus.plan.choose import Priced, plan_for, priced_option, why_of
from isthmus.plan.held import Holding
from isthmus.plan.joint import Joint, joint
from isthmus.plan.solution import Solution, few_of
from isthmus.plan.splits import at_bits
from isthmus.plan.types import Plan, Problem
from isthmus.units import show_bytes, show_seconds

USUAL_LOSS = 0.01
"""What may be lost where nobody says: one point."""


def autosplit(problem: Problem) -> Plan:
    """The fastest solution within the limits of memory, distortion and accuracy loss (one point where there is no limit
    of either); `solutions` lists the others.

    Raises BadInput without distortion tables, NoPlan with the nearest miss where no solution keeps the limits.
    """
    found = joint(problem)
    limits = problem.limits
    if limits.distortion is None and limits.loss is None:
        limits = replace(limits, loss=USUAL_LOSS)
    true = [s for s in found.solutions if keeps(s, limits.distortion, limits.loss)]
    if not true:
        raise NoPlan(_too_lossy(found, limits.distortion, limits.loss))
    best, option = _fastest(problem, true)
    others = [_option(problem, s) for s in _by_cut(true) if s.cut != best.cut]
    candidates = sorted([option, *others], key=lambda p: len(p.cuts[0].head))
    solutions = tuple(_shown(problem, found.solutions, best))
    best = next(s for s in solutions if s.name == best.name)
    why = f"{why_of(problem, option, others)}; {_note(problem, found, best, limits.distortion, limits.loss)}"
    plan = plan_for(problem, "autosplit", option, candidates, why)
    told = {"bits": best.bits, "solutions": solutions, "dropped": found.places.dropped}
    limit = {"memory_bytes": problem.limits.home_memory_bytes, "memory_of": problem.limits.memory_of}
    return plan.model_copy(update=told | limit)


def keeps(solution: Solution, distortion: float | None, loss: float | None) -> bool:
    """Is no more distorted and lost than this?"""
    if distortion is not None and (solution.distortion is None or solution.distortion > distortion):
        return False
    return loss is None or (solution.judged_loss is not None and solution.judged_loss <= loss)


def _fastest(problem: Problem, true: Sequence[Solution]) -> tuple[Solution, Priced]:
    """The first in time that is on time, with its price. Raises NoPlan with the nearest miss."""
    within_s = problem.limits.latency_s
    for solution in true:
        option = _option(problem, solution)
        if within_s is None or option.judged_s <= within_s:
            return solution, option
    nearest = min((_option(problem, s) for s in true), key=lambda p: p.judged_s)
    raise NoPlan(
        f"autosplit finds no solution within {show_seconds(within_s or 0.0)} that keeps the limits of loss: "
        f"{nearest.name} comes nearest at {show_seconds(nearest.judged_s)}; raise the deadline, allow more loss or "
        "get a faster link"
    )


def _option(problem: Problem, solution: Solution) -> Priced:
    option = priced_option(at_bits(problem, solution.bits), (cut_at(problem.graph, solution.cut),), solution.codec)
    return replace(option, memory_bytes=solution.memory_bytes)


def _by_cut(true: Sequence[Solution]) -> list[Solution]:
    """The fastest solution of every cut."""
    found: dict[str, Solution] = {}
    for solution in true:
        found.setdefault(solution.cut, solution)
    return list(found.values())


def _shown(problem: Problem, every: Sequence[Solution], best: Solution) -> Iterator[Solution]:
    """All of them; the widths, which are long, of the front and of the plan's own only, and what a process holds for
    what a table shows of these, where a device that runs processes is planned for."""
    runs = problem.machines[problem.home].profile.machine.kind == "measured"
    holding = Holding.at_home(problem) if runs or problem.limits.memory_of == "runtime" else None
    told = {id(s) for s in (best, *few_of([s for s in every if s.front], best.bits))}
    for solution in every:
        if not (solution.front or solution is best):
            yield solution.model_copy(update={"bits": None})
        elif holding is None or id(solution) not in told or solution.bits is None or solution.held_bytes is not None:
            yield solution
        else:
            held = holding.of(cut_at(problem.graph, solution.cut), solution.bits).total_bytes
            yield solution.model_copy(update={"held_bytes": held})


def _note(problem: Problem, found: Joint, best: Solution, distortion: float | None, loss: float | None) -> str:
    """What the widths are, what they cost, and where the candidates came from."""
    said = []
    if best.memory_bytes:
        limit, of_runtime = problem.limits.home_memory_bytes, problem.limits.memory_of == "runtime"
        of = f" of {show_bytes(limit)}" if limit is not None else ""
        held = "" if best.held_bytes is None else f", a process {show_bytes(best.held_bytes)}"
        said.append(
            f"weights {best.weight_bits:.1f} bits and activations {best.activation_bits:.1f} on average take "
            f"{show_bytes(best.memory_bytes)}" + (f"{held}{of}" if of_runtime else f"{of}{held}")
        )
    how = "answers unlike the whole network's" if best.agreed else "estimated from the distortion"
    how = "measured" if best.measured else how
    spread = "" if best.give_or_take is None else f" ± {best.give_or_take:.2%}"
    allowed = [
        f"{loss:.2%}" if loss is not None else "",
        f"distortion {distortion:.3g}" if distortion is not None else "",
    ]
    said.append(
        f"loses {best.loss or 0.0:.2%}{spread} ({how}, distortion {best.distortion or 0.0:.3g}; allowed "
        f"{' and '.join(a for a in allowed if a)})"
    )
    said.append(found.places.summary(problem.limits.home_memory_bytes))
    if problem.limits.home_memory_bytes is not None and found.places.nearest is not None:
        cut, need = found.places.nearest
        if need > problem.limits.home_memory_bytes:
            said.append(f"no head fits: the smallest, up to {cut}, needs {show_bytes(need)}")
    return "; ".join(said)


def _too_lossy(found: Joint, distortion: float | None, loss: float | None) -> str:
    """The nearest miss of the limits of loss."""
    known = [s for s in found.solutions if s.loss is not None and s.distortion is not None]
    least = min(known, key=lambda s: (s.judged_loss or 0.0, s.total_s))
    asked = f"a distortion of {distortion:.3g}" if distortion is not None else f"a loss of {loss or 0.0:.2%}"
    spread = "" if least.give_or_take is None else f" ± {least.give_or_take:.3%}"
    surer = loss is not None and least.loss is not None and least.loss <= loss < (least.judged_loss or 0.0)
    return (
        f"autosplit finds no solution within {asked}: {least.name} comes nearest with a loss of "
        f"{least.loss or 0.0:.3%}{spread} (distortion {least.distortion or 0.0:.3g}) in "
        f"{show_seconds(least.total_s)}; allow that, or more memory{', or measure on more samples' if surer else ''}"
    )

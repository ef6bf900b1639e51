"""All solutions of the joint question, where to cut and with how many bits: priced, judged, the front marked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from isthmus.errors import BadInput, NoPlan
from isthmus.graph import INPUT, Cut, cut_at
from isthmus.plan.limits import keeps_private
from isthmus.plan.planners.mincut import cheapest_allowed
from isthmus.plan.potential import Potential, potential, wire_codec
from isthmus.plan.solution import Solution
from isthmus.plan.splits import Splits, priced_solution, worth_listing
from isthmus.plan.storage import Storage
from isthmus.plan.types import Problem
from isthmus.quant.types import MOST_BITS, Distortions

LOSS_AT_EIGHT = 0.005
"""Accuracy lost where all is 8 bits wide: ResNet-50 on ImageNet, .760 → .755, and .695 at 6 bits, where the distortion
is 16 times as large and the loss 13 times (chart published with the code of Auto-Split)."""


@dataclass(frozen=True)
class Joint:
    """Every solution, the fastest first; the places that were candidates; what all at the highest width distorts."""

    solutions: tuple[Solution, ...]
    places: Potential
    reference: float
    splits: Splits


def tables_of(problem: Problem, planner: str) -> Distortions:
    """The distortion tables. Raises BadInput where there are none, where they are another network's, or where the
    machines are not a device at home and a server."""
    tables = problem.distortions
    if tables is None:
        raise BadInput(
            f"{planner} chooses bit widths and needs to know what they cost: isthmus quantize {problem.graph.name} "
            "--data … measures distortion tables, --distortions reads them"
        )
    if len(problem.machines) != 2 or problem.home != 0:
        raise BadInput(f"{planner} is for a device at home that runs first and a server")
    if not device_bits(tables):
        raise BadInput(f"the distortions of {tables.model} are for no width of 8 bits or less")
    return tables


def device_bits(tables: Distortions) -> tuple[int, ...]:
    """The widths of the tables that a device computes with."""
    return tuple(b for b in tables.bits if b <= 8)


def splits_for(problem: Problem, planner: str, head: Cut | None = None) -> Splits:
    """The candidate heads of the network, or one head alone. Raises BadInput as `tables_of` does."""
    tables = tables_of(problem, planner)
    try:
        storage = Storage.of(problem.graph, tables, device_bits(tables), head=head, literal=problem.literal)
    except BadInput as error:
        raise BadInput(f"{error}: they are of another network than {problem.graph.name}") from error
    steps = range(len(storage.heads)) if head is None else [len(storage.heads) - 1]
    return Splits(problem, storage, list(steps))


def joint(problem: Problem, planner: str = "autosplit") -> Joint:
    """Every solution worth having. Raises BadInput as `tables_of` does, NoPlan where nothing is left."""
    splits = splits_for(problem, planner)
    places = potential(problem, splits.storage)
    splits = Splits(problem, splits.storage, places.steps)
    last = len(splits.storage.heads) - 1
    reference = splits.uniform(last, splits.bits[-1]).distortion
    found = worth_listing(splits, planner)
    for other in _other_heads(problem, splits, planner):
        found += worth_listing(other, planner)
    found += server_solutions(problem, splits.storage, planner)
    named = {s.name: s for s in sorted(found, key=lambda s: -s.total_s)}
    rows = [judged(problem, s, reference) for s in named.values() if s.fits]
    if not rows:
        raise NoPlan(no_head(problem, planner, places))
    return Joint(tuple(_with_front(rows)), places, reference, splits)


def server_solutions(problem: Problem, storage: Storage, planner: str) -> Iterator[Solution]:
    """Nothing on the device: the input as a camera gives it, and as it is in memory."""
    cut = cut_at(problem.graph, INPUT)
    if not keeps_private(problem, [cut]):
        return
    floats = any(problem.graph.tensors[name].dtype == "float32" for name in problem.graph.inputs)
    for bits, codec in ((8, "int8"), (32, "float32")) if floats else ((32, "float32"),):
        error = storage.input_error(bits)
        yield priced_solution(problem, planner, cut, codec, None, widths=(0.0, 0.0, float(bits)), distortion=error)


def no_head(problem: Problem, planner: str, places: Potential) -> str:
    """Why there is nothing to choose from, with the head that comes nearest."""
    said = f"{planner} finds no split: {places.summary(problem.limits.home_memory_bytes)}"
    if places.nearest is None:
        return said
    cut, need = places.nearest
    return f"{said}; the smallest head, up to {cut}, needs {need} bytes; raise the memory limit, or let the input leave"


def _other_heads(problem: Problem, splits: Splits, planner: str) -> Iterator[Splits]:
    """Cheapest cuts that are no prefix of the running order, at each width that can be sent."""
    known = {cut.id for cut in splits.storage.cuts}
    free = replace(problem, codecs={}, limits=replace(problem.limits, home_memory_bytes=None, latency_s=None))
    for bits in (*splits.bits, MOST_BITS):
        codec = wire_codec(bits)
        if codec is None:
            continue
        cuts, _ = cheapest_allowed(replace(free, default_codecs=(codec,)), codec)
        if cuts is None or cuts[0].id in known:
            continue
        known.add(cuts[0].id)
        other = splits_for(problem, planner, cuts[0])
        cut = other.storage.cuts[-1]
        if keeps_private(problem, [cut]) and (cut.id == cuts[0].id or cut.id not in known):
            known.add(cut.id)
            yield other


def judged(problem: Problem, solution: Solution, reference: float) -> Solution:
    """With the accuracy it loses: as measured, or estimated from the distortion (above 1 where nothing is left)."""
    if solution.name in problem.losses:
        return solution.model_copy(update={"loss": problem.losses[solution.name], "measured": True})
    if solution.distortion is None or (not reference and solution.distortion):
        return solution
    reference = reference or 1.0
    return solution.model_copy(update={"loss": LOSS_AT_EIGHT * solution.distortion / reference})


def _with_front(every: Iterable[Solution]) -> list[Solution]:
    """The fastest first; marked, what loses less than all that is faster."""
    rising = sorted(every, key=lambda s: (s.total_s, _lost(s)))
    marked: list[Solution] = []
    best = float("inf")
    for solution in rising:
        front = solution.fits and _lost(solution) < best
        best = _lost(solution) if front else best
        marked.append(solution.model_copy(update={"front": front}))
    return marked


def _lost(solution: Solution) -> float:
    return solution.loss if solution.loss is not None else float("inf")

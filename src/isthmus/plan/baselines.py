"""What Auto-Split is compared with, as rows of one table: uploads, planners that know no widths, one width for all.

neurosurgeon, dads and qdmp plan for numbers of 16 bits on the device and on the wire and for all the memory there is,
as the published comparison has them; what they lose is nothing, and whether they fit is told. A picture upload's loss
is known where it was measured (`Problem.losses`), or by what it distorts where that was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from isthmus.errors import BadInput, NoPlan
from isthmus.graph import INPUT, cut_at
from isthmus.plan.held import Holding
from isthmus.plan.joint import Joint, splits_for, upload, writable_pictures
from isthmus.plan.losses import Estimates
from isthmus.plan.planners import PLANNERS
from isthmus.plan.planners.qdmp import in_floats
from isthmus.plan.solution import Solution
from isthmus.plan.splits import Splits, in_memory, priced_solution, without_memory
from isthmus.plan.types import Plan, Problem
from isthmus.quant.types import MOST_BITS

IN_FLOATS = ("neurosurgeon", "dads", "qdmp")
QUANTISED = ("qdmp_e", "qdmp_e_u4", "u2", "u4", "u6", "u8")


def baselines(problem: Problem, found: Joint | None = None, *, named: bool = True) -> tuple[Solution, ...]:
    """Every baseline that has an answer, as a solution named after it (not `named`: after what it is, as all solutions
    are). Memory limits are told, not kept (`fits`). Raises BadInput without distortion tables."""
    splits = found.splits if found is not None else splits_for(problem, "a comparison with baselines")
    estimates = found.estimates if found is not None else Estimates(problem, splits.at_eight(), (), (), ())
    rows = [*_uploads(problem, splits), *_floats(problem), *_quantised(problem)]
    judged = (estimates.judged(row) for row in rows)
    return tuple(row.model_copy(update={"name": row.planner}) if named else row for row in judged)


def _uploads(problem: Problem, splits: Splits) -> Iterator[Solution]:
    """CLOUD16 and pictures."""
    cut = cut_at(problem.graph, INPUT)
    error = splits.storage.input_error(8)
    yield priced_solution(problem, "cloud16", cut, "int8", None, widths=(0.0, 0.0, 8.0), distortion=error)
    for name in writable_pictures(problem):
        yield upload(problem, splits.storage, name, name)


def _floats(problem: Problem) -> Iterator[Solution]:
    asked = in_floats(problem)
    holding = Holding.at_home(problem) if problem.limits.memory_of == "runtime" else None
    for name in IN_FLOATS:
        plan = _tried(asked, name)
        if plan is None:
            continue
        head = cut_at(problem.graph, plan.cuts[0])
        own = splits_for(problem, name, head)
        whole = own.uniform(len(own.storage.heads) - 1, MOST_BITS)
        weights, activations = own.memory(whole) if head.head else (0, 0)
        row = priced_solution(
            asked, name, head, plan.codec, None, weight_bytes=-(-weights // 8), activation_bytes=-(-activations // 8),
            held_bytes=holding.of(head, None).total_bytes if holding is not None else None,
            widths=(16.0, 16.0, 16.0) if head.head else (0.0, 0.0, 8.0),
            distortion=0.0 if head.head else own.storage.input_error(8),
        )  # fmt: skip
        yield row.model_copy(update={"fits": in_memory(problem, row)})


def _quantised(problem: Problem) -> Iterator[Solution]:
    free = without_memory(problem)
    for name in QUANTISED:
        plan = _tried(free, name)
        if plan is None:
            continue
        if plan.solutions:
            row = plan.solutions[0]
        else:  # QDMP runs nothing on the device
            cut = cut_at(problem.graph, plan.cuts[0])
            error = splits_for(problem, name).storage.input_error(8)
            row = priced_solution(problem, name, cut, plan.codec, None, widths=(0.0, 0.0, 8.0), distortion=error)
        yield row.model_copy(update={"fits": in_memory(problem, row)})


def _tried(problem: Problem, name: str) -> Plan | None:
    """The plan, or None where this planner has none, or not at these widths."""
    free = replace(problem, limits=replace(problem.limits, latency_s=None))
    try:
        return PLANNERS[name](free)
    except (NoPlan, BadInput):
        return None

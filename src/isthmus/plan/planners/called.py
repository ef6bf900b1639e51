"""A planner by its name: one of the table, or a function of your own that nobody has to install."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping

from isthmus.codec import make_codec
from isthmus.errors import BadInput
from isthmus.graph import cut_at
from isthmus.own import function_called, made_by
from isthmus.plan.cost import can_write, check
from isthmus.plan.types import Plan, Problem

Planner = Callable[[Problem], Plan]


def called(name: str, table: Mapping[str, Planner]) -> Planner:
    """The planner of this name; `mine.py:nearest` is a function of your own (`isthmus.own`).

    Raises BadInput where there is none, and, when it is called, for one that fails or answers with anything but a Plan
    of this problem.
    """
    if name in table:
        return table[name]
    if ":" not in name:
        near = difflib.get_close_matches(name, table, 3) or sorted(table)
        raise BadInput(
            f"there is no planner '{name}': {', '.join(near)}; or give your own as file.py:function (docs/planners.md)"
        )
    own = function_called(name)

    def planner(problem: Problem) -> Plan:
        plan = made_by(name, own, problem, wanted="a function that makes a Plan of a Problem")
        if not isinstance(plan, Plan):
            raise BadInput(f"{name} answered with {type(plan).__name__}; a planner answers with a Plan")
        try:
            _check(plan, problem)
        except BadInput as error:
            raise BadInput(f"{name} answered with a plan that cannot be carried out: {error}") from error
        return plan

    return planner


def _check(plan: Plan, problem: Problem) -> None:
    """Raise BadInput for cuts that are none of the problem's network, or of the exit that the plan takes, for a codec
    that is none or cannot write what crosses there, and for seconds that are no numbers."""
    at = problem.at_exit(plan.exit) if plan.exit else problem
    cuts = [cut_at(at.graph, name) for name in plan.cuts]
    check(at, cuts)
    make_codec(plan.codec)
    for name in (t for cut in cuts for t in cut.crossing):
        tensor = at.graph.tensors[name]
        if tensor.dtype == "float32" and not can_write(plan.codec, tensor):
            raise BadInput(f"codec {plan.codec} cannot write {name}")
    for cost in (plan.cost, *(c.cost for c in plan.candidates)):
        seconds = (*cost.compute_s, *cost.up_s, *cost.down_s, cost.codec_s, cost.fixed_s, cost.total_s)
        for value in seconds:
            if not (math.isfinite(value) and value >= 0):
                raise BadInput(f"a cost of {value} seconds is no time")

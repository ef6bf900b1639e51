"""A planner by its name: one of the table, or a function of your own that nobody has to install."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

from isthmus.errors import BadInput
from isthmus.own import function_called, made_by
from isthmus.plan.types import Plan, Problem

Planner = Callable[[Problem], Plan]


def called(name: str, table: Mapping[str, Planner]) -> Planner:
    """The planner of this name; `mine.py:nearest` is a function of your own (`isthmus.own`).

    Raises BadInput where there is none, and, when it is called, for one that fails or answers with anything but a Plan.
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
        return plan

    return planner

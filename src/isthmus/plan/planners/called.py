"""A planner by its name: one of the table, or a function of your own that nobody has to install."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

from isthmus.errors import BadInput
from isthmus.plan.types import Plan, Problem

Planner = Callable[[Problem], Plan]


def called(name: str, table: Mapping[str, Planner]) -> Planner:
    """The planner of this name. `place:function` is a function in a file (`mine.py:nearest`) or in a module that can be
    imported (`lab.planners:nearest`): your own code, which is run.

    Raises BadInput where there is none, and, when it is called, for one that answers with anything but a Plan.
    """
    if name in table:
        return table[name]
    place, colon, function = name.rpartition(":")
    if not colon:
        near = difflib.get_close_matches(name, table, 3) or sorted(table)
        raise BadInput(
            f"there is no planner '{name}': {', '.join(near)}; or give your own as file.py:function (docs/planners.md)"
        )
    own = getattr(_module(place), function, None)
    if not callable(own):
        raise BadInput(f"{place} has no function '{function}'")

    def planner(problem: Problem) -> Plan:
        plan = own(problem)
        if not isinstance(plan, Plan):
            raise BadInput(f"{name} answered with {type(plan).__name__}; a planner answers with a Plan")
        return plan

    return planner


def _module(place: str) -> ModuleType:
    path = Path(place)
    if path.suffix != ".py":
        try:
            return importlib.import_module(place)
        except ImportError as error:
            raise BadInput(f"{place} cannot be imported: {error}") from error
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise BadInput(f"there is no file {place}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

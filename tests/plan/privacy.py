"""Privacy by its definition, apart from the code that planners use."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.graph import Cut
from isthmus.plan import Problem
from isthmus.plan.cost import traffic


def sends_input(problem: Problem, cuts: Sequence[Cut]) -> bool:
    """Does a raw input leave home?"""
    inputs = set(problem.graph.inputs)
    loads = (traffic(problem.graph, cut, forward_is_up=problem.home <= j).up for j, cut in enumerate(cuts))
    return any(parcel.tensor.name in inputs for load in loads for parcel in load)

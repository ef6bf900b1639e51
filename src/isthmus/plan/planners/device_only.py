"""Everything at home: the floor every other plan must beat, and what is left when the link is gone."""

from __future__ import annotations

from isthmus.codec import RAW
from isthmus.graph import INPUT, OUTPUT, cut_at
from isthmus.plan.choose import choose
from isthmus.plan.cost import Option
from isthmus.plan.types import Plan, Problem


def device_only(problem: Problem) -> Plan:
    """Run the whole network at home; nothing travels. Raises NoPlan where that breaks a limit."""
    return choose(problem, "device_only", [option(problem)])


def option(problem: Problem) -> Option:
    """Links before home are cut at INPUT, links after it at OUTPUT."""
    cut_ids = [INPUT if j < problem.home else OUTPUT for j in range(len(problem.links))]
    return tuple(cut_at(problem.graph, c) for c in cut_ids), RAW

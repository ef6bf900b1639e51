"""Neurosurgeon (Kang et al., ASPLOS 2017): try every layer boundary, take the cheapest at the present rate and load.

Made for chains; on a DAG the boundaries are the narrow cuts, where one tensor crosses. Here each is tried with every
codec allowed there, and with several links every nested combination is tried.
"""

from __future__ import annotations

from isthmus.plan.build import candidates_for
from isthmus.plan.choose import choose
from isthmus.plan.types import Plan, Problem


def neurosurgeon(problem: Problem) -> Plan:
    """The cheapest nested narrow cuts. Raises NoPlan where none keeps the limits, BadInput where there are too many
    combinations to list."""
    return choose(problem, "neurosurgeon", candidates_for(problem))

"""Full offload: the input travels, in the cheapest form that keeps the accuracy, and the answer comes back."""

from __future__ import annotations

from isthmus.graph import INPUT, OUTPUT, cut_at
from isthmus.plan.choose import choose
from isthmus.plan.cost import Option, allowed_codecs
from isthmus.plan.types import Plan, Problem


def server_only(problem: Problem) -> Plan:
    """Run the whole network on one machine away from home, the cheapest one, with the cheapest input codec allowed
    (`problem.codecs_at("@input")`). Raises NoPlan where that breaks a limit (it always does under `private`)."""
    return choose(problem, "server_only", options(problem))


def options(problem: Problem) -> list[Option]:
    """Every machine but home × every codec allowed for the input."""
    found: list[Option] = []
    for k in range(len(problem.machines)):
        if k != problem.home:
            ids = [INPUT if j < k else OUTPUT for j in range(len(problem.links))]
            cuts = tuple(cut_at(problem.graph, c) for c in ids)
            found += [(cuts, codec) for codec in allowed_codecs(problem, cuts)]
    return found

"""The oracle: price every closed set of nodes (nested, one a link) with every codec. For tests and small networks."""

from __future__ import annotations

from collections.abc import Iterator, Set

from isthmus.errors import BadInput
from isthmus.graph import Cut, all_cuts
from isthmus.plan.choose import choose
from isthmus.plan.cost import Option, allowed_codecs
from isthmus.plan.types import Plan, Problem

MOST = 20_000
"""More nested choices than this are not tried."""


def exhaustive(problem: Problem) -> Plan:
    """The cheapest of all choices there are, by the cost function alone: times need not be additive.

    Raises BadInput beyond MOST nested choices, NoPlan where none keeps the limits.
    """
    cuts = list(all_cuts(problem.graph, limit=MOST))
    options: list[Option] = []
    for count, nested in enumerate(_nested(cuts, len(problem.links), frozenset()), 1):
        if count > MOST:
            raise BadInput(
                f"{problem.graph.name} has {len(cuts)} cuts and more than {MOST} ways to nest "
                f"{len(problem.links)} of them; use mincut, which needs no list of them"
            )
        options += [(nested, codec) for codec in allowed_codecs(problem, nested)]
    return choose(problem, "exhaustive", options)


def _nested(cuts: list[Cut], links: int, inside: Set[int]) -> Iterator[tuple[Cut, ...]]:
    if not links:
        yield ()
        return
    for cut in cuts:
        if inside <= cut.head:
            for rest in _nested(cuts, links - 1, cut.head):
                yield (cut, *rest)

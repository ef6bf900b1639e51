"""Stages: the way through a network that may end at any of its exits.

Between two consecutive exits lies a stage: what the later one needs and none of those before it. A cut ends the stage
it stands in, and the next begins there, so that both machines can stop at every exit on their side. BranchyNet
(Teerapittayanon et al., ICPR 2016) leaves by such exits; SPINN (Laskaridis et al., MobiCom 2020) cuts such a network.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from isthmus.graph.cuts import cut_of
from isthmus.graph.exits import at_exits
from isthmus.graph.types import Cut, Graph


class Stage(NamedTuple):
    """What lies between two cuts. `exit`: place among the exits of the one that is made here; None for the stage that
    leads up to the cut between the machines."""

    start: Cut
    end: Cut
    exit: int | None


@dataclass(frozen=True)
class Route:
    """The stages on either side of a cut, in running order."""

    cut: Cut
    before: tuple[Stage, ...]
    after: tuple[Stage, ...]


def route(graph: Graph, exits: Sequence[str], cut: Cut) -> Route:
    """The way through `graph` by its `exits` (outputs in running order, the last of which needs every node).

    `Route.cut` is `cut` with the exits in its head that are asked there: an exit stands behind those before it, and one
    that hangs on what crosses anyway is asked before anything is sent. Raises BadInput for an exit that is no output.
    """
    needed = [_needed(graph, exits[: k + 1]) for k in range(len(exits))]
    head = _asked_early(graph, exits, needed, cut.head)
    here = sum(part <= head for part in needed)
    ends = [*needed[:here], *([head] if here == 0 or needed[here - 1] != head else [])]
    before = _stages(graph, frozenset(), ends, 0, here)
    after = _stages(graph, head, [head | part for part in needed[here:]], here, len(exits))
    return Route(cut_of(graph, head), tuple(s for s in before if s.start.head != s.end.head), after)


def _needed(graph: Graph, outputs: Sequence[str]) -> frozenset[int]:
    names = {node.name for node in at_exits(graph, outputs).nodes}
    return frozenset(i for i, node in enumerate(graph.nodes) if node.name in names)


def _asked_early(graph: Graph, exits: Sequence[str], needed: Sequence[frozenset[int]], head: Set[int]) -> Set[int]:
    """A head, grown by the exits that are to be asked in it."""
    made = [k for k, output in enumerate(exits) if graph.producer[output] in head]
    if made:
        head |= needed[made[-1]]
    for part in needed:
        if cut_of(graph, head | part).crossing != cut_of(graph, head).crossing:
            break
        head |= part
    return head


def _stages(graph: Graph, start: Set[int], ends: Sequence[Set[int]], first: int, last: int) -> tuple[Stage, ...]:
    """Stages from `start` to each of `ends` in turn; those with a number below `last` make an exit."""
    found = []
    for k, end in enumerate(ends, first):
        found.append(Stage(cut_of(graph, start), cut_of(graph, end), k if k < last else None))
        start = end
    return tuple(found)

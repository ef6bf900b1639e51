"""The places where a graph can be cut in two.

A cut is a set of nodes closed under predecessors (the head). Its id names the tensors that cross, joined by "+". Which
nodes stand behind an id: the tail is everything the remaining outputs need, walking back until a crossing tensor; an
output that can be had without a crossing tensor is made in the head. Where an exit hangs off a crossing tensor, it is
made in the tail unless the id says otherwise: "t!exit1" cuts at t and makes exit1 in the head.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.errors import BadInput
from isthmus.graph.types import INPUT, OUTPUT, Cut, Graph

_JOIN = "+"
_MADE = "!"


def cut_at(graph: Graph, cut_id: str) -> Cut:
    """The cut an id names. Raises BadInput for unknown tensors, or tensors that do not separate a tail from a head."""
    if cut_id == INPUT:
        return Cut(INPUT, graph.inputs, frozenset())
    if cut_id == OUTPUT:
        return Cut(OUTPUT, (), frozenset(range(len(graph.nodes))))
    names, _, made = cut_id.partition(_MADE)
    crossing = set(names.split(_JOIN))
    forced = set(made.split(_JOIN)) if made else set()
    unknown = sorted((crossing | forced) - graph.tensors.keys())
    if unknown:
        raise BadInput(f"{graph.name} has no tensor '{unknown[0]}' to cut at")
    head = _head(graph, crossing, forced)
    cut = cut_of(graph, head)
    if set(cut.crossing) != crossing:
        shown = ", ".join(sorted(set(cut.crossing) ^ crossing)[:3])
        raise BadInput(f"{cut_id} does not cut {graph.name} in two: {shown} would cross as well or need not cross")
    return cut


def cut_of(graph: Graph, head: frozenset[int]) -> Cut:
    """The cut whose head is this set of node indices. Raises BadInput when the set is not closed under predecessors."""
    for i in head:
        for name in graph.nodes[i].inputs:
            made_by = graph.producer.get(name)
            if made_by is not None and made_by not in head:
                raise BadInput(f"{graph.nodes[i].name} cannot run before the cut: {name} is made after it")
    if len(head) == len(graph.nodes):
        return Cut(OUTPUT, (), head)
    crossing = _crossing(graph, head)
    if not head:
        return Cut(INPUT, graph.inputs, head)
    cut_id = _JOIN.join(crossing)
    if len(graph.outputs) > 1:
        early = _outputs_made_early(graph, head, set(crossing))
        cut_id += f"{_MADE}{_JOIN.join(early)}" if early else ""
    return Cut(cut_id, crossing, head)


def narrow_cuts(graph: Graph) -> tuple[Cut, ...]:
    """INPUT, every cut where exactly one tensor crosses, OUTPUT, in running order.

    Independent of the order in which the nodes stand: for a tensor t the tail is all that depends on t, and t is a
    narrow cut when nothing else crosses.
    """
    after = _descendants(graph)
    everything = (1 << len(graph.nodes)) - 1
    cuts = [cut_at(graph, INPUT)]
    for i, node in enumerate(graph.nodes):
        for name in node.outputs:
            tail = 0
            for reader in graph.consumers[name]:
                tail |= after[reader]
            if tail and _only_crossing(graph, name, i, tail):
                cuts.append(cut_of(graph, _members(everything & ~tail)))
    cuts.append(cut_at(graph, OUTPUT))
    unique = {c.id: c for c in cuts}
    return tuple(sorted(unique.values(), key=lambda c: len(c.head)))


def prefix_cuts(graph: Graph) -> tuple[Cut, ...]:
    """Every cut between two neighbouring nodes of the running order, several tensors crossing, INPUT and OUTPUT too."""
    found: dict[str, Cut] = {}
    for k in range(len(graph.nodes) + 1):
        cut = cut_of(graph, frozenset(range(k)))
        found.setdefault(cut.id, cut)
    return tuple(found.values())


def all_cuts(graph: Graph, limit: int = 100_000) -> Iterator[Cut]:
    """Every closed set of nodes as a cut, small heads first. Raises BadInput once more than `limit` have been found
    (a wide graph has exponentially many)."""
    level: set[frozenset[int]] = {frozenset()}
    count = 0
    while level:
        grown: set[frozenset[int]] = set()
        for head in sorted(level, key=sorted):
            count += 1
            if count > limit:
                raise BadInput(f"{graph.name} has more than {limit} cuts; use mincut, which needs no list of them")
            yield cut_of(graph, head)
            grown.update(head | {i} for i in _ready(graph, head))
        level = grown


def _ready(graph: Graph, head: frozenset[int]) -> Iterator[int]:
    for i, node in enumerate(graph.nodes):
        if i not in head and all(graph.producer.get(t, i) in head or t not in graph.producer for t in node.inputs):
            yield i


def _crossing(graph: Graph, head: frozenset[int]) -> tuple[str, ...]:
    """Tensors made in the head (or graph inputs) that a node outside reads, in running order."""
    made = [*graph.inputs, *(t for i in sorted(head) for t in graph.nodes[i].outputs)]
    return tuple(t for t in made if any(c not in head for c in graph.consumers[t]))


def _head(graph: Graph, crossing: set[str], forced: set[str]) -> frozenset[int]:
    tail: set[int] = set()
    for output in graph.outputs:
        if output in crossing or output in forced:
            continue
        walked = _walk_back(graph, output, crossing)
        if walked is not None:
            tail |= walked
    return frozenset(range(len(graph.nodes))) - tail


def _walk_back(graph: Graph, output: str, stop: set[str]) -> set[int] | None:
    """Nodes an output needs, stopping at `stop`; None when the walk gets through to a graph input."""
    seen: set[int] = set()
    todo = [output]
    while todo:
        name = todo.pop()
        if name in stop:
            continue
        i = graph.producer.get(name)
        if i is None:
            return None
        if i not in seen:
            seen.add(i)
            todo.extend(graph.nodes[i].inputs)
    return seen


def _outputs_made_early(graph: Graph, head: frozenset[int], crossing: set[str]) -> list[str]:
    """Outputs that the head makes although, from the crossing tensors alone, the tail could."""
    early = []
    for output in graph.outputs:
        if output not in crossing and graph.producer.get(output, -1) in head:
            walked = _walk_back(graph, output, crossing)
            if walked is not None:
                early.append(output)
    return early


def _descendants(graph: Graph) -> list[int]:
    """For each node a bit set of itself and every node that depends on it."""
    after = [0] * len(graph.nodes)
    for i in range(len(graph.nodes) - 1, -1, -1):
        bits = 1 << i
        for name in graph.nodes[i].outputs:
            for reader in graph.consumers[name]:
                bits |= after[reader]
        after[i] = bits
    return after


def _only_crossing(graph: Graph, name: str, maker: int, tail: int) -> bool:
    """Does nothing but `name` go from outside `tail` into it?"""
    if tail >> maker & 1:
        return False
    for i in _members(tail):
        for read in graph.nodes[i].inputs:
            made_by = graph.producer.get(read)
            outside = made_by is None or not tail >> made_by & 1
            if outside and read != name:
                return False
    return True


def _members(bits: int) -> frozenset[int]:
    found = []
    while bits:
        low = bits & -bits
        found.append(low.bit_length() - 1)
        bits ^= low
    return frozenset(found)

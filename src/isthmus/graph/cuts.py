"""The places where a graph can be cut in two.

A cut is a set of nodes closed under predecessors (the head). Its id names the tensors that cross, joined by "+". Which
nodes stand behind an id: the tail is everything the remaining outputs need, walking back until a crossing tensor; an
output that can be had without a crossing tensor is made in the head. Where an exit hangs off a crossing tensor, it is
made in the tail unless the id says otherwise: "t!exit1" cuts at t and makes exit1 in the head.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import reduce
from operator import or_

from isthmus.errors import BadInput
from isthmus.graph.types import INPUT, OUTPUT, Cut, Graph, Prefix

_JOIN = "+"
_MADE = "!"


def cut_at(graph: Graph, cut_id: str) -> Cut:
    """The cut an id names. Raises BadInput for unknown tensors, for those that no link carries, and for those that do
    not separate a tail from a head."""
    if cut_id == INPUT:
        return Cut(INPUT, graph.inputs, Prefix(0))
    if cut_id == OUTPUT:
        return Cut(OUTPUT, (), Prefix(len(graph.nodes)))
    names, _, made = cut_id.partition(_MADE)
    crossing = set(names.split(_JOIN))
    forced = set(made.split(_JOIN)) if made else set()
    unknown = sorted((crossing | forced) - graph.tensors.keys())
    if unknown:
        raise BadInput(f"{graph.name} has no tensor '{unknown[0]}' to cut at")
    for tensor in (graph.tensors[name] for name in sorted(crossing)):
        if not tensor.can_cross:
            raise BadInput(f"{tensor.name} of {graph.name} is {tensor.dtype}; only numbers of 8 to 64 bits can cross")
    head = _head(graph, crossing, forced)
    cut = cut_of(graph, head)
    if set(cut.crossing) != crossing:
        shown = ", ".join(sorted(set(cut.crossing) ^ crossing)[:3])
        raise BadInput(f"{cut_id} does not cut {graph.name} in two: {shown} would cross as well or need not cross")
    return cut


def cut_of(graph: Graph, head: Set[int]) -> Cut:
    """The cut whose head is this set of node indices. Raises BadInput when the set is not closed under predecessors."""
    for i in head:
        for name in graph.nodes[i].inputs:
            made_by = graph.producer.get(name)
            if made_by is not None and made_by not in head:
                raise BadInput(f"{graph.nodes[i].name} cannot run before the cut: {name} is made after it")
    if len(head) == len(graph.nodes):
        return Cut(OUTPUT, (), head)
    if not head:
        return Cut(INPUT, graph.inputs, head)
    return _inner(graph, head, _crossing(graph, head))


def _inner(graph: Graph, head: Set[int], crossing: tuple[str, ...]) -> Cut:
    """A cut that is neither INPUT nor OUTPUT, with its id."""
    cut_id = _JOIN.join(crossing)
    if len(graph.outputs) > 1:
        early = _outputs_made_early(graph, head, set(crossing))
        cut_id += f"{_MADE}{_JOIN.join(early)}" if early else ""
    return Cut(cut_id, crossing, head)


def _can_cross(graph: Graph, cut: Cut) -> bool:
    return all(graph.tensors[name].can_cross for name in cut.crossing)


def narrow_cuts(graph: Graph) -> tuple[Cut, ...]:
    """INPUT, every cut where exactly one tensor crosses, one that can, OUTPUT, in running order (independent of how
    nodes stand)."""
    found = _narrow_prefixes(graph) if len(graph.outputs) == 1 else _narrow_among_outputs(graph)
    cuts = {c.id: c for c in found if _can_cross(graph, c)}
    cuts.setdefault(INPUT, cut_at(graph, INPUT))
    cuts[OUTPUT] = cut_at(graph, OUTPUT)
    return tuple(sorted(cuts.values(), key=lambda c: len(c.head)))


def _narrow_prefixes(graph: Graph) -> Iterator[Cut]:
    """With one output, all that is not after a narrow tensor leads to it and so stands before it, whatever the running
    order: one sweep finds them all."""
    for count, crossing in _sweep(graph, range(len(graph.nodes))):
        if len(crossing) == 1:
            yield _inner(graph, Prefix(count), tuple(crossing))


def _sweep(graph: Graph, order: Sequence[int]) -> Iterator[tuple[int, dict[str, None]]]:
    """(nodes before it, tensors that cross in running order) for every place between two of these nodes, which need
    nothing of others; the tensors in one dict that goes along: each node adds what it makes and takes away what it is
    the last to read."""
    left = Counter(t for i in order for t in set(graph.nodes[i].inputs))
    crossing = {t: None for t in graph.inputs if left[t]}
    for count, i in enumerate(order[:-1], 1):
        node = graph.nodes[i]
        for name in dict.fromkeys(node.inputs):
            left[name] -= 1
            if not left[name]:
                del crossing[name]
        crossing.update((t, None) for t in node.outputs if left[t])
        yield count, crossing


def _narrow_among_outputs(graph: Graph) -> Iterator[Cut]:
    """With several outputs: what only one tensor leads to goes to the tail, but for outputs that share a node behind it
    with one that is made in the head. What leads to one output is swept like a graph with one output."""
    needs = {o: ancestors(graph, [o]) for o in graph.outputs}
    behind: dict[str, list[str]] = {}
    for output, found in needs.items():
        for _, crossing in _sweep(graph, sorted(found)):
            if len(crossing) == 1:
                behind.setdefault(next(iter(crossing)), []).append(output)
    masks = {o: _mask(found) for o, found in needs.items()}
    idle = set(range(len(graph.nodes))).difference(*needs.values())
    read_idly = _mask(ancestors(graph, [t for i in idle for t in graph.nodes[i].inputs]))
    later: dict[tuple[str, ...], tuple[int, ...]] = {}
    for name in (t for node in graph.nodes for t in node.outputs if t in behind):
        count = graph.producer[name] + 1
        tail = _unshared(behind[name], masks, count)
        if tail and not any((masks[o] & read_idly) >> count for o in tail):
            if tail not in later:
                later[tail] = tuple(sorted(set(range(len(graph.nodes))).difference(*(needs[o] for o in tail))))
            yield Cut(name, (name,), Prefix(count, later[tail]))


def _unshared(outputs: Sequence[str], masks: Mapping[str, int], count: int) -> tuple[str, ...]:
    """Those of `outputs` that need none of the nodes from the `count`-th on that others need."""
    left = tuple(outputs)
    while True:
        elsewhere = reduce(or_, (mask for o, mask in masks.items() if o not in left), 0)
        kept = tuple(o for o in left if not (masks[o] & elsewhere) >> count)
        if kept == left:
            return left
        left = kept


def _mask(nodes: Set[int]) -> int:
    """A set of nodes as the bits of a number."""
    held = bytearray(max(nodes, default=0) // 8 + 1)
    for i in nodes:
        held[i >> 3] |= 1 << (i & 7)
    return int.from_bytes(held, "little")


def prefix_cuts(graph: Graph) -> tuple[Cut, ...]:
    """Every cut between two neighbouring nodes of the running order, several tensors crossing, all of which can, INPUT
    and OUTPUT too."""
    found = {INPUT: cut_at(graph, INPUT)}
    for count, crossing in _sweep(graph, range(len(graph.nodes))):
        cut = _inner(graph, Prefix(count), tuple(crossing))
        if _can_cross(graph, cut):
            found.setdefault(cut.id, cut)
    return (*found.values(), cut_at(graph, OUTPUT))


def all_cuts(graph: Graph, limit: int = 100_000) -> Iterator[Cut]:
    """Every closed set of nodes as a cut where what crosses can, small heads first. Raises BadInput once more than
    `limit` sets have been found (a wide graph has exponentially many)."""
    level: set[frozenset[int]] = {frozenset()}
    count = 0
    while level:
        grown: set[frozenset[int]] = set()
        for head in sorted(level, key=sorted):
            count += 1
            if count > limit:
                raise BadInput(f"{graph.name} has more than {limit} cuts; use mincut, which needs no list of them")
            if _can_cross(graph, cut := cut_of(graph, head)):
                yield cut
            grown.update(head | {i} for i in _ready(graph, head))
        level = grown


def _ready(graph: Graph, head: frozenset[int]) -> Iterator[int]:
    for i, node in enumerate(graph.nodes):
        if i not in head and all(graph.producer.get(t, i) in head or t not in graph.producer for t in node.inputs):
            yield i


def tensors_before(graph: Graph, name: str) -> frozenset[str]:
    """The graph's inputs and all that is made on the way to node `name` (called by any of its outputs), but nothing
    that it makes itself. Raises BadInput for an unknown name, with those nearest to it."""
    at = graph.producer.get(name)
    if at is None:
        near = difflib.get_close_matches(name, [n.name for n in graph.nodes], n=3, cutoff=0.3)
        hint = f"did you mean {', '.join(near)}?" if near else f"the first is {graph.nodes[0].name}"
        raise BadInput(f"{graph.name} has no node '{name}'; {hint}")
    needed = ancestors(graph, list(graph.nodes[at].inputs))
    return frozenset(graph.inputs).union(*(graph.nodes[i].outputs for i in needed))


def _crossing(graph: Graph, head: Set[int]) -> tuple[str, ...]:
    """Tensors made in the head (or graph inputs) that a node outside reads, in running order."""
    made = [*graph.inputs, *(t for i in sorted(head) for t in graph.nodes[i].outputs)]
    return tuple(t for t in made if any(c not in head for c in graph.consumers[t]))


def _head(graph: Graph, crossing: set[str], forced: set[str]) -> frozenset[int]:
    return frozenset(range(len(graph.nodes))).difference(*_tail_walks(graph, crossing, forced).values())


def _tail_walks(graph: Graph, crossing: set[str], forced: set[str]) -> dict[str, set[int]]:
    """Outputs that are made in the tail, each with the nodes it needs there.

    An output goes to the head when it can be had without the crossing tensors, when it is forced there, and when it
    needs a node that such an output needs too.
    """
    walks = {o: _walk_back(graph, o, crossing) for o in graph.outputs if o not in crossing}
    tail = {o: w for o, w in walks.items() if w is not None and o not in forced}
    if len(tail) == len(walks):
        return tail
    needed = ancestors(graph, [o for o in walks if o not in tail])
    while shared := [o for o, w in tail.items() if not w.isdisjoint(needed)]:
        needed |= ancestors(graph, shared)
        tail = {o: w for o, w in tail.items() if o not in shared}
    return tail


def ancestors(graph: Graph, names: Iterable[str]) -> set[int]:
    """Indices of the nodes that lead to these tensors."""
    seen: set[int] = set()
    todo = [graph.producer[n] for n in names if n in graph.producer]
    while todo:
        i = todo.pop()
        if i not in seen:
            seen.add(i)
            todo.extend(graph.producer[t] for t in graph.nodes[i].inputs if t in graph.producer)
    return seen


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


def _outputs_made_early(graph: Graph, head: Set[int], crossing: set[str]) -> list[str]:
    """Outputs that the head makes although, from the crossing tensors alone, the tail could."""
    tail = _tail_walks(graph, crossing, set())
    return [o for o in graph.outputs if o in tail and graph.producer.get(o, -1) in head]

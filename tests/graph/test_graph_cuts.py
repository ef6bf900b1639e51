"""Cuts against a slow twin: every subset of nodes, judged by the definition."""

from __future__ import annotations

import sys
from collections.abc import Callable, Set
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import combinations, pairwise
from types import FrameType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from isthmus.errors import BadInput
from isthmus.graph import (
    INPUT,
    OUTPUT,
    Cut,
    Granularity,
    Graph,
    Node,
    Tensor,
    all_cuts,
    cut_at,
    cut_of,
    describe,
    narrow_cuts,
    prefix_cuts,
)
from isthmus.graph.dtypes import DTYPES
from isthmus.graph.types import Prefix
from isthmus.model.vetting import TYPES


def graph_from(reads: list[list[int]], outputs: list[int] | None = None) -> Graph:
    """Node i reads the tensors in reads[i]; tensor 0 is the input, tensor i + 1 what node i makes."""
    nodes = [
        Node(f"t{i + 1}", "Op", tuple(f"t{r}" for r in dict.fromkeys(rs)), (f"t{i + 1}",)) for i, rs in enumerate(reads)
    ]
    read = {r for rs in reads for r in rs}
    ends = outputs or [i + 1 for i in range(len(reads)) if i + 1 not in read]
    tensors = {f"t{i}": Tensor(f"t{i}", (1, i + 1), "float32", 4) for i in range(len(reads) + 1)}
    return Graph("g", 1, tuple(nodes), tensors, ("t0",), tuple(f"t{e}" for e in ends))


@st.composite
def graphs(draw: st.DrawFn, most: int = 7) -> Graph:
    size = draw(st.integers(2, most))
    reads = [draw(st.lists(st.integers(max(0, i - 3), i), min_size=1, max_size=2)) for i in range(size)]
    reads[0] = [0]
    return graph_from(reads)


def closed_sets(graph: Graph) -> list[frozenset[int]]:
    """Every set of nodes that contains the makers of all it reads, by trying all of them."""
    found = []
    for size in range(len(graph.nodes) + 1):
        for chosen in combinations(range(len(graph.nodes)), size):
            inside = set(chosen)
            if all(graph.producer.get(t, i) in inside for i in chosen for t in graph.nodes[i].inputs):
                found.append(frozenset(chosen))
    return found


def crossing(graph: Graph, head: Set[int]) -> set[str]:
    made = set(graph.inputs) | {t for i in head for t in graph.nodes[i].outputs}
    outside = [n for i, n in enumerate(graph.nodes) if i not in head]
    return {t for n in outside for t in n.inputs if t in made}


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_all_cuts_are_exactly_the_closed_sets(graph: Graph) -> None:
    assert {c.head for c in all_cuts(graph)} == set(closed_sets(graph))


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_every_cut_crosses_what_the_definition_says_and_is_found_again_by_its_id(graph: Graph) -> None:
    for cut in all_cuts(graph):
        assert set(cut.crossing) == crossing(graph, cut.head)
        assert cut_at(graph, cut.id) == cut


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_narrow_cuts_are_exactly_the_one_tensor_cuts(graph: Graph) -> None:
    """For each tensor that can cross alone there is one narrow cut, whatever the order of the nodes."""
    wanted = {next(iter(c)) for h in closed_sets(graph) if h and len(c := crossing(graph, h)) == 1} - {"t0"}
    found = [c for c in narrow_cuts(graph) if c.id not in (INPUT, OUTPUT)]
    assert {c.crossing[0] for c in found} == wanted
    assert len(found) == len(wanted)
    heads = [c.head for c in narrow_cuts(graph)]
    assert [len(h) for h in heads] == sorted(len(h) for h in heads)
    if len(graph.outputs) == 1:
        assert all(a <= b for a, b in pairwise(heads))


def with_exits(graph: Graph, exits: list[int]) -> Graph:
    """With inner tensors as outputs too, before the others."""
    others = [f"t{e}" for e in exits if e <= len(graph.nodes) and f"t{e}" not in graph.outputs]
    return replace(graph, outputs=(*dict.fromkeys(others), *graph.outputs))


@settings(max_examples=300, deadline=None)
@given(graphs(9), st.lists(st.integers(1, 9), max_size=3), st.integers(0, 2))
def test_narrow_cuts_are_those_that_are_found_by_their_tensor(graph: Graph, exits: list[int], idle: int) -> None:
    """Also where inner tensors are outputs, and where nodes lead to none."""
    graph = with_exits(graph, exits)
    graph = replace(graph, outputs=graph.outputs[: max(2, len(graph.outputs) - idle)])
    wanted = {}
    for name in graph.producer:
        with suppress(BadInput):
            wanted[name] = cut_at(graph, name)
    found = [c for c in narrow_cuts(graph) if c.id not in (INPUT, OUTPUT)]
    assert {c.id: c for c in found} == wanted
    heads = [c.head for c in narrow_cuts(graph)]
    for a, b in pairwise(heads):
        assert b - a == frozenset(b) - frozenset(a)
        assert a - b == frozenset(a) - frozenset(b)
        assert (a <= b, len(a)) == (frozenset(a) <= frozenset(b), len(frozenset(a)))


@settings(max_examples=150, deadline=None)
@given(graphs(), st.lists(st.integers(1, 7), max_size=2))
def test_prefix_cuts_are_the_cuts_of_the_first_nodes(graph: Graph, exits: list[int]) -> None:
    """Each judged by itself, also where inner tensors are outputs; the first of those that have the same id."""
    graph = with_exits(graph, exits)
    wanted: dict[str, Cut] = {}
    for count in range(len(graph.nodes) + 1):
        cut = cut_of(graph, frozenset(range(count)))
        wanted.setdefault(cut.id, cut)
    assert prefix_cuts(graph) == tuple(wanted.values())


@pytest.mark.parametrize("granularity", ["node", "narrow", "block"])
@pytest.mark.parametrize("branches", [1, 2])
@pytest.mark.parametrize("exits", [[], [3, 50]])
def test_twice_the_nodes_are_twice_the_work(granularity: Granularity, branches: int, exits: list[int]) -> None:
    """Counted in calls, so that no clock is asked."""
    graphs = (with_exits(blocks_of(count, branches), exits) for count in (100, 200))
    short, long = (calls(partial(describe, graph, granularity)) for graph in graphs)
    assert long < 2.2 * short


def blocks_of(count: int, branches: int) -> Graph:
    """`count` blocks one after another: a node that joins what so many branches made of the one before."""
    reads: list[list[int]] = [[0]]
    for _ in range(count):
        joined = len(reads)
        reads += [[joined]] * branches
        reads.append([joined + 1 + k for k in range(branches)])
    return graph_from(reads)


def calls(run: Callable[[], object]) -> int:
    """How often Python functions are entered (generators each time they go on)."""
    count = 0

    def seen(frame: FrameType, event: str, arg: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        run()
    finally:
        sys.setprofile(before)
    return count


@given(st.integers(0, 9), st.integers(0, 9), st.frozensets(st.integers(0, 9)))
def test_a_prefix_is_the_set_that_it_says(count: int, other: int, nodes: frozenset[int]) -> None:
    for left, right in ((count, other), (count, nodes), (nodes, count)):
        a, b = (Prefix(s) if isinstance(s, int) else s for s in (left, right))
        c, d = (frozenset(range(s)) if isinstance(s, int) else s for s in (left, right))
        assert (a == b, a <= b, a < b, a >= b) == (c == d, c <= d, c < d, c >= d)
        assert (a - b, a | b, a & b) == (c - d, c | d, c & d)
        assert (hash(a), len(a), sorted(a)) == (hash(c), len(c), sorted(c))


def test_the_narrow_test_is_not_empty() -> None:
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(100):
        reads = [[0]] + [list(rng.integers(max(0, i - 2), i + 1, 2)) for i in range(1, 7)]
        counts.append(len(narrow_cuts(graph_from(reads))))
    assert sum(c > 2 for c in counts) > 30, "most random graphs should have a narrow place inside"
    assert sum(len(c.crossing) > 1 for c in all_cuts(graph_from([[0], [0, 1], [0, 2], [1, 3]]))) >= 2


def test_a_skip_makes_two_tensors_cross() -> None:
    graph = graph_from([[0], [1], [2], [1, 3]])
    assert [c.crossing for c in prefix_cuts(graph)] == [("t0",), ("t1",), ("t1", "t2"), ("t1", "t3"), ()]
    assert cut_at(graph, "t1+t2").head == {0, 1}


def test_an_exit_hanging_off_the_cut_belongs_to_the_tail_unless_the_id_says_otherwise() -> None:
    graph = graph_from([[0], [1], [1], [3]], outputs=[2, 4])  # t2 is an exit off t1
    after = cut_at(graph, "t1")
    assert after.head == {0}
    early = cut_at(graph, "t1!t2")
    assert early.head == {0, 1}
    assert early.crossing == ("t1",)
    assert cut_at(graph, "t3").head == {0, 1, 2}, "an exit made without the crossing tensor belongs to the head"


@pytest.mark.parametrize("cut_id", ["nowhere", "t2", "t1+t4", "t3+nowhere", "", "t1!nowhere"])
def test_what_does_not_cut_in_two_is_refused_in_one_sentence(cut_id: str) -> None:
    graph = graph_from([[0], [1], [1], [2, 3]])
    with pytest.raises(BadInput) as caught:
        cut_at(graph, cut_id)
    assert "\n" not in str(caught.value)


def test_a_head_that_is_not_closed_is_refused() -> None:
    with pytest.raises(BadInput, match="cannot run before the cut"):
        cut_of(graph_from([[0], [1]]), frozenset({1}))


def test_a_wide_graph_has_too_many_cuts_to_list() -> None:
    wide = graph_from([[0]] * 14 + [list(range(1, 15))])
    with pytest.raises(BadInput, match="more than 1000 cuts"):
        list(all_cuts(wide, limit=1000))


def test_what_no_link_carries_is_not_cut_at() -> None:
    """t1 is a bfloat16: of all places those where it crosses are missing, and asking for one says why."""
    chain = graph_from([[0], [1], [0, 2], [3]])
    tensors = {**chain.tensors, "t1": Tensor("t1", (1, 2), "bfloat16", 2)}
    graph = replace(chain, tensors=tensors)
    for find in (prefix_cuts, all_cuts):
        wanted = [cut.id for cut in find(chain) if "t1" not in cut.crossing]
        assert [cut.id for cut in find(graph)] == wanted
        assert len(wanted) < len(list(find(chain)))
    assert [cut.id for cut in narrow_cuts(replace(graph_from([[0], [1], [2]]), tensors=tensors))] == [
        INPUT,
        "t2",
        OUTPUT,
    ]
    with pytest.raises(BadInput, match="t1 of g is bfloat16; only numbers of 8 to 64 bits can cross"):
        cut_at(graph, "t0+t1")


def test_inputs_and_outputs_can_cross() -> None:
    assert {helper.np_dtype_to_tensor_dtype(dtype) for dtype in DTYPES.values()} == TYPES
    assert [np.dtype(name).newbyteorder("<") for name in DTYPES] == list(DTYPES.values())

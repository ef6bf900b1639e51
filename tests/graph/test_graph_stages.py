"""Stages: every node once, in order, with every exit asked on the right side."""

from __future__ import annotations

from collections.abc import Set

import pytest

from isthmus.errors import BadInput
from isthmus.graph import INPUT, OUTPUT, Graph, at_exit, cut_at, graph_of, narrow_cuts, prefix_cuts
from isthmus.graph.stages import Route, route
from isthmus.model import load_model


@pytest.fixture(scope="module", params=["zoo:digits", "zoo:b_alexnet"])
def graph(request: pytest.FixtureRequest) -> Graph:
    return graph_of(load_model(request.param), 1)


def exits(graph: Graph) -> list[str]:
    return sorted(graph.outputs, key=lambda o: graph.producer[o])


def nodes_of(graph: Graph, output: str) -> set[str]:
    return {node.name for node in at_exit(graph, output).nodes}


def check(graph: Graph, found: Route) -> None:
    """Stages join, run every node once, and each ends as soon as its exit is there."""
    names = exits(graph)
    stages = (*found.before, *found.after)
    assert [s.exit for s in stages if s.exit is not None] == list(range(len(names)))
    at: Set[int] = frozenset()
    for stage in stages:
        assert stage.start.head == at
        assert stage.start.head < stage.end.head
        at = stage.end.head
        if stage.exit is not None:
            asked = {graph.nodes[i].name for i in stage.end.head}
            assert nodes_of(graph, names[stage.exit]) <= asked
    assert len(at) == len(graph.nodes)
    assert (found.before[-1].end if found.before else cut_at(graph, INPUT)) == found.cut
    assert cut_at(graph, found.cut.id) == found.cut


def test_every_cut_has_a_way_through_it(graph: Graph) -> None:
    names = exits(graph)
    grown = 0
    for cut in {c.id: c for c in (*narrow_cuts(graph), *prefix_cuts(graph))}.values():
        found = route(graph, names, cut)
        check(graph, found)
        assert cut.head <= found.cut.head
        grown += cut.head != found.cut.head
        for stage in found.after:
            assert stage.exit is None or graph.producer[names[stage.exit]] not in found.cut.head
    assert grown >= 2


def test_without_a_cut_a_stage_holds_only_what_its_exit_needs(graph: Graph) -> None:
    names = exits(graph)
    found = route(graph, names, cut_at(graph, OUTPUT))
    for k, stage in enumerate(found.before):
        needed = set().union(*(nodes_of(graph, name) for name in names[: k + 1]))
        assert {graph.nodes[i].name for i in stage.end.head} == needed
    assert found.after == ()


def test_an_exit_on_what_crosses_anyway_is_asked_before_anything_is_sent() -> None:
    graph = graph_of(load_model("zoo:digits"), 1)
    found = route(graph, exits(graph), cut_at(graph, "relu_1"))
    assert found.cut.id == "relu_1!exit1"
    assert found.cut.crossing == ("relu_1",)
    assert route(graph, exits(graph), cut_at(graph, "relu")).cut.id == "relu"


def test_an_output_that_is_none_is_refused(graph: Graph) -> None:
    with pytest.raises(BadInput, match=r"no output 'exit9'"):
        route(graph, ["exit9"], cut_at(graph, OUTPUT))

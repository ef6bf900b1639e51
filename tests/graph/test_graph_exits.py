"""Right-sizing: the part of a network that one exit needs."""

from __future__ import annotations

import pytest

from isthmus.errors import BadInput
from isthmus.graph import at_exit, graph_of, narrow_cuts
from isthmus.model import load_model


def test_an_exit_keeps_only_the_nodes_that_lead_to_it() -> None:
    graph = graph_of(load_model("zoo:digits"), 1)
    sizes = [len(at_exit(graph, output).nodes) for output in graph.outputs]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] < len(graph.nodes)  # side branches of the other exits are left out too
    for output in graph.outputs:
        part = at_exit(graph, output)
        assert part.outputs == (output,)
        read = {t for node in part.nodes for t in node.inputs}
        assert all(t == output or t in read for node in part.nodes for t in node.outputs)
        assert [n.name for n in part.nodes] == [n.name for n in graph.nodes if n in part.nodes]
        assert len(narrow_cuts(part)) > 2


def test_a_network_with_one_output_is_itself() -> None:
    graph = graph_of(load_model("zoo:tiny"), 1)
    assert at_exit(graph, graph.outputs[0]) is graph


def test_an_output_that_is_none() -> None:
    graph = graph_of(load_model("zoo:digits"), 1)
    with pytest.raises(BadInput, match=r"no output 'exit9'; its outputs are exit1"):
        at_exit(graph, "exit9")

"""Right-sizing: the part of a network that one early exit needs.

Edgent (Li et al., IEEE TWC 2020, §III) calls the choice of an exit right-sizing: the layers after it, and the side
branches of the other exits, are not run at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from isthmus.errors import BadInput
from isthmus.graph.types import Graph


def at_exit(graph: Graph, output: str) -> Graph:
    """The graph of one output alone: only the nodes it needs, in the same order, and that output.

    Blocks that this exit does not reach are forgotten; the inputs stay all. Raises BadInput for an output that is none.
    """
    return at_exits(graph, (output,))


def at_exits(graph: Graph, outputs: Sequence[str]) -> Graph:
    """The graph of some of its outputs, in the order of `graph.outputs`; otherwise as `at_exit`."""
    for output in outputs:
        if output not in graph.outputs:
            raise BadInput(f"{graph.name} has no output '{output[:80]}'; its outputs are {', '.join(graph.outputs)}")
    wanted = tuple(name for name in graph.outputs if name in outputs)
    if graph.outputs == wanted:
        return graph
    needed = set(wanted)
    kept = []
    for node in reversed(graph.nodes):
        if not needed.isdisjoint(node.outputs):
            needed.update(node.inputs)
            kept.append(node)
    known = {*graph.inputs, *wanted, *(t for node in kept for t in node.outputs)}
    return replace(
        graph,
        nodes=tuple(reversed(kept)),
        tensors={name: tensor for name, tensor in graph.tensors.items() if name in known},
        outputs=wanted,
        blocks=tuple(b for b in graph.blocks if b in known),
    )


def exits_of(graph: Graph) -> tuple[str, ...]:
    """The outputs at which an answer of the same kind as the last one comes out, in running order, the main one last.

    An exit gives logits, one row an input, one column a class; outputs of other shapes are none. One name where the
    network has no early exit, none where its last output is no such table.
    """
    ordered = sorted(graph.outputs, key=lambda name: graph.producer.get(name, -1))
    main = graph.tensors[ordered[-1]]
    if len(main.shape) != 2 or not main.dtype.startswith("float"):
        return ()
    return tuple(o for o in ordered if (graph.tensors[o].shape, graph.tensors[o].dtype) == (main.shape, main.dtype))

"""One node a layer: what only finishes a layer's result is counted with it (activation fusion).

An accelerator applies an activation, a bias or another view of the same numbers while it writes a layer's result: in
between there is nothing to store, to send or to quantise. Auto-Split (KDD 2021) fuses these before it looks for splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from isthmus.graph.types import Graph, Node

ACTIVATIONS = frozenset(
    {"Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu", "Celu", "Gelu"}
    | {"Mish", "Softplus", "Softsign", "ThresholdedRelu"}
)
VIEWS = frozenset({"Flatten", "Identity", "Dropout", "Reshape", "Squeeze", "Unsqueeze"})
"""The same numbers under another shape."""
_POINTWISE = frozenset({"Add", "Sub", "Mul", "Div", "BatchNormalization"})
"""With constants for all but one operand: a bias or a scale."""
_GATES = frozenset({"Sigmoid", "HardSigmoid", "Tanh", "Softplus"})
"""x·gate(x): SiLU, hard swish and Mish come as two or three nodes."""


def fused_graph(graph: Graph) -> Graph:
    """The same network with every activation, bias and view in the node of the layer that it alone follows.

    A fused node is called by the tensor it makes in the end and has the operator of the layer it began with; its
    multiply-accumulates, parameters and bytes are sums, and `parts` names what is in it. Tensors that never leave a
    layer are gone, so they are no places to cut; the id of a cut that is left means the same in both graphs. Outputs
    of the network are never hidden.
    """
    nodes = tuple(_one([graph.nodes[i] for i in members]) for members in _groups(graph))
    kept = {t for node in nodes for t in (*node.inputs, *node.outputs)}.union(graph.inputs, graph.outputs)
    return replace(
        graph,
        nodes=nodes,
        tensors={name: tensor for name, tensor in graph.tensors.items() if name in kept},
        blocks=tuple(b for b in graph.blocks if b in kept),
    )


def _groups(graph: Graph) -> list[list[int]]:
    """Indices of the nodes of every layer, the layers by their last node: in running order."""
    layer = list(range(len(graph.nodes)))
    """for each node, the first of its layer"""
    for i in range(len(graph.nodes)):
        gate, tensor = _gate(graph, i)
        source = graph.producer.get(tensor)
        if source is None or len(graph.nodes[source].outputs) != 1 or tensor in graph.outputs:
            continue
        for member in (*gate, i):
            layer[member] = layer[source]
    members: dict[int, list[int]] = {}
    for i, first in enumerate(layer):
        members.setdefault(first, []).append(i)
    return sorted(members.values(), key=max)


def _gate(graph: Graph, i: int) -> tuple[list[int], str]:
    """(the gates on the way, the tensor that node i finishes); "" where it finishes none."""
    node = graph.nodes[i]
    if len(node.inputs) == 1 and node.op in ACTIVATIONS | VIEWS | _POINTWISE:
        return [], node.inputs[0] if graph.consumers[node.inputs[0]] == (i,) else ""
    if node.op == "Mul" and len(node.inputs) == 2:
        for plain, gated in (node.inputs, node.inputs[::-1]):
            gates: list[int] = []
            name = gated
            while (at := graph.producer.get(name)) is not None and graph.nodes[at].op in _GATES:
                if graph.consumers[name] != (gates[-1] if gates else i,) or name in graph.outputs:
                    break
                gates.append(at)
                name = graph.nodes[at].inputs[0]
            if gates and name == plain and set(graph.consumers[plain]) == {gates[-1], i}:
                return gates, plain
    return [], ""


def _one(members: Sequence[Node]) -> Node:
    """One node of several, in running order."""
    first, last = members[0], members[-1]
    if len(members) == 1:
        return first
    made = {t for node in members for t in node.outputs}
    lead = next((node for node in members if node.product is not None), first)
    return Node(
        name=last.name,
        op=lead.op,
        inputs=tuple(dict.fromkeys(t for node in members for t in node.inputs if t not in made)),
        outputs=last.outputs,
        macs=sum(node.macs for node in members),
        parameters=sum(node.parameters for node in members),
        weight_bytes=sum(node.weight_bytes for node in members),
        product=lead.product,
        kernel=lead.kernel,
        strides=lead.strides,
        parts=tuple(part for node in members for part in node.whole),
    )

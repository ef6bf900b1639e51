"""Where the blocks of an architecture end: residual, inception and inverted residual blocks, as papers count them.

Where the maker of a model recorded its blocks, those are taken. Elsewhere they are found from the graph alone, among
the places where one tensor crosses:

- parallel branches join there (a sum, a concatenation). A product by a gate (squeeze-and-excitation) and an activation
  made of several operators are no joins. An activation right after the join belongs to the block.
- a convolution's output goes into convolutions without an activation: the linear bottleneck that ends an inverted
  residual block (Sandler et al., MobileNetV2, CVPR 2018), also of one that has no way past it.

What cannot be found so: blocks that are plain chains of activated convolutions (VGG, AlexNet, the first block of
EfficientNetV2-B0…B3) look like any other layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Set

from isthmus.graph.cuts import narrow_cuts
from isthmus.graph.types import INPUT, OUTPUT, Cut, Graph, Prefix


def block_cuts(graph: Graph) -> tuple[Cut, ...]:
    """The cuts at block outputs where one tensor crosses, in running order: at the recorded ones, or, where none of the
    recorded ones is such a place, at those found from the graph."""
    narrow = [c for c in narrow_cuts(graph) if c.id not in (INPUT, OUTPUT)]
    recorded = set(graph.blocks)
    return tuple(c for c in narrow if c.id in recorded) or tuple(_closing(graph, narrow))


def _closing(graph: Graph, narrow: list[Cut]) -> Iterator[Cut]:
    """Every narrow cut that closes a block; one that is followed by its activation gives way to that."""
    waiting: Cut | None = None
    before: Set[int] = Prefix(0)
    for cut in narrow:
        inside = cut.head - before
        if waiting is not None and not _only_elementwise(graph, inside):
            yield waiting
            waiting = None
        if waiting is not None or _joins(graph, cut, inside) or _linear(graph, cut):
            waiting = cut
        before = cut.head
    if waiting is not None:
        yield waiting


def _joins(graph: Graph, cut: Cut, inside: Set[int]) -> bool:
    """Do branches end here that are more than an activation or a gate?"""
    if len(inside) < 2 or _only_elementwise(graph, inside) or cut.crossing[0] not in graph.producer:
        return False
    last = graph.nodes[graph.producer[cut.crossing[0]]]
    if len(last.inputs) < 2:
        return False
    sizes = {graph.tensors[t].elements for t in last.inputs}
    return last.op not in ("Mul", "Div") or len(sizes) == 1


def _linear(graph: Graph, cut: Cut) -> bool:
    """Does a convolution's output go into convolutions, and past them only to where it joins their results?"""
    name = cut.crossing[0]
    made_by = graph.producer.get(name)
    if made_by is None or graph.nodes[made_by].op != "Conv":
        return False
    readers = [graph.nodes[i] for i in graph.consumers[name]]
    convolutions = [r for r in readers if r.op == "Conv"]
    return bool(convolutions) and all(r in convolutions or len(r.inputs) > 1 for r in readers)


def _only_elementwise(graph: Graph, nodes: Set[int]) -> bool:
    return all(graph.nodes[i].op in _ELEMENTWISE for i in nodes)


_ELEMENTWISE = frozenset(
    {
        "Relu",
        "Clip",
        "LeakyRelu",
        "Sigmoid",
        "HardSigmoid",
        "HardSwish",
        "Swish",
        "Gelu",
        "Elu",
        "Selu",
        "PRelu",
        "Mish",
    }
    | {"Tanh", "Softplus", "Erf", "Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Min", "Max", "Cast"}
)
"""What activations are made of."""

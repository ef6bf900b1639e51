"""Natural and compressive bottlenecks (Bakhtiarnia et al., Dynamic Split Computing, ICASSP 2023).

c = |h| / |x|: elements that cross over elements of the input. Natural: c < 1. Compressive: smaller than every natural
bottleneck before it; the others cost the device more work and send at least as much.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from isthmus.graph.cuts import cut_at, narrow_cuts, prefix_cuts
from isthmus.graph.types import INPUT, OUTPUT, Cut, Graph

Granularity = Literal["node", "narrow", "block"]


@dataclass(frozen=True)
class Bottleneck:
    """A cut with its compression ratio, in elements and in bytes as stored (raw float32 features, raw input)."""

    cut: Cut
    ratio: float
    byte_ratio: float
    natural: bool
    compressive: bool


def bottlenecks(graph: Graph, granularity: Granularity = "narrow") -> tuple[Bottleneck, ...]:
    """Every cut between the input and the output at this granularity, with its ratio, in running order.

    `node`: after every node of the running order (several tensors may cross). `narrow`: one tensor crosses.
    `block`: narrow cuts at the recorded block outputs, or, where none were recorded, where parallel branches join.
    """
    cuts = {"node": prefix_cuts, "narrow": narrow_cuts, "block": block_cuts}[granularity](graph)
    inner = [c for c in cuts if c.id not in (INPUT, OUTPUT)]
    return tuple(_judge(graph, inner))


def block_cuts(graph: Graph) -> tuple[Cut, ...]:
    """Narrow cuts at block outputs. A block closes where one tensor crosses again after several did."""
    if graph.blocks:
        return tuple(cut_at(graph, name) for name in graph.blocks)
    narrow = [c for c in narrow_cuts(graph) if c.id not in (INPUT, OUTPUT)]
    closing: list[Cut] = []
    before = 0
    for cut in narrow:
        if len(cut.head) > before + 1:
            closing.append(cut)
        elif closing and closing[-1].head < cut.head and _elementwise(graph, cut):
            closing[-1] = cut  # the activation after the join belongs to the block
        before = len(cut.head)
    return tuple(closing)


_ELEMENTWISE = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSwish", "Gelu", "Elu", "PRelu", "Mish", "Tanh"})


def _elementwise(graph: Graph, cut: Cut) -> bool:
    made_by = graph.producer.get(cut.crossing[0])
    return made_by is not None and graph.nodes[made_by].op in _ELEMENTWISE


def _judge(graph: Graph, cuts: Iterable[Cut]) -> Iterable[Bottleneck]:
    input_elements = sum(graph.tensors[t].elements for t in graph.inputs)
    least = 1.0
    for cut in cuts:
        ratio = sum(graph.tensors[t].elements for t in cut.crossing) / input_elements
        compressive = ratio < least
        if compressive:
            least = ratio
        yield Bottleneck(
            cut=cut,
            ratio=ratio,
            byte_ratio=sum(graph.tensors[t].bytes for t in cut.crossing) / graph.input_bytes,
            natural=ratio < 1.0,
            compressive=compressive,
        )

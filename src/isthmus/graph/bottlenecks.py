"""Natural and compressive bottlenecks (Bakhtiarnia et al., Dynamic Split Computing, ICASSP 2023).

c = |h| / |x|: elements that cross over elements of the input. Natural: c < 1. Compressive: smaller than every natural
bottleneck before it; the others cost the device more work and send at least as much.

On the wire an element is not an element: a camera's picture has one byte for each, a feature four as float32. Against
that picture only c < 1/4 saves bytes, unless a codec writes the feature smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from isthmus.graph.blocks import block_cuts
from isthmus.graph.cuts import narrow_cuts, prefix_cuts
from isthmus.graph.types import INPUT, OUTPUT, Cut, Graph

Granularity = Literal["node", "narrow", "block"]


@dataclass(frozen=True)
class Bottleneck:
    """A cut with its compression ratio in elements, in bytes as stored (raw float32 features, raw input), and in bytes
    against the input as an 8-bit picture (None where no input is a picture). The two marks go by elements."""

    cut: Cut
    ratio: float
    byte_ratio: float
    picture_ratio: float | None
    natural: bool
    compressive: bool


def bottlenecks(
    graph: Graph, granularity: Granularity = "narrow", allowed: Callable[[Cut], bool] | None = None
) -> tuple[Bottleneck, ...]:
    """Every cut between the input and the output at this granularity, with its ratio, in running order; those that are
    not `allowed` are left out before the others are judged.

    `node`: after every node of the running order (several tensors may cross). `narrow`: one tensor crosses.
    `block`: one tensor crosses and a block closes there (`block_cuts`).
    """
    cuts = {"node": prefix_cuts, "narrow": narrow_cuts, "block": block_cuts}[granularity](graph)
    inner = [c for c in cuts if c.id not in (INPUT, OUTPUT) and (allowed is None or allowed(c))]
    return tuple(_judge(graph, inner))


def picture_bytes(graph: Graph) -> int | None:
    """Bytes of the input at one byte an element; None unless the one input is (N, 1 or 3, H, W) or (N, H, W, 1 or 3)
    ."""
    if len(graph.inputs) != 1:
        return None
    (tensor,) = (graph.tensors[t] for t in graph.inputs)
    is_picture = len(tensor.shape) == 4 and (tensor.shape[1] in (1, 3) or tensor.shape[3] in (1, 3))
    return tensor.elements if is_picture else None


def _judge(graph: Graph, cuts: Iterable[Cut]) -> Iterable[Bottleneck]:
    input_elements = sum(graph.tensors[t].elements for t in graph.inputs)
    picture = picture_bytes(graph)
    least = 1.0
    for cut in cuts:
        ratio = sum(graph.tensors[t].elements for t in cut.crossing) / input_elements
        sent = sum(graph.tensors[t].bytes for t in cut.crossing)
        compressive = ratio < least
        if compressive:
            least = ratio
        yield Bottleneck(
            cut=cut,
            ratio=ratio,
            byte_ratio=sent / graph.input_bytes,
            picture_ratio=None if picture is None else sent / picture,
            natural=ratio < 1.0,
            compressive=compressive,
        )

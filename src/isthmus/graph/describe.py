"""What `isthmus inspect` says of a network: its size, and every cut at a granularity, as plain values."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from isthmus.graph.bottlenecks import Bottleneck, Granularity, bottlenecks
from isthmus.graph.types import Graph


class CrossingRow(BaseModel):
    """One tensor that crosses."""

    model_config = ConfigDict(frozen=True)

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int


class CutRow(BaseModel):
    """One place to cut. `fusion_safe` is None where nobody asked the engine."""

    model_config = ConfigDict(frozen=True)

    after: str
    tensors: tuple[CrossingRow, ...]
    bytes: int
    ratio: float
    byte_ratio: float
    natural: bool
    compressive: bool
    fusion_safe: bool | None
    head_macs: int


class Description(BaseModel):
    """A network and its cuts."""

    model_config = ConfigDict(frozen=True)

    model: str
    batch: int
    input_bytes: int
    output_bytes: int
    inputs: tuple[CrossingRow, ...]
    outputs: tuple[CrossingRow, ...]
    nodes: int
    parameters: int
    macs: int
    granularity: str
    natural_count: int
    compressive_count: int
    cuts: tuple[CutRow, ...]


def describe(graph: Graph, granularity: Granularity = "narrow", safe: frozenset[str] | None = None) -> Description:
    """The network and its cuts; `safe` are the ids of the fusion-safe cuts, where an engine has told."""
    found = bottlenecks(graph, granularity)
    return Description(
        model=graph.name,
        batch=graph.batch,
        input_bytes=graph.input_bytes,
        output_bytes=graph.output_bytes,
        inputs=_rows(graph, graph.inputs),
        outputs=_rows(graph, graph.outputs),
        nodes=len(graph.nodes),
        parameters=graph.parameters,
        macs=graph.macs,
        granularity=granularity,
        natural_count=sum(b.natural for b in found),
        compressive_count=sum(b.compressive for b in found),
        cuts=tuple(_row(graph, b, safe) for b in found),
    )


def _row(graph: Graph, bottleneck: Bottleneck, safe: frozenset[str] | None) -> CutRow:
    cut = bottleneck.cut
    return CutRow(
        after=cut.id,
        tensors=_rows(graph, cut.crossing),
        bytes=sum(graph.tensors[t].bytes for t in cut.crossing),
        ratio=bottleneck.ratio,
        byte_ratio=bottleneck.byte_ratio,
        natural=bottleneck.natural,
        compressive=bottleneck.compressive,
        fusion_safe=None if safe is None else cut.id in safe,
        head_macs=sum(graph.nodes[i].macs for i in cut.head),
    )


def _rows(graph: Graph, names: tuple[str, ...]) -> tuple[CrossingRow, ...]:
    tensors = [graph.tensors[n] for n in names]
    return tuple(CrossingRow(name=t.name, shape=t.shape, dtype=t.dtype, bytes=t.bytes) for t in tensors)

"""What `isthmus inspect` says of a network: its size, and every cut at a granularity, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set

from pydantic import BaseModel, ConfigDict

from isthmus.graph.bottlenecks import Bottleneck, Granularity, bottlenecks, picture_bytes
from isthmus.graph.types import Cut, Graph, Prefix, Tensor

Written = Mapping[str, Callable[[Tensor], int | None]]
"""Codec name → bytes of a tensor written with it, None where it cannot be."""


class CrossingRow(BaseModel):
    """One tensor that crosses."""

    model_config = ConfigDict(frozen=True)

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int


class CutRow(BaseModel):
    """One place to cut. `ratio` in elements (what the two marks go by), `byte_ratio` in bytes as stored,
    `picture_ratio` in bytes as stored against the input as an 8-bit picture (None where the input is no picture),
    `codec_bytes` what would cross as each codec writes it. `fusion_safe` is None where nobody asked the engine."""

    model_config = ConfigDict(frozen=True)

    after: str
    tensors: tuple[CrossingRow, ...]
    bytes: int
    ratio: float
    byte_ratio: float
    picture_ratio: float | None
    codec_bytes: dict[str, int]
    natural: bool
    compressive: bool
    fusion_safe: bool | None
    head_macs: int


class Description(BaseModel):
    """A network and its cuts. Natural and compressive count elements, as the paper does; the `_bytes_` counts are of
    those among them that, raw, take fewer bytes than the input as an 8-bit picture (None where it is no picture)."""

    model_config = ConfigDict(frozen=True)

    model: str
    batch: int
    input_bytes: int
    picture_bytes: int | None
    input_codec_bytes: dict[str, int]
    output_bytes: int
    inputs: tuple[CrossingRow, ...]
    outputs: tuple[CrossingRow, ...]
    nodes: int
    parameters: int
    macs: int
    granularity: str
    natural_count: int
    compressive_count: int
    natural_bytes_count: int | None
    compressive_bytes_count: int | None
    cuts: tuple[CutRow, ...]


def describe(
    graph: Graph,
    granularity: Granularity = "narrow",
    safe: frozenset[str] | None = None,
    codecs: Written | None = None,
) -> Description:
    """The network and its cuts; `safe` are the ids of the fusion-safe cuts, where an engine has told; `codecs` say what
    tensors take on the wire."""
    found = bottlenecks(graph, granularity)
    macs = _head_macs(graph, (b.cut for b in found))
    saving = [b for b in found if b.picture_ratio is not None and b.picture_ratio < 1.0]
    picture = picture_bytes(graph)
    return Description(
        model=graph.name,
        batch=graph.batch,
        input_bytes=graph.input_bytes,
        picture_bytes=picture,
        input_codec_bytes=_written(graph, graph.inputs, codecs or {}),
        output_bytes=graph.output_bytes,
        inputs=_rows(graph, graph.inputs),
        outputs=_rows(graph, graph.outputs),
        nodes=len(graph.nodes),
        parameters=graph.parameters,
        macs=graph.macs,
        granularity=granularity,
        natural_count=sum(b.natural for b in found),
        compressive_count=sum(b.compressive for b in found),
        natural_bytes_count=None if picture is None else sum(b.natural for b in saving),
        compressive_bytes_count=None if picture is None else sum(b.compressive for b in saving),
        cuts=tuple(_row(graph, b, m, safe, codecs or {}) for b, m in zip(found, macs, strict=True)),
    )


def _row(graph: Graph, bottleneck: Bottleneck, head_macs: int, safe: frozenset[str] | None, codecs: Written) -> CutRow:
    cut = bottleneck.cut
    return CutRow(
        after=cut.id,
        tensors=_rows(graph, cut.crossing),
        bytes=sum(graph.tensors[t].bytes for t in cut.crossing),
        ratio=bottleneck.ratio,
        byte_ratio=bottleneck.byte_ratio,
        picture_ratio=bottleneck.picture_ratio,
        codec_bytes=_written(graph, cut.crossing, codecs),
        natural=bottleneck.natural,
        compressive=bottleneck.compressive,
        fusion_safe=None if safe is None else cut.id in safe,
        head_macs=head_macs,
    )


def _head_macs(graph: Graph, cuts: Iterable[Cut]) -> Iterator[int]:
    """Multiply-accumulates of every cut's head, from the head before it: in running order these differ by little."""
    total = 0
    before: Set[int] = Prefix(0)
    for cut in cuts:
        total += sum(graph.nodes[i].macs for i in cut.head - before)
        total -= sum(graph.nodes[i].macs for i in before - cut.head)
        before = cut.head
        yield total


def _written(graph: Graph, names: tuple[str, ...], codecs: Written) -> dict[str, int]:
    """Bytes of these tensors together, by every codec that can write them all."""
    found: dict[str, int] = {}
    for codec, count in codecs.items():
        sizes = [count(graph.tensors[t]) for t in names]
        known = [s for s in sizes if s is not None]
        if len(known) == len(sizes):
            found[codec] = sum(known)
    return found


def _rows(graph: Graph, names: tuple[str, ...]) -> tuple[CrossingRow, ...]:
    tensors = [graph.tensors[n] for n in names]
    return tuple(CrossingRow(name=t.name, shape=t.shape, dtype=t.dtype, bytes=t.bytes) for t in tensors)

"""`isthmus inspect BUNDLE`: what is in a bundle, and with how many bits its device computes."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict
from rich.table import Table
from rich.text import Text

from isthmus.bundle import Bundle, PartRow, open_bundle
from isthmus.bundle.types import MODEL_FILE
from isthmus.cli.common import emit, out
from isthmus.cli.pack_bits import show_parts
from isthmus.graph import fused_graph, graph_of
from isthmus.units import show_bytes


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LayerWidths(_Row):
    """One layer of a part: bits of its weights and of the tensors it makes (None: floating point, or none)."""

    layer: str
    op: str
    weight_bits: int | None
    output_bits: int | None


class PartWidths(_Row):
    """A part of few bits: its widths layer by layer, its file, what it needs (planned: at its widths; containers: in
    a runtime whose numbers have at least 8 bits; planned held: what a process holds for it in onnxruntime; held: as
    measured when it was packed)."""

    cut: str
    layers: tuple[LayerWidths, ...]
    disk_bytes: int
    planned_file_bytes: int | None
    planned_weight_bytes: int
    planned_activation_bytes: int
    container_bytes: int
    planned_held_bytes: int | None
    held_bytes: int | None
    ratio: float
    error: float
    agrees: float
    samples: int


class InspectedBundle(_Row):
    """What `isthmus inspect BUNDLE --json` says. `memory_bytes`: the device's limit; `finishes_alone`: the device has a
    whole network; `device_copy`: the model itself is not in this folder; `wire`: codec of each crossing tensor."""

    model: str
    packed: str
    planner: str
    cut: str
    codec: str
    cuts: tuple[str, ...]
    files: dict[str, int]
    device_copy: bool
    finishes_alone: bool
    memory_bytes: int | None
    memory_of: str
    wire: dict[str, str]
    parts: tuple[PartWidths, ...]


def inspect_bundle(path: Path, *, as_json: bool) -> None:
    """Say what is in a bundle. Raises BadBundle for what is not as it was packed."""
    bundle = open_bundle(path)
    found = inspected(bundle)
    emit(found, as_json=as_json, show=lambda: _show(bundle, found))


def inspected(bundle: Bundle) -> InspectedBundle:
    """A bundle's contents as values."""
    manifest, plan = bundle.manifest, bundle.plan
    few = manifest.few_bits
    return InspectedBundle(
        model=manifest.name,
        packed=manifest.packed,
        planner=plan.planner,
        cut=plan.cuts[0],
        codec=plan.codec,
        cuts=manifest.cuts,
        files={name: entry.bytes for name, entry in manifest.files.items()},
        device_copy=not (bundle.path / MODEL_FILE).exists(),
        finishes_alone=few is None or few.whole is not None,
        memory_bytes=None if few is None else few.memory_bytes,
        memory_of="accelerator" if few is None else few.memory_of,
        wire={} if few is None else few.written.get(plan.codec, {}),
        parts=() if few is None else tuple(_part(bundle, part) for part in few.parts),
    )


def _part(bundle: Bundle, part: PartRow) -> PartWidths:
    graph = fused_graph(graph_of(bundle.model(weights=False)))
    weights, outputs = part.bits.weights, part.bits.outputs
    rows = [
        LayerWidths(
            layer=node.name, op=node.op, weight_bits=weights.get(node.name), output_bits=outputs.get(node.outputs[0])
        )
        for node in graph.nodes
        if node.name in weights or node.outputs[0] in outputs
    ]
    return PartWidths(
        cut=part.cut,
        layers=tuple(rows),
        disk_bytes=bundle.manifest.files[part.file].bytes,
        planned_file_bytes=part.planned_file_bytes,
        planned_weight_bytes=part.weight_bytes,
        planned_activation_bytes=part.activation_bytes,
        container_bytes=part.container_bytes,
        planned_held_bytes=part.planned_held_bytes,
        held_bytes=part.held_bytes,
        ratio=part.ratio,
        error=part.error,
        agrees=part.agrees,
        samples=part.samples,
    )


def _show(bundle: Bundle, found: InspectedBundle) -> None:
    size = sum(found.files.values())
    copy = ", a device's copy without the model" if found.device_copy else ""
    packed = f", packed {found.packed}: {len(found.cuts)} cuts ready, {show_bytes(size)}{copy}"
    out.print(Text.assemble((found.model, "bold"), packed))
    out.print(bundle.plan.why)
    if bundle.manifest.few_bits is None:
        return
    show_parts(bundle.manifest.few_bits)
    for part in found.parts:
        table = Table("layer", "", "weights", "makes", box=None, title=_title(part))
        for row in part.layers:
            table.add_row(row.layer, row.op, _bits(row.weight_bits), _bits(row.output_bits))
        out.print(table)


def _title(part: PartWidths) -> str:
    planned = "" if part.planned_file_bytes is None else f" ({show_bytes(part.planned_file_bytes)} planned)"
    return (
        f"bits of the part up to {part.cut}: {show_bytes(part.disk_bytes)} on disk{planned}, "
        f"{show_bytes(part.planned_weight_bytes)} of them weights by the plan"
    )


def _bits(width: int | None) -> str:
    return "" if width is None else f"{width} bits"

"""`isthmus inspect`: what a network is made of, and where it is narrow."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.table import Table

from isthmus.cli.common import BatchOption, Json, ModelArg, emit, out, progress_bar
from isthmus.graph import Description, describe, graph_of
from isthmus.model import Model, load_model
from isthmus.units import show_bytes

Where = Literal["node", "narrow", "block"]


def inspect(
    model: ModelArg,
    batch: BatchOption = 1,
    granularity: Annotated[Where, typer.Option(help="Every node, every one-tensor cut, or block outputs.")] = "narrow",
    shapes_only: Annotated[bool, typer.Option("--shapes-only", help="Make no weights; skips fusion safety.")] = False,
    json: Json = False,
) -> None:
    """Show a network's size and its cuts: what would cross, how much smaller than the input, and which are bottlenecks.

    Example: isthmus inspect zoo:mobilenet_v2 --granularity block
    """
    ask_engine = granularity == "narrow" and not shapes_only
    loaded = load_model(model, weights=ask_engine)
    safe = _safe_cuts(loaded) if ask_engine else None
    found = describe(graph_of(loaded, batch), granularity, safe)
    emit(found, as_json=json, show=lambda: _show(found))


def _safe_cuts(model: Model) -> frozenset[str]:
    from isthmus.engine import Engine

    with progress_bar("optimising") as progress:
        return Engine.open(model, cuts="none", progress=progress).safe


def _show(found: Description) -> None:
    out.print(
        f"[bold]{found.model}[/]  {found.nodes} nodes, {found.parameters / 1e6:.2f} M parameters, "
        f"{found.macs / 1e9:.2f} GMACs, input {show_bytes(found.input_bytes)}, output {show_bytes(found.output_bytes)}"
    )
    table = Table(
        title=f"cuts ({found.granularity}): {found.natural_count} natural bottlenecks, "
        f"{found.compressive_count} compressive"
    )
    for heading, justify in (("after", "left"), ("shape", "left"), ("bytes", "right"), ("ratio", "right")):
        table.add_column(heading, justify="right" if justify == "right" else "left", overflow="fold")
    table.add_column("head MACs", justify="right")
    table.add_column("")
    for cut in found.cuts:
        shapes = " + ".join("×".join(map(str, t.shape)) for t in cut.tensors)
        marks = ["compressive" if cut.compressive else "natural" if cut.natural else ""]
        if cut.fusion_safe:
            marks.append("fusion-safe")
        share = f"{cut.head_macs / found.macs:.0%}" if found.macs else ""
        style = "bold green" if cut.compressive else None if cut.natural else "dim"
        row = (cut.after, shapes, show_bytes(cut.bytes), f"{cut.ratio:.3f}", share, " ".join(m for m in marks if m))
        table.add_row(*row, style=style)
    out.print(table)

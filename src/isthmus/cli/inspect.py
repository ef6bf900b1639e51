"""`isthmus inspect`: what a network is made of, and where it is narrow."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from isthmus.bundle.folder import is_bundle
from isthmus.cli.common import BatchOption, Json, ModelArg, emit, out, progress_bar
from isthmus.cli.inspect_bundle import inspect_bundle
from isthmus.cli.planning import codecs_of
from isthmus.engine import Engine
from isthmus.graph import Description, Tensor, describe, graph_of
from isthmus.model import Model, load_model
from isthmus.plan.cost import written_bytes
from isthmus.units import show_bytes

Where = Literal["node", "narrow", "block"]


def inspect(
    model: ModelArg,
    batch: BatchOption = 1,
    granularity: Annotated[Where, typer.Option(help="Every node, every one-tensor cut, or block outputs.")] = "narrow",
    codecs: Annotated[str, typer.Option(help="Also say the bytes as these codecs write them.")] = "int8,int4,jpeg:90",
    shapes_only: Annotated[bool, typer.Option("--shapes-only", help="Make no weights; skips fusion safety.")] = False,
    json: Json = False,
) -> None:
    """Show a network's size and its cuts: what would cross, how much smaller than the input, and which are bottlenecks.

    Example: isthmus inspect zoo:mobilenet_v2 --granularity block

    A bundle, with its bits per layer: isthmus inspect bundle

    "÷ input" compares elements, and by it a cut is natural (below 1) or compressive (below all before it). "÷ 8-bit"
    compares the bytes of float32 features with the input as an 8-bit picture: only below 1 does the link carry less.
    """
    if is_bundle(model):
        inspect_bundle(Path(model), as_json=json)
        return
    written = {name: partial(_written, name) for name in codecs_of(codecs)} if codecs else {}
    ask_engine = granularity == "narrow" and not shapes_only
    loaded = load_model(model, weights=ask_engine)
    safe = _safe_cuts(loaded) if ask_engine else None
    found = describe(graph_of(loaded, batch), granularity, safe, written)
    emit(found, as_json=json, show=lambda: _show(found))


def _safe_cuts(model: Model) -> frozenset[str]:
    with progress_bar("optimising") as progress:
        return Engine.open(model, cuts="none", progress=progress).safe


def _written(codec: str, tensor: Tensor) -> int | None:
    """Bytes of a tensor that crosses as this codec; what is not float32 crosses as it is."""
    return written_bytes(codec, tensor.shape, tensor.itemsize) if tensor.dtype == "float32" else tensor.bytes


def _show(found: Description) -> None:
    out.print(
        Text.assemble(
            (found.model, "bold"),
            f"  {found.nodes} nodes, {found.parameters / 1e6:.2f} M parameters, "
            f"{found.macs / 1e9:.2f} GMACs, input {show_bytes(found.input_bytes)}{_other_inputs(found)}, "
            f"output {show_bytes(found.output_bytes)}",
        )
    )
    out.print(_table(found))
    if not found.natural_count:
        out.print(
            f"no natural bottleneck ({found.granularity}): every tensor that could cross is at least as large as the "
            "input, so without a smaller codec only all on the device or all on the server can be best"
        )
    elif found.natural_bytes_count is not None:
        out.print(
            f"against the input as an 8-bit picture, {show_bytes(found.picture_bytes or 0)}, float32 features are "
            f"fewer bytes at {found.natural_bytes_count} natural and {found.compressive_bytes_count} compressive ones"
        )


def _other_inputs(found: Description) -> str:
    """The input in its other forms."""
    forms = [] if found.picture_bytes is None else [f"{show_bytes(found.picture_bytes)} as an 8-bit picture"]
    forms += [f"{show_bytes(count)} as {name}" for name, count in found.input_codec_bytes.items()]
    return f" ({', '.join(forms)})" if forms else ""


def _table(found: Description) -> Table:
    table = Table(
        title=f"cuts ({found.granularity}): {found.natural_count} natural bottlenecks, "
        f"{found.compressive_count} compressive",
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    codecs = tuple(dict.fromkeys(name for cut in found.cuts for name in cut.codec_bytes))
    picture = found.picture_bytes is not None
    table.add_column("after", overflow="fold")
    table.add_column("shape", overflow="fold")
    for heading in ("bytes", *codecs, "÷ input", *(["÷ 8-bit"] if picture else []), "head"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for cut in found.cuts:
        marks = ["compressive" if cut.compressive else "natural" if cut.natural else ""]
        marks += ["fusion-safe"] if cut.fusion_safe else []
        written = [show_bytes(cut.codec_bytes[c]) if c in cut.codec_bytes else "" for c in codecs]
        against = [] if cut.picture_ratio is None else [f"{cut.picture_ratio:.3f}"]
        share = f"{cut.head_macs / found.macs:.0%}" if found.macs else ""
        table.add_row(
            cut.after,
            " + ".join("×".join(map(str, t.shape[1:])) for t in cut.tensors),
            show_bytes(cut.bytes), *written, f"{cut.ratio:.3f}", *against, share,
            " ".join(m for m in marks if m),
            style="bold green" if cut.compressive else None if cut.natural else "dim",
        )  # fmt: skip
    return table

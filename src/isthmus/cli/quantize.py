"""`isthmus quantize`: what every layer loses at a few bits, measured on samples."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from isthmus.cli.common import Json, ModelArg, Threads, emit, out, progress_bar
from isthmus.cli.labelled import DataOption, FirstClass, ScaleOption, labelled_samples, scale_of
from isthmus.codec import PictureScale
from isthmus.errors import BadInput
from isthmus.files import write_json
from isthmus.model import Model, load_model
from isthmus.profile.datasets import spread
from isthmus.profile.distortion import RANDOM, Widths, measure_distortions, random_samples
from isthmus.profile.samples import Samples
from isthmus.quant import Distortions, LayerBits, RangeName, need_quantisable

_PURPOSE = "distortions are measured on random inputs only with --random; without it on"
_SHOWN = 40
"""Layers in the table on the screen; the file holds all."""


def quantize(
    model: ModelArg,
    data: DataOption = "",
    scale: ScaleOption = "",
    samples: Annotated[int, typer.Option(min=1, max=100_000, help="How many of them to look at.")] = 32,
    random: Annotated[bool, typer.Option("--random", help="Go by random inputs, for want of data.")] = False,
    first_class: FirstClass = 0,
    bits: Annotated[str, typer.Option(help="Widths to measure: 1 to 8, and 16, the reference.")] = "2,4,6,8",
    method: Annotated[
        RangeName, typer.Option("--range", help="How the range of values is found.", show_choices=True)
    ] = "mse",
    to: Annotated[Path, typer.Option("--out", help="The file of distortion tables to write.")] = Path(
        "distortions.json"
    ),
    threads: Threads = 1,
    json: Json = False,
) -> None:
    """Measure what each layer's weights and each tensor lose at a few bits (distortion tables, for plan --planner
    autosplit).

    Example: isthmus quantize zoo:digits --data digits --bits 2,4,6,8 --out distortions.json
    """
    widths = Widths(_bits(bits), method)
    loaded = load_model(model)
    need_quantisable(loaded)
    found, source = table_samples(loaded, data, scale, samples, first_class, random=random)
    with progress_bar("measuring distortions") as progress:
        tables = measure_distortions(
            loaded,
            found,
            widths,
            source=source,
            picture=None if random or data.endswith(".npz") else _picture(loaded, scale),
            threads=threads,
            progress=progress,
        )
    write_json(to, tables)
    emit(tables, as_json=json, show=lambda: _show(tables, to))


def table_samples(model: Model, data: str, scale: str, count: int, first: int, *, random: bool) -> tuple[Samples, str]:
    """What to measure on, and what to call it."""
    if random:
        if data or scale:
            raise BadInput("--random stands in for --data and --scale: leave the one or the others out")
        return random_samples(model, count), RANDOM
    found, source = labelled_samples(model, data, scale, train=True, most=count, first_class=first, purpose=_PURPOSE)
    return found.pick(spread(len(found), count)), source


def _picture(model: Model, scale: str) -> PictureScale | None:
    """How pictures of 0 … 1 became the model's input, where it takes pictures at all."""
    shape = model.inputs[0].at(1)
    return scale_of(scale or "0/1", shape[1]) if len(shape) == 4 and shape[1] in (1, 3) else None


def _bits(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise BadInput(f"'{text}' is no list of bits such as 2,4,6,8") from None


def _show(tables: Distortions, to: Path) -> None:
    out.print(
        Text.assemble(
            (tables.model, "bold"),
            f" on {tables.samples} samples of {tables.source}, ranges by {tables.range}; "
            "decibels that weights (W) and activations (A) stand above the noise of their quantisation",
        )
    )
    shown = Table("layer", "weights", *(f"W{b}" for b in tables.bits), "output", *(f"A{b}" for b in tables.bits))
    for layer in tables.layers[:_SHOWN]:
        shown.add_row(layer.node, f"{layer.weight_elements:,}" if layer.weight_elements else "", *_cells(tables, layer))
    out.print(shown)
    if len(tables.layers) > _SHOWN:
        out.print(f"and {len(tables.layers) - _SHOWN} layers more")
    out.print(f"written to {to}")


def _cells(tables: Distortions, layer: LayerBits) -> list[str]:
    blank = [""] * len(tables.bits)
    weights = [_decibels(layer.weight_power, e) for e in layer.weights] or blank
    outputs = [_decibels(layer.output_power, e) for e in layer.outputs] or blank
    return [*weights, f"{layer.output_elements:,}", *outputs]


def _decibels(power: float, error: float) -> str:
    if not error:
        return "exact"
    return f"{10 * math.log10(power / error):.0f}" if power else ""

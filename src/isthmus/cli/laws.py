"""`isthmus profile --regression`: the latency laws of this machine, or of one that others have measured."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from isthmus.cli.common import emit, out, progress_bar, today
from isthmus.errors import BadInput
from isthmus.files import read_json, write_json
from isthmus.profile.regression import Law, Regression
from isthmus.profile.regression.measure import LayerMeasuring, LayerTimes, measure_layers, regression_of
from isthmus.profile.regression.read_table import regression_from_tables

Laws = Annotated[
    bool,
    typer.Option(
        "--regression", help="No model: fit latency laws by layer type, for --device FILE.json; some minutes."
    ),
]
Shapes = Annotated[int, typer.Option(min=24, help="About so many shapes of every layer type, with --regression.")]
Tables = Annotated[
    list[Path] | None, typer.Option("--table", help="Fit laws to CSV files of layer times instead of measuring here.")
]


def fit_laws(
    to: Path, tables: Sequence[Path], *, shapes: int, runs: int, threads: int, machine: str, resume: bool, json: bool
) -> None:
    """Measure (or read) layer times, fit the laws, write them to `to`; what was timed stays beside it."""
    if tables:
        if resume:
            raise BadInput("tables are read, not measured: leave --resume out")
        found = regression_from_tables(tables, name=machine or tables[0].stem, taken=today())
    else:
        how = LayerMeasuring(per_type=shapes, runs=max(2, runs), threads=threads, machine=machine)
        found = regression_of(_timed(how, to.with_suffix(".layers.json"), resume=resume))
    write_json(to, found)
    emit(found, as_json=json, show=lambda: _show(found, to))


def _timed(how: LayerMeasuring, kept: Path, *, resume: bool) -> LayerTimes:
    before = read_json(kept, LayerTimes) if resume and kept.exists() else None
    with progress_bar("timing layers") as progress:
        times = measure_layers(
            how,
            taken=today(),
            clock=time.perf_counter,
            progress=progress,
            resume=before,
            checkpoint=lambda so_far: write_json(kept, so_far),
        )
    write_json(kept, times)
    return times


def _show(found: Regression, to: Path) -> None:
    out.print(Text.assemble((found.machine.name, "bold"), f" ({found.machine.cpu}): {found.source}"))
    table = Table("layer type", "shapes", "paper: R²", "error", "extended: R²", "error")
    for kind, laws in found.layers.items():
        cells = [c for which in ("paper", "extended") for c in _quality(laws.law(which)[0])]
        table.add_row(kind, f"{laws.fitted} + {laws.held_out}", *cells)
    out.print(table)
    out.print("R² and median relative error are of the second number of shapes, which was not fitted")
    out.print(f"written to {to}; use it as --device {to}")


def _quality(law: Law) -> tuple[str, str]:
    if law.r2 is None or law.median_error is None:
        return "-", "-"
    return f"{law.r2:.3f}", f"{law.median_error:.1%}"

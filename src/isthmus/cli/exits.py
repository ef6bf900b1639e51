"""Early exits on the command line: data sets by name or folder; the table of exits as people read it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from isthmus.cli.common import out, progress_bar
from isthmus.cli.labelled import labelled_samples
from isthmus.engine import Engine
from isthmus.graph import graph_of
from isthmus.model import load_model
from isthmus.profile import ExitTable
from isthmus.profile.datasets import Dataset, load_dataset
from isthmus.profile.exit_measure import measure_exits
from isthmus.profile.exit_table import early_exits
from isthmus.profile.exits import Rule

RuleOption = Annotated[Rule, typer.Option("--rule", help="Leave by the entropy of the answer or by its confidence.")]
TrainingOption = Annotated[
    str, typer.Option("--data", help="Labelled pictures to train and judge on: digits, mnist, cifar10, or a folder.")
]
LossOption = Annotated[
    float, typer.Option("--loss", min=0, max=1, help="Accuracy that leaving early may cost, as 0.005.")
]


def dataset(what: str, *, side: int | None = None, seed: int = 0) -> Dataset:
    """Pictures by name (looked for where ISTHMUS_DATA says) or from a folder."""
    root = os.environ.get("ISTHMUS_DATA")
    return load_dataset(what, data_folder=Path(root) if root else None, side=side, seed=seed)


def judge_exits(name: str, data: str, *, scale: str, rule: Rule, loss: float, batch: int, threads: int) -> ExitTable:
    """The table of exits of a model that has them as outputs."""
    model = load_model(name)
    early_exits(graph_of(model))
    samples, label = labelled_samples(model, data, scale, purpose="the exits are judged on")
    engine = Engine.open(model, threads=threads, cuts="none")
    with progress_bar("judging exits") as progress:
        return measure_exits(engine, samples, data=label, rule=rule, allowed_loss=loss, batch=batch, progress=progress)


def show_exits(table: ExitTable, to: Path) -> None:
    """The table, and what stands out in it."""
    shown = Table("exit", "accuracy", "threshold", "temperature", "leave here", "right of those", "MMAC")
    for row in table.rows:
        shown.add_row(
            row.output,
            f"{row.accuracy:.2%}",
            "" if row.threshold is None else f"{row.threshold:.4f}",
            f"{row.temperature:.2f}",
            f"{row.share:.1%}",
            "" if row.leaving_accuracy is None else f"{row.leaving_accuracy:.2%}",
            f"{row.macs / 1e6:.2f}",
        )
    out.print(
        Text.assemble((table.model, "bold"), f" on {table.samples} samples of {table.data}, leaving by {table.rule}")
    )
    out.print(shown)
    whole = table.rows[-1]
    work = f", {table.mean_macs / whole.macs:.0%} of its work" if whole.macs else ""
    out.print(f"leaving early: {table.accuracy:.2%} right (last exit: {whole.accuracy:.2%}){work}")
    if table.idle:
        out.print(f"no better than an exit before them: {', '.join(table.idle)}")
    out.print(f"written to {to}")

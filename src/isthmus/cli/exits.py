"""Early exits on the command line: labelled data by name, folder or file; the table of exits as people read it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from isthmus.cli.accuracy import scale_of
from isthmus.cli.common import err, out, progress_bar
from isthmus.engine import Engine
from isthmus.errors import BadInput
from isthmus.graph import graph_of
from isthmus.model import Model, digits_test, load_model
from isthmus.profile import ExitTable
from isthmus.profile.accuracy import Samples, load_samples
from isthmus.profile.datasets import Dataset, load_dataset
from isthmus.profile.exit_measure import measure_exits
from isthmus.profile.exit_table import early_exits
from isthmus.profile.exits import Rule

RuleOption = Annotated[Rule, typer.Option("--rule", help="Leave by the entropy of the answer or by its confidence.")]
LossOption = Annotated[
    float, typer.Option("--loss", min=0, max=1, help="Accuracy that leaving early may cost, as 0.005.")
]
DataOption = Annotated[
    str, typer.Option("--data", help="Labelled pictures: digits, mnist, cifar10, a folder, or an .npz file.")
]
ScaleOption = Annotated[
    str, typer.Option("--scale", help="MEAN/STD that the pictures are brought to, as 0.48,0.45,0.40/0.22,0.22,0.22.")
]


def dataset(what: str, *, side: int | None = None, seed: int = 0) -> Dataset:
    """Pictures by name (looked for where ISTHMUS_DATA says) or from a folder."""
    root = os.environ.get("ISTHMUS_DATA")
    return load_dataset(what, data_folder=Path(root) if root else None, side=side, seed=seed)


def judge_exits(name: str, data: str, *, scale: str, rule: Rule, loss: float, batch: int, threads: int) -> ExitTable:
    """The table of exits of a model that has them as outputs."""
    model = load_model(name)
    early_exits(graph_of(model))
    samples, label = _samples(model, data, scale)
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
    out.print(f"[bold]{table.model}[/] on {table.samples} samples of {table.data}, leaving by {table.rule}")
    out.print(shown)
    whole = table.rows[-1]
    work = f", {table.mean_macs / whole.macs:.0%} of its work" if whole.macs else ""
    out.print(f"leaving early: {table.accuracy:.2%} right (last exit: {whole.accuracy:.2%}){work}")
    if table.idle:
        out.print(f"no better than an exit before them: {', '.join(table.idle)}")
    out.print(f"written to {to}")


def _samples(model: Model, data: str, scale: str) -> tuple[Samples, str]:
    """Samples as the model takes them, and what to call them."""
    if data.endswith(".npz"):
        if scale:
            raise BadInput("--scale is for pictures; the arrays of an .npz file are taken as they are")
        return load_samples(Path(data), model), Path(data).stem
    if not data and model.name.endswith("digits"):
        images, labels = digits_test()
        return Samples({model.inputs[0].name: images}, labels), "digits"
    if not data:
        raise BadInput("the exits are judged on labelled data: give --data digits, mnist, cifar10, a folder or .npz")
    found = dataset(data)
    pictures = found.floats(found.test)
    if len(model.inputs) != 1 or model.inputs[0].at(1)[1:] != pictures.shape[1:]:
        wanted = ", ".join(f"{s.name} {s.at(1)[1:]}" for s in model.inputs)
        raise BadInput(f"{model.name} takes {wanted}; the pictures of {found.name} are {pictures.shape[1:]}")
    if scale:
        pictures = _scaled(pictures, scale)
    else:
        err.print(f"pictures go in as 0 … 1; --scale MEAN/STD if {model.name} was trained otherwise", highlight=False)
    return Samples({model.inputs[0].name: pictures}, found.test.labels), found.name


def _scaled(pictures: NDArray[np.float32], scale: str) -> NDArray[np.float32]:
    found = scale_of(scale)
    if found is None or len(found.mean) not in (1, pictures.shape[1]):
        raise BadInput(f"'{scale}' does not fit pictures of {pictures.shape[1]} channels")
    mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (found.mean, found.std))
    scaled: NDArray[np.float32] = (pictures - mean) / std
    return scaled

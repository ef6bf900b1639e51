"""Labelled data on the command line: by name, folder or file, brought to what a model takes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from isthmus.cli.common import err, out, progress_bar
from isthmus.codec import PictureScale
from isthmus.engine import Engine
from isthmus.errors import BadInput
from isthmus.model import Model, load_model
from isthmus.profile.datasets import is_listed_set, judged_pictures
from isthmus.profile.samples import Samples, load_samples
from isthmus.profile.whole_accuracy import Accuracy, whole_accuracy

SCALES = {
    "imagenet": "0.485,0.456,0.406/0.229,0.224,0.225",
    "centred": "0.5/0.5",
    "bytes": "0/0.00392156862745098",
}
"""Names of usual preparations: torchvision's for ImageNet, -1 … 1, and 0 … 255."""
DataOption = Annotated[
    str,
    typer.Option(
        "--data", help="Labelled pictures: digits, mnist, cifar10, imagenet, a folder, a .zip with labels.txt, or .npz."
    ),
]
ScaleOption = Annotated[
    str,
    typer.Option(
        "--scale",
        help="What pictures (0 … 1) are brought to: imagenet, centred (-1 … 1), bytes (0 … 255), or MEAN/STD as "
        "0.48,0.45,0.40/0.22,0.22,0.22.",
    ),
]
SamplesOption = Annotated[
    int | None, typer.Option("--samples", min=1, help="So many of the pictures, evenly spread; all of them without.")
]
FirstClass = Annotated[
    int,
    typer.Option(
        "--first-class", min=0, max=1_000_000, help="Output of the first class: 1 where output 0 is a background."
    ),
]


def labelled_samples(
    model: Model,
    data: str,
    scale: str,
    *,
    train: bool = False,
    most: int | None = None,
    first_class: int = 0,
    purpose: str = "this needs",
) -> tuple[Samples, str]:
    """Samples as the model takes them, and what to call them: of the set to judge by, or of that to learn from where
    there is one (`train`). `purpose` begins the sentence that asks for data."""
    if data.endswith(".npz"):
        if scale:
            raise BadInput("--scale is for pictures; the arrays of an .npz file are taken as they are")
        return _counted(load_samples(Path(data), model), first_class), Path(data).stem
    if not data and model.name.endswith("digits"):
        name, images, labels = judged_pictures("digits", most=most, train=train)
        return Samples({model.inputs[0].name: images}, labels), name
    if not data:
        raise BadInput(f"{purpose} labelled data: give --data digits, mnist, cifar10, imagenet, a folder, .zip or .npz")
    root = os.environ.get("ISTHMUS_DATA")
    wanted = model.inputs[0].at(1)[1:]
    side = wanted[-1] if len(wanted) == 3 else 224
    name, pictures, labels = judged_pictures(
        data, data_folder=Path(root) if root else None, side=side, most=most, train=train
    )
    if scale:
        pictures = _scaled(pictures, scale)
    pictures = _as_taken(model, name, pictures)
    if not scale:
        err.print(f"pictures go in as 0 … 1; --scale if {model.name} was trained otherwise", highlight=False)
    return _counted(Samples({model.inputs[0].name: pictures}, labels), first_class), name


def undivided(data: str) -> bool:
    """Does this data have no part to learn from, apart from the one to judge by?"""
    return data.endswith(".npz") or is_listed_set(data)


def given_samples(
    model: Model, data: str, picture: str, *, most: int | None = None, first_class: int = 0
) -> Samples | None:
    """Samples where data is given, or comes with the model; None where there is none. Arrays of an .npz file are the
    inputs already, `picture` says how others are made of pictures."""
    if not data and not model.name.endswith("digits"):
        return None
    scale = "" if data.endswith(".npz") else picture
    return labelled_samples(model, data, scale, most=most, first_class=first_class)[0]


def scale_of(text: str, channels: int = 1) -> PictureScale | None:
    """`0.5,0.5,0.5/0.5,0.5,0.5` (or a name of `SCALES`) as means and standard deviations; a single one of each stands
    for all `channels`. Nothing from nothing. Raises BadInput for what is neither."""
    if not text:
        return None
    try:
        mean, std = (tuple(float(v) for v in part.split(",")) for part in SCALES.get(text, text).split("/"))
    except ValueError:
        names = ", ".join(SCALES)
        raise BadInput(
            f"'{text}' is neither MEAN/STD such as 0.485,0.456,0.406/0.229,0.224,0.225 nor one of {names}"
        ) from None
    if len(mean) == len(std) == 1:
        mean, std = mean * channels, std * channels
    return PictureScale(mean, std)


def judge_whole(
    name: str, data: str, *, scale: str, most: int | None, first_class: int, batch: int, threads: int
) -> Accuracy:
    """How often a model is right."""
    model = load_model(name)
    purpose = "the accuracy is measured on"
    samples, label = labelled_samples(model, data, scale, most=most, first_class=first_class, purpose=purpose)
    engine = Engine.open(model, threads=threads, cuts="none")
    with progress_bar("judging") as progress:
        return whole_accuracy(engine, samples, data=label, batch=batch, progress=progress)


def show_accuracy(found: Accuracy, to: Path) -> None:
    """One line for each figure."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("right", f"{found.score:.2%} ± {found.give_or_take:.2%} ({found.right} of {found.samples})")
    if found.within_5 is not None:
        table.add_row("among five", f"{found.within_5:.2%}")
    out.print(Text.assemble((found.model, "bold"), f" on {found.data}, {found.classes} classes"))
    out.print(table)
    out.print(f"written to {to}")


def _as_taken(model: Model, name: str, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """The pictures, channels last where the model takes them so. Raises BadInput where they are no input of it."""
    wanted = model.inputs[0].at(1)[1:]
    if len(model.inputs) == 1 and wanted == pictures.shape[1:]:
        return pictures
    if len(model.inputs) == 1 and wanted == (*pictures.shape[2:], pictures.shape[1]):
        return np.ascontiguousarray(pictures.transpose(0, 2, 3, 1))
    takes = ", ".join(f"{s.name} {s.at(1)[1:]}" for s in model.inputs)
    raise BadInput(f"{model.name} takes {takes}; the pictures of {name} are {pictures.shape[1:]}")


def _counted(samples: Samples, first_class: int) -> Samples:
    if samples.labels is None or not first_class:
        return samples
    return Samples(samples.inputs, np.asarray(samples.labels, np.int64) + first_class)


def _scaled(pictures: NDArray[np.float32], scale: str) -> NDArray[np.float32]:
    found = scale_of(scale)
    channels = pictures.shape[1]
    if found is None or len(found.mean) not in (1, channels):
        raise BadInput(f"'{scale}' does not fit pictures of {channels} channels")
    mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (found.mean, found.std))
    scaled: NDArray[np.float32] = (pictures - mean) / std
    return scaled

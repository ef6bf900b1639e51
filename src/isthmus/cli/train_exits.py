"""`isthmus train-exits`: a network with early exits, trained on labelled pictures. Needs the torch extra."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer
from pydantic import BaseModel, ValidationError

from isthmus.cli.common import Json, emit, err, interruptible, out, progress_bar
from isthmus.cli.entry import INTERRUPTED
from isthmus.cli.exits import LossOption, RuleOption, TrainingOption, dataset, show_exits
from isthmus.engine import Engine
from isthmus.engine.difference import difference
from isthmus.errors import BadInput
from isthmus.files import write_json, write_whole
from isthmus.model import load_model_file
from isthmus.model.torch_module import need_torch
from isthmus.profile import ExitTable
from isthmus.profile.datasets import Dataset, Part, apart
from isthmus.profile.exit_measure import measure_exits, run_exits
from isthmus.profile.exits import Rule
from isthmus.profile.samples import Samples
from isthmus.units import MOST_BATCH, MOST_THREADS

if TYPE_CHECKING:
    from isthmus.model.exits.branches import Branched
    from isthmus.model.exits.recipe import Recipe
    from isthmus.model.exits.train import Labelled, Trained, Training

NetName = Literal["b_lenet", "b_alexnet", "b_resnet"]
_FEW = 500
"""Pictures of a class below which a trained network is no measure of its architecture."""
_SHIFTED = 14
"""A picture of so many pixels a side is moved by one: two for MNIST and CIFAR, one for digits."""
_COMPARED = 256
"""Test pictures on which the exported network is held against torch."""
_FILES = {"checkpoint": "checkpoint.pt", "exits": "exits.json", "training": "training.json"}


class Made(NamedTuple):
    """A network, its recipe, and how its training went."""

    recipe: Recipe
    net: Branched
    went: Trained


class TrainedExits(BaseModel):
    """What a training came to: each epoch's losses and accuracies on the validation pictures, the epoch that was kept,
    the largest difference between the exported network's logits and torch's, and the table of exits on the test."""

    net: str
    data: str
    learnt_from: int
    epochs: tuple[dict[str, float | tuple[float, ...]], ...]
    best_epoch: int
    export_difference: float
    files: dict[str, str]
    exits: ExitTable


def train_exits(
    net: Annotated[NetName, typer.Option("--net", help="Which network with exits.")] = "b_lenet",
    data: TrainingOption = "digits",
    to: Annotated[Path, typer.Option("--out", help="The folder for checkpoint, ONNX and table.")] = Path("exits"),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the pictures at most.")] = 30,
    batch: Annotated[int, typer.Option(min=2, max=MOST_BATCH, help="Pictures of one step.")] = 64,
    rate: Annotated[float, typer.Option(help="Learning rate at its highest.")] = 4e-3,
    optimiser: Annotated[Literal["adam", "sgd"], typer.Option(help="How to step.")] = "adam",
    weights: Annotated[str, typer.Option(help="Weight of each exit's loss, as 1,0.5; else 0.3 and the last 1.")] = "",
    patience: Annotated[int, typer.Option(min=1, help="Epochs without gain before it ends.")] = 10,
    shift: Annotated[
        int | None,
        typer.Option(min=0, max=16, help="Pixels that pictures are moved by at most; else a 14th of a side."),
    ] = None,
    at: Annotated[str, typer.Option(help="Other places: shares of the work, as 0.15,0.3, or module names.")] = "",
    depth: Annotated[int | None, typer.Option(help="Layers of b_resnet: 8, 14, 20 … 110.")] = None,
    frozen: Annotated[bool, typer.Option("--frozen", help="Train the network alone first, then its exits.")] = False,
    rule: RuleOption = "entropy",
    loss: LossOption = 0.005,
    side: Annotated[int | None, typer.Option(min=8, help="Bring pictures of class folders to this side.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything drawn by chance.")] = 0,
    threads: Annotated[int, typer.Option(min=1, max=MOST_THREADS, help="Threads of torch.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    json: Json = False,
) -> None:
    """Train a network and its early exits together; writes checkpoint.pt, model.onnx and exits.json.

    A sixth of the pictures to learn from is kept for validation: it ends the training and chooses the thresholds. The
    test pictures only judge.

    Example: isthmus train-exits --net b_lenet --data mnist --out lenet --weights 1,0.5
    """
    need_torch().set_num_threads(threads)
    from isthmus.model.exits.recipe import Recipe
    from isthmus.model.exits.train import Labelled, Training

    pictures = dataset(data, side=side, seed=seed)
    learn, validate = apart(pictures.train, 1 / 6, seed)
    try:
        recipe = Recipe(
            net=net, shape=pictures.shape, classes=len(pictures.classes), at=_words(at), depth=depth, frozen=frozen,
            seed=seed,
        )  # fmt: skip
        how = Training(
            epochs=epochs, batch=batch, optimiser=optimiser, rate=rate, weights=_numbers(weights), patience=patience,
            shift=max(1, pictures.shape[1] // _SHIFTED) if shift is None else shift, seed=seed,
        )  # fmt: skip
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if len(learn) < _FEW * len(pictures.classes):
        err.print(f"{len(learn)} pictures are few to learn from: expect a low accuracy", highlight=False)
    to_learn, to_validate = (Labelled(pictures.floats(p), p.labels) for p in (learn, validate))
    made = _trained(recipe, to_learn, to_validate, how, to, resume)
    result = _judged(made, pictures, learn, validate, to, rule, loss)
    write_json(to / "training.json", result)
    emit(result, as_json=json, show=lambda: _show(result, to))


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in _words(text))
    except ValueError:
        raise BadInput(f"'{text}' is no list of weights such as 1,0.5") from None


def _trained(recipe: Recipe, learn: Labelled, validate: Labelled, how: Training, to: Path, resume: bool) -> Made:
    """The network and how its training went. Ctrl-C keeps the checkpoint of the last whole epoch."""
    from isthmus.model.exits.recipe import trained

    if not resume and (to / "checkpoint.pt").exists():
        err.print(f"{to / 'checkpoint.pt'} is replaced (--resume would go on from it)", highlight=False)
    with interruptible() as stopped, progress_bar("training") as progress:
        net, went = trained(recipe, learn, validate, how, to, resume=resume, progress=progress, stopped=stopped.is_set)
    if not went.finished:
        err.print(f"interrupted after {len(went.history)} epochs; go on with --resume", highlight=False)
        raise typer.Exit(INTERRUPTED)
    return Made(recipe, net, went)


def _judged(
    made: Made, pictures: Dataset, learn: Part, validate: Part, to: Path, rule: Rule, loss: float
) -> TrainedExits:
    """Export, run the exported network as anyone will, and compare it with torch."""
    from isthmus.model.exits.export import to_model
    from isthmus.model.exits.train import answers_of

    name = made.recipe.net
    model = to_model(made.net, pictures.shape, name=name)
    write_whole(to / f"{name}.onnx", model.proto.SerializeToString(deterministic=True))
    engine = Engine.open(load_model_file(to / f"{name}.onnx"), cuts="none")
    calibration, test = (Samples({"image": pictures.floats(p)}, p.labels) for p in (validate, pictures.test))
    table = measure_exits(engine, test, data=pictures.name, calibration=calibration, rule=rule, allowed_loss=loss)
    write_json(to / "exits.json", table)
    ran = run_exits(engine, test.part(0, _COMPARED), made.net.outputs).logits
    wanted = answers_of(made.net, pictures.floats(pictures.test)[:_COMPARED])
    return TrainedExits(
        net=name,
        data=pictures.name,
        learnt_from=len(learn),
        epochs=tuple(epoch.model_dump() for epoch in made.went.history),
        best_epoch=made.went.best,
        export_difference=max(difference(ran[o], wanted[o]) for o in made.net.outputs),
        files={kind: str(to / file) for kind, file in _FILES.items()} | {"onnx": str(to / f"{name}.onnx")},
        exits=table,
    )


def _show(result: TrainedExits, to: Path) -> None:
    kept = f"epoch {result.best_epoch + 1} of {len(result.epochs)} is kept"
    out.print(f"trained on {result.learnt_from} pictures of {result.data}; {kept}", highlight=False)
    show_exits(result.exits, to / "exits.json")
    out.print(f"and {result.files['onnx']} (it differs from torch by at most {result.export_difference:.1g})")

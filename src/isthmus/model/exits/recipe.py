"""Which network with exits, as a value: made anew from it, trained, and made again from its checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from isthmus.errors import BadInput
from isthmus.model.exits.branches import Branched, attach
from isthmus.model.exits.layers import at_shares
from isthmus.model.exits.nets import NETS
from isthmus.model.exits.train import Labelled, Trained, Training, seeded, train
from isthmus.model.types import Progress


class Recipe(BaseModel):
    """A ready-made network for pictures of this shape (channels, height, width).

    `at`: none leaves its exits where its authors have them; names of modules, or shares of the work as `0.15`, put
    plain branches there instead. `frozen`: the network is trained first, alone, and its branches then.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    net: Literal["b_lenet", "b_alexnet", "b_resnet"]
    shape: tuple[int, int, int]
    classes: int = Field(ge=2)
    at: tuple[str, ...] = ()
    depth: int | None = None
    frozen: bool = False
    seed: int = Field(default=0, ge=0)


def make(recipe: Recipe) -> Branched:
    """The network, untrained; the same for the same recipe. Raises BadInput for places that are none."""
    with seeded(recipe.seed):
        if recipe.depth is not None and recipe.net != "b_resnet":
            raise BadInput(f"a depth can be chosen for b_resnet only, not for {recipe.net}")
        more = {} if recipe.depth is None else {"depth": recipe.depth}
        net = NETS[recipe.net](recipe.shape, recipe.classes, **more)
        if not recipe.at:
            return net
        example = torch.randn(2, *recipe.shape)
        names = recipe.at
        shares = [_share(text) for text in recipe.at]
        if None not in shares:
            names = at_shares(net.net, [s for s in shares if s is not None], example)
        elif any(s is not None for s in shares):
            raise BadInput(f"give names of modules or shares of the work, not both: {', '.join(recipe.at)}")
        return attach(net.net, names, example)


def trained(
    recipe: Recipe,
    learn: Labelled,
    validate: Labelled,
    how: Training,
    folder: Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[Branched, Trained]:
    """Train by the recipe, with `checkpoint.pt` (and `backbone.pt` where the network is frozen) in `folder`.

    Raises BadInput as `make` and `train` do.
    """
    net = make(recipe)
    spec = recipe.model_dump_json()
    if recipe.frozen:
        alone = how.model_copy(update={"weights": ()})
        went = train(
            Branched(net.net, {}), learn, validate, alone, spec=spec, checkpoint=folder / "backbone.pt",
            resume=resume, progress=progress, stopped=stopped,
        )  # fmt: skip
        if not went.finished:
            return net, went
        net.freeze()
    return net, train(
        net, learn, validate, how, spec=spec, checkpoint=folder / "checkpoint.pt", resume=resume,
        progress=progress, stopped=stopped,
    )  # fmt: skip


def _share(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None

"""Training all exits together, on the weighted sum of their losses: L = Σ wₙ · cross-entropy of exit n (BranchyNet,
Teerapittayanon et al., ICPR 2016, §III-B).

Everything drawn by chance (order, shifts, dropout) hangs on the seed and the epoch alone, so a training that was
stopped and resumed gives the same weights, bit for bit, as one that was not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from isthmus.errors import BadInput
from isthmus.model.exits.branches import Branched
from isthmus.model.exits.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from isthmus.model.torch_modes import in_mode
from isthmus.model.types import Progress

_EARLY_WEIGHT = 0.3
"""Of an early exit's loss where no weights are given; the last exit's is 1. Of 0.3 and 1, tried on digits with four
seeds each, 0.3 left the last exit as it is without the others (97.3 % against 97.2 %; 1: 96.2 %)."""
_LOOK = 256
"""Pictures looked at together where nothing is learnt."""
_PRIME = 1_000_003


class Training(BaseModel):
    """How to train. `weights`: one an exit, the last for the network's own answer; none: 0.3 for every early exit and 1
    for the last. `shift`: pictures are moved by up to so many pixels. `patience`: epochs without a better validation
    before it ends."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(default=30, ge=1, le=10_000)
    batch: int = Field(default=64, ge=2, le=65_536)
    optimiser: Literal["adam", "sgd"] = "adam"
    rate: float = Field(default=2e-3, gt=0, le=10)
    decay: float = Field(default=1e-4, ge=0, le=1)
    weights: tuple[FiniteFloat, ...] = ()
    shift: int = Field(default=1, ge=0, le=16)
    patience: PositiveInt = 10
    seed: NonNegativeInt = 0


class Epoch(BaseModel):
    """What one epoch came to: mean training loss, and on the validation pictures the loss and each exit's accuracy."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    loss: float
    validation_loss: float
    accuracies: tuple[float, ...]


@dataclass(frozen=True)
class Labelled:
    """Pictures (float32, N × channels × height × width) and their classes (int64, N)."""

    pictures: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.pictures.ndim != 4 or len(self.pictures) != len(self.labels) or len(self.labels) < 2:
            raise BadInput(f"{len(self.labels)} labels do not fit pictures of shape {self.pictures.shape}")


@dataclass(frozen=True)
class Trained:
    """How the training went. `best` is the epoch (from 0) whose weights the network has now; `finished`: it was not
    stopped from outside."""

    history: tuple[Epoch, ...]
    best: int
    finished: bool


def train(
    net: Branched,
    learn: Labelled,
    validate: Labelled,
    how: Training,
    *,
    spec: str = "",
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train in place; afterwards the network has the weights of its best epoch on `validate`, in evaluation mode.

    The best epoch has the highest weighted mean of the exits' accuracies, of equals the lowest loss. After each epoch
    all is written to `checkpoint`, from which `resume` goes on; `spec` says which network it is. When `stopped()`
    turns true the epoch under way is given up. Raises BadInput for weights that do not fit, for a checkpoint of another
    training, and where the loss is no number any more.
    """
    shares = _shares(how, net)
    state = _fresh(net, how, spec, learn)
    if resume and checkpoint is not None and checkpoint.exists():
        state = load_checkpoint(checkpoint, like=state)
    optimiser = _optimiser(net, how)
    net.load_state_dict(state.net)
    if state.optimiser:
        optimiser.load_state_dict(state.optimiser)
    history = [Epoch.model_validate_json(row) for row in state.history]
    finished = True
    while not _over(len(history), state.best_epoch, how):
        with _drawn(how.seed, len(history)):
            loss = _epoch(net, optimiser, learn, how, shares, len(history), progress, stopped)
        if loss is None:
            finished = False
            break
        history.append(_validated(net, validate, shares, loss))
        state = _after(state, net, optimiser, history, shares)
        if checkpoint is not None:
            save_checkpoint(checkpoint, state)
    net.load_state_dict(state.best)
    net.eval()
    return Trained(tuple(history), state.best_epoch, finished)


def answers_of(net: Branched, pictures: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """The logits of every exit, by its name, in evaluation mode."""
    parts = []
    with in_mode(net, training=False), torch.no_grad():
        for start in range(0, len(pictures), _LOOK):
            parts.append(net(torch.from_numpy(pictures[start : start + _LOOK])))
    return {name: torch.cat([p[i] for p in parts]).numpy() for i, name in enumerate(net.outputs)}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's chance starts at `seed` inside and is as it was outside: make a network in it to have the same one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _drawn(seed: int, epoch: int) -> Any:
    return seeded(seed * _PRIME + epoch + 1)


def _epoch(
    net: Branched,
    optimiser: Any,
    learn: Labelled,
    how: Training,
    shares: Tensor,
    epoch: int,
    progress: Progress | None,
    stopped: Callable[[], bool],
) -> float | None:
    """One pass over the pictures; the mean loss, or None when it was stopped."""
    pictures, labels = torch.from_numpy(learn.pictures), torch.from_numpy(learn.labels)
    order = torch.randperm(len(labels))
    steps = max(1, len(labels) // how.batch)
    net.train()
    total = 0.0
    for step in range(steps):
        if stopped():
            return None
        for group in optimiser.param_groups:
            group["lr"] = how.rate * _cosine((epoch * steps + step) / (how.epochs * steps))
        chosen = order[step * how.batch : (step + 1) * how.batch]
        loss = _loss(net(_shifted(pictures[chosen], how.shift)), labels[chosen], shares)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
        optimiser.step()
        total += float(loss.detach())
        if progress is not None:
            progress(epoch * steps + step + 1, how.epochs * steps, f"epoch {epoch + 1}, loss {total / (step + 1):.3f}")
    if not math.isfinite(total):
        raise BadInput(f"the loss of epoch {epoch + 1} is no number; train with a lower rate than {how.rate:g}")
    return total / steps


def _loss(answers: tuple[Tensor, ...], labels: Tensor, shares: Tensor) -> Tensor:
    losses = torch.stack([F.cross_entropy(logits, labels) for logits in answers])
    return losses @ shares


def _cosine(done: float) -> float:
    """The learning rate's course: a short rise, then down to nothing."""
    rise = 0.05
    return (done + 1e-3) / (rise + 1e-3) if done < rise else 0.5 * (1 + math.cos(math.pi * (done - rise) / (1 - rise)))


def _shifted(pictures: Tensor, most: int) -> Tensor:
    """Each picture moved by up to `most` pixels each way, empty pixels coming in."""
    if not most:
        return pictures
    height, width = pictures.shape[2:]
    padded = F.pad(pictures, (most,) * 4)
    places = torch.randint(2 * most + 1, (len(pictures), 2)).tolist()
    return torch.stack([p[:, y : y + height, x : x + width] for p, (y, x) in zip(padded, places, strict=True)])


def _validated(net: Branched, validate: Labelled, shares: Tensor, loss: float) -> Epoch:
    answers = tuple(torch.from_numpy(a) for a in answers_of(net, validate.pictures).values())
    labels = torch.from_numpy(validate.labels)
    return Epoch(
        loss=loss,
        validation_loss=float(_loss(answers, labels, shares)),
        accuracies=tuple(float((a.argmax(1) == labels).double().mean()) for a in answers),
    )


def _fresh(net: Branched, how: Training, spec: str, learn: Labelled) -> Checkpoint:
    start = {k: v.clone() for k, v in net.state_dict().items()}
    return Checkpoint(
        how=how.model_dump_json(), spec=spec, data=_digest(learn), net=start, best=start, best_epoch=-1,
        best_score=(-1.0, 0.0), optimiser={}, history=(),
    )  # fmt: skip


def _after(state: Checkpoint, net: Branched, optimiser: Any, history: list[Epoch], shares: Tensor) -> Checkpoint:
    now = {k: v.clone() for k, v in net.state_dict().items()}
    score = _score(history[-1], shares)
    better = score > state.best_score
    return Checkpoint(
        how=state.how, spec=state.spec, data=state.data, net=now,
        best=now if better else state.best,
        best_epoch=len(history) - 1 if better else state.best_epoch,
        best_score=score if better else state.best_score,
        optimiser=optimiser.state_dict(),
        history=tuple(row.model_dump_json() for row in history),
    )  # fmt: skip


def _score(epoch: Epoch, shares: Tensor) -> tuple[float, float]:
    weighed = [a * float(w) for a, w in zip(epoch.accuracies, shares, strict=True)]
    return sum(weighed) / float(shares.sum()), -epoch.validation_loss


def _over(done: int, best: int, how: Training) -> bool:
    return done >= how.epochs or (best >= 0 and done - 1 - best >= how.patience)


def _shares(how: Training, net: Branched) -> Tensor:
    count = len(net.outputs)
    given = how.weights or (*((_EARLY_WEIGHT,) * (count - 1)), 1.0)
    if len(given) != count or min(given) < 0 or not sum(given):
        raise BadInput(f"{count} exits need {count} weights, none below zero and not all zero, not {list(given)}")
    return torch.tensor(given)


def _optimiser(net: Branched, how: Training) -> Any:
    parameters = [p for p in net.parameters() if p.requires_grad]
    if not parameters:
        raise BadInput("there is nothing to train: the network is frozen and has no branches")
    if how.optimiser == "adam":
        return torch.optim.AdamW(parameters, lr=how.rate, weight_decay=how.decay)
    return torch.optim.SGD(parameters, lr=how.rate, momentum=0.9, nesterov=True, weight_decay=how.decay)


def _digest(learn: Labelled) -> str:
    found = hashlib.sha256(np.ascontiguousarray(learn.pictures).data)
    found.update(np.ascontiguousarray(learn.labels).data)
    return found.hexdigest()

"""How far a training is, in one file: weights, the optimiser's state, the history.

Written whole or not at all, and read without running anything in it (`weights_only`)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from isthmus.errors import BadInput
from isthmus.files import write_whole

_VERSION = 1
_MAX_BYTES = 4 << 30


@dataclass(frozen=True)
class Checkpoint:
    """The state after an epoch. `how`, `spec` and `data` say of which training: its settings (JSON), the network (as
    its maker describes it) and the sha256 of what it learns from; `history` is one JSON text an epoch."""

    how: str
    spec: str
    data: str
    net: Mapping[str, Any]
    best: Mapping[str, Any]
    best_epoch: int
    best_score: tuple[float, float]
    optimiser: Mapping[str, Any]
    history: tuple[str, ...]


def save_checkpoint(path: Path, state: Checkpoint) -> None:
    """Write it; a reader sees the old one or the new one."""
    written = io.BytesIO()
    torch.save({"version": _VERSION, **vars(state)}, written)
    write_whole(path, written.getvalue())


def load_checkpoint(path: Path, *, like: Checkpoint | None = None) -> Checkpoint:
    """Read it. Raises BadInput for what is no checkpoint, and where `like` is of another training."""
    stored = _stored(path)
    if not isinstance(stored, dict) or set(stored) != {"version", *(f.name for f in fields(Checkpoint))}:
        raise BadInput(f"{path} is no checkpoint of isthmus")
    if stored.pop("version") != _VERSION:
        raise BadInput(f"{path} is a checkpoint of another version; train anew without --resume")
    found = Checkpoint(**stored)
    if like is not None:
        _same(path, found, like)
    return found


def _stored(path: Path) -> Any:
    try:
        size = path.stat().st_size
        if size <= _MAX_BYTES:
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds, among them those of its unpickler
        raise BadInput(f"{path} is no checkpoint that can be read: {_first_line(error)}") from error
    raise BadInput(f"{path} is {size} bytes; a checkpoint has at most {_MAX_BYTES}")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _same(path: Path, found: Checkpoint, like: Checkpoint) -> None:
    way_out = "repeat those or train anew without --resume"
    if found.how != like.how:
        raise BadInput(f"{path} is of a training with other settings ({found.how[:300]}); {way_out}")
    if found.spec != like.spec:
        raise BadInput(f"{path} is of a training of another network ({found.spec[:300]}); {way_out}")
    if found.data != like.data:
        raise BadInput(f"{path} is of a training on other data; {way_out}")
    shapes = {k: tuple(v.shape) for k, v in like.net.items()}
    for state in (found.net, found.best):
        if {k: tuple(v.shape) for k, v in state.items()} != shapes:
            raise BadInput(f"{path} holds weights of another network; train anew without --resume")

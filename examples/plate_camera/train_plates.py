"""Trains the plate reader on generated pictures and writes plates.onnx beside this file.

    python examples/plate_camera/train_plates.py

Needs the `torch` and `compress` extras; some minutes on one core. What is there after an interruption goes on from the
last checkpoint (`--work`). Pictures are of seeds from a million on; tests, calibration and measurements use others.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from plate_network import CELL, OUTPUTS, Plates
from plate_pictures import ALPHABET, LENGTH, MOST_PLATES, SIDE, Plate, scenes
from torch import Tensor
from torch.nn import functional as F

from isthmus.model.torch_module import from_torch

HERE = Path(__file__).parent
TRAINING_SEED = 1_000_000
SURE_SHARE, PLACE_SHARE, READ_SHARE = 1.0, 1.0, 1.0
_EVERY = 50
"""Steps between a word on how it goes; every other time a checkpoint."""


@dataclass(frozen=True)
class Batch:
    """Pictures (N × 3 × SIDE × SIDE, 0 to 1), places of their plates (N × 3 × 6, in pixels), characters (N × 3 × 6,
    places in the alphabet), and which of the three are there (N × 3)."""

    images: Tensor
    places: Tensor
    letters: Tensor
    there: Tensor


@dataclass(frozen=True)
class Pool:
    """Pictures to train on, made once: uint8 N × SIDE × SIDE × 3, and labels as in `Batch`."""

    pixels: np.ndarray
    places: np.ndarray
    letters: np.ndarray
    there: np.ndarray

    def batch(self, chosen: np.ndarray) -> Batch:
        """These pictures."""
        images = torch.from_numpy(self.pixels[chosen]).permute(0, 3, 1, 2).float() / 255
        labels = (torch.from_numpy(part[chosen]) for part in (self.places, self.letters, self.there))
        return Batch(images.contiguous(), *labels)


def pool(count: int, seed: int, tell: Callable[[str], None] = print) -> Pool:
    """`count` pictures of the seeds from `seed` on."""
    made = Pool(
        np.empty((count, SIDE, SIDE, 3), np.uint8),
        np.zeros((count, MOST_PLATES, 6), np.float32),
        np.zeros((count, MOST_PLATES, LENGTH), np.int64),
        np.zeros((count, MOST_PLATES), bool),
    )
    for k, taken in enumerate(scenes(count, seed)):
        made.pixels[k] = taken.pixels
        for j, plate in enumerate(taken.plates):
            made.places[k, j], made.letters[k, j], made.there[k, j] = row(plate), symbols(plate.text), True
        if k % 500 == 499:
            tell(f"{k + 1} of {count} pictures drawn")
    return made


def row(plate: Plate) -> np.ndarray:
    """Centre, edge along, edge down."""
    return np.array([*plate.centre, *plate.along, *plate.down], np.float32)


def symbols(text: str) -> np.ndarray:
    """A plate's characters as numbers."""
    return np.array([ALPHABET.index(letter) for letter in text], np.int64)


def loss(network: Plates, batch: Batch) -> Tensor:
    """Of finding, of placing, and of reading at the true places, a little off as a detector would be."""
    features, sure, places = network.look(batch.images)
    columns, rows = ((batch.places[..., k] / CELL).long().clamp(0, SIDE // CELL - 1) for k in (0, 1))
    which = torch.arange(len(sure))[:, None].expand_as(columns)
    wanted = torch.zeros_like(sure[:, 0])
    wanted[which[batch.there], rows[batch.there], columns[batch.there]] = 1
    finding = F.binary_cross_entropy_with_logits(sure[:, 0], wanted, reduction="sum") / batch.there.sum()
    placed = places[which, :, rows, columns][batch.there]
    placing = F.smooth_l1_loss(placed, batch.places[batch.there]) / 8
    scale = batch.places[..., 2:4].abs().amax(-1, keepdim=True)
    nearly = batch.places + torch.randn_like(batch.places) * scale * 0.015
    said = network.letters(features, nearly)[batch.there]
    reading = F.cross_entropy(said.flatten(0, 1), batch.letters[batch.there].flatten())
    return SURE_SHARE * finding + PLACE_SHARE * placing + READ_SHARE * reading


@dataclass
class Training:
    """A network on its way. Each step draws its own chance from its number, so that a resumed training is the same."""

    data: Pool
    steps: int
    size: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.network = Plates()
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=1e-3, weight_decay=1e-3)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, 5e-3, total_steps=self.steps, pct_start=0.15
        )
        self.done = 0

    def step(self) -> float:
        """One batch; its loss."""
        rng = np.random.default_rng([self.seed, self.done])
        torch.manual_seed(self.seed + self.done)
        lost = loss(self.network, self.data.batch(rng.choice(len(self.data.pixels), self.size, replace=False)))
        self.optimiser.zero_grad()
        torch.autograd.backward(lost)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.schedule.step()
        self.done += 1
        return float(lost.item())

    def keep(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        parts = (self.network, self.optimiser, self.schedule)
        torch.save([self.done, *(p.state_dict() for p in parts)], path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint."""
        self.done, network, optimiser, schedule = torch.load(path, weights_only=True)
        self.network.load_state_dict(network)
        self.optimiser.load_state_dict(optimiser)
        self.schedule.load_state_dict(schedule)

    def run(self, path: Path, tell: Callable[[str], None] = print) -> Plates:
        """To the last step; the network, ready for use."""
        self.network.train()
        recent = []
        while self.done < self.steps:
            recent.append(self.step())
            if self.done % _EVERY == 0:
                tell(f"step {self.done} of {self.steps}: loss {np.mean(recent):.3f}")
                recent.clear()
                if self.done % (2 * _EVERY) == 0:
                    self.keep(path)
        self.keep(path)
        self.network.eval()
        return self.network


def export(network: Plates, path: Path) -> None:
    """Write the network as ONNX, for any number of pictures at once."""
    model = from_torch(network, torch.rand(2, 3, SIDE, SIDE), name="plates", outputs=OUTPUTS)
    path.write_bytes(model.proto.SerializeToString(deterministic=True))


def drawn(work: Path, count: int) -> Pool:
    """The pictures to train on, drawn once and kept in `work`."""
    files = [work / f"{name}.npy" for name in ("pixels", "places", "letters", "there")]
    if not all(file.exists() for file in files) or len(np.load(files[0], mmap_mode="r")) != count:
        made = pool(count, TRAINING_SEED, say)
        for file, part in zip(files[::-1], (made.there, made.letters, made.places, made.pixels), strict=True):
            np.save(file, part)
    return Pool(*(np.load(file, mmap_mode="r" if k == 0 else None) for k, file in enumerate(files)))


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--work", type=Path, default=Path("plate_training"), help="pictures and checkpoints")
    parser.add_argument("--out", type=Path, default=HERE / "plates.onnx")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.work.mkdir(parents=True, exist_ok=True)
    training = Training(drawn(given.work, given.pictures), given.steps)
    checkpoint = given.work / "checkpoint.pt"
    if checkpoint.exists():
        training.resume(checkpoint)
        say(f"goes on at step {training.done}")
    export(training.run(checkpoint, say), given.out)
    say(f"written to {given.out}")


if __name__ == "__main__":
    main()

"""Trains `zoo:digits` and writes `digits.onnx` and `digits_exits.json` to `src/isthmus/model/zoo`.

A small convolutional network with three exits on the digits that come with it (8 × 8, 17 grey levels; 1,797 pictures;
every fourth is kept for the test). All exits are trained together on a weighted sum of their losses, on pictures
shifted by up to a pixel. The table of exits is what `isthmus profile zoo:digits --exits --data digits` gives: half of
the test pictures choose the thresholds, the other half are reported. `--table` makes the table of a network that is
there.

Needs the `torch` and `dev` extras; about a minute on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isthmus.engine import Engine
from isthmus.files import write_json
from isthmus.model import digits_test, load_model_file
from isthmus.model.torch_module import from_torch
from isthmus.model.zoo.digits import DIGITS_LEVELS, digits_parts
from isthmus.profile.exit_measure import measure_exits
from isthmus.profile.samples import Samples

ZOO = Path(__file__).resolve().parents[1] / "src" / "isthmus" / "model" / "zoo"
EXITS = ("exit1", "exit2", "exit3")
LOSS_SHARES = (0.2, 0.05, 0.75)


class Digits(nn.Module):  # type: ignore[misc, unused-ignore]
    """Ten convolutions on the way to the last exit. After the second exit's place only 3 × 4 × 4 values go on, and
    before the last stage 8 × 2 × 2: narrower than the picture's 64."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _stack(_conv(1, 8), _conv(8, 12))
        self.exit1 = nn.Linear(12, 10)
        self.down1 = _stack(_conv(12, 32, stride=2), _conv(32, 32), _conv(32, 3, kernel=1))
        self.exit2 = nn.Linear(6, 10)
        self.down2 = _stack(_conv(3, 48), _conv(48, 48, stride=2), _conv(48, 8, kernel=1))
        self.last = _stack(_conv(8, 64), _conv(64, 64))
        self.exit3 = nn.Linear(256, 10)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        early = self.stem(image)
        middle = self.down1(early)
        late = self.last(self.down2(middle))
        return (
            self.exit1(F.adaptive_avg_pool2d(early, 1).flatten(1)),
            self.exit2(F.avg_pool2d(middle, (4, 2)).flatten(1)),
            self.exit3(late.flatten(1)),
        )


def _stack(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


def _conv(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def split() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and test pictures (N × 1 × 8 × 8, 0 to 1) and labels; every fourth picture is for the test."""
    (train, train_labels), (test, test_labels) = digits_parts()
    pictures = (torch.tensor(part / DIGITS_LEVELS, dtype=torch.float32) for part in (train, test))
    return next(pictures), torch.tensor(train_labels), next(pictures), torch.tensor(test_labels)


def train(epochs: int, seed: int) -> Digits:
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    pictures, labels, _, _ = split()
    network = Digits()
    batch = 64
    steps = epochs * (len(labels) // batch)
    optimiser = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    for step in range(steps):
        chosen = torch.randint(len(labels), (batch,))
        exits = network(shifted(pictures[chosen]))
        losses = torch.stack([F.cross_entropy(logits, labels[chosen]) for logits in exits])
        loss = losses @ torch.tensor(LOSS_SHARES)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if step % (steps // 10) == 0:
            print(f"step {step} of {steps}: loss {loss.item():.3f}", flush=True)
    network.eval()
    return network


def shifted(pictures: Tensor) -> Tensor:
    """Each picture moved by −1, 0 or 1 pixel each way, empty pixels coming in."""
    padded = F.pad(pictures, (1, 1, 1, 1))
    places = torch.randint(3, (len(pictures), 2)).tolist()
    return torch.stack([p[:, y : y + 8, x : x + 8] for p, (y, x) in zip(padded, places, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ZOO)
    parser.add_argument("--table", action="store_true", help="only the table of exits, of digits.onnx as it is")
    given = parser.parse_args()
    if not given.table:
        write_network(train(given.epochs, given.seed), given.out)
    write_table(given.out)


def write_network(network: Digits, folder: Path) -> None:
    """`digits.onnx`."""
    _, _, pictures, labels = split()
    with torch.no_grad():
        for name, logits in zip(EXITS, network(pictures), strict=True):
            print(f"{name}: {(logits.argmax(1) == labels).float().mean().item():.4f}")
    model = from_torch(network, pictures[:2], name="digits", outputs=EXITS)
    (folder / "digits.onnx").write_bytes(model.proto.SerializeToString(deterministic=True))


def write_table(folder: Path) -> None:
    """`digits_exits.json`: how good each exit is, how sure an input must be to leave there, and how many do."""
    engine = Engine.open(load_model_file(folder / "digits.onnx"), cuts="none")
    pictures, labels = digits_test()
    samples = Samples({engine.model.inputs[0].name: pictures}, labels)
    write_json(folder / "digits_exits.json", measure_exits(engine, samples, data="digits"))


if __name__ == "__main__":
    main()

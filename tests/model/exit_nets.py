"""Small torch networks with exits, and pictures they can learn, for the tests of early exits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="the torch extra is not installed")

from isthmus.model.exits.branches import Branched, attach  # noqa: E402
from isthmus.model.exits.train import Labelled, Training, seeded  # noqa: E402

if TYPE_CHECKING:
    from torch import nn
else:
    nn = torch.nn

torch.set_num_threads(1)
EXAMPLE = torch.zeros(2, 3, 16, 16)
QUICK = Training(epochs=4, batch=16, rate=5e-3, seed=7)


class Basic(nn.Module):  # type: ignore[misc, unused-ignore]
    """A residual block as torchvision writes it: one ReLU used twice, in place."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Any) -> Any:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ResNet(nn.Module):  # type: ignore[misc, unused-ignore]
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(Basic(8, 8, 1), Basic(8, 8, 1))
        self.layer2 = nn.Sequential(Basic(8, 16, 2), Basic(16, 16, 1))
        self.layer3 = nn.Sequential(Basic(16, 32, 2), Basic(32, 32, 1))
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(32, 4)

    def forward(self, x: Any) -> Any:
        x = self.layer3(self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x))))))
        return self.fc(self.drop(x.mean((2, 3))))


def resnet() -> Any:
    with seeded(0):
        return ResNet()


def pictures(count: int, *, seed: int = 0, shape: tuple[int, int, int] = (3, 16, 16)) -> Labelled:
    """Four classes, told apart by the brightness of quarters."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    values = rng.random((count, *shape), dtype=np.float32)
    half = shape[1] // 2
    for i, label in enumerate(labels):
        top, left = half * (label // 2), half * (label % 2)
        values[i, :, top : top + half, left : left + half] += 1.0
    return Labelled(values, labels)


def branched(*, frozen: bool = False) -> Branched:
    with seeded(1):
        return attach(resnet(), ["layer1", "layer2.0"], EXAMPLE, frozen=frozen)


def same(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in one.items())


def copy_of(net: Any) -> dict[str, Any]:
    return {k: v.clone() for k, v in net.state_dict().items()}

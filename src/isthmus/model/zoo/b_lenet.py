"""B-LeNet: LeNet with one side branch (Teerapittayanon et al., BranchyNet, ICPR 2016, §IV)."""

from __future__ import annotations

from isthmus.model.types import Model
from isthmus.model.zoo.branchy import Layer, Layout, written

B_LENET = Layout(
    name="b_lenet",
    input=(1, 28, 28),
    trunk={
        "conv1": Layer("conv", 6, 5),
        "relu1": Layer("relu"),
        "pool1": Layer("pool", kernel=2),
        "conv2": Layer("conv", 16, 5),
        "relu2": Layer("relu"),
        "pool2": Layer("pool", kernel=2),
        "conv3": Layer("conv", 120, 5),
        "relu3": Layer("relu"),
        "pool3": Layer("pool", kernel=2),
        "fc1": Layer("fc", 84),
        "relu4": Layer("relu"),
        "fc2": Layer("fc", 10),
    },
    branches={
        "pool1": (Layer("conv", 10, 3), Layer("relu"), Layer("pool", kernel=2), Layer("fc", 10)),
    },
)
"""LeNet-5's three convolutions and two fully connected layers (LeCun et al. 1998, §II-B: 6, 16, 120 channels, 84
features), the side kept by padding and halved by pooling; the branch after the first convolution has one of each."""


def b_lenet(*, weights: bool = True, seed: int = 0) -> Model:
    """28 × 28 grey, two exits of 7 and 12 layers."""
    return written(B_LENET, weights=weights, seed=seed)

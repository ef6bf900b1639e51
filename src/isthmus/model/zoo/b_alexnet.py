"""B-AlexNet: Edgent's AlexNet for 32 × 32 pictures with five exits (Li, Zhou, Chen: Edge Intelligence, MECOMM 2018).

The chain and its channels follow the paper's Fig. 3, whose output sizes give 64, 128, 192, 192, 128 channels at 32, 16,
8, 8, 8 pixels. Of the branches the paper prints the convolutions and fully connected layers (Fig. 4) and the number of
layers to each exit: 12, 16, 19, 20, 22. The layers between are those of BranchyNet's branches, which fit that count.
"""

from __future__ import annotations

from isthmus.model.types import Model
from isthmus.model.zoo.branchy import Layer, Layout, written

_RELU, _POOL, _LRN, _DROP = Layer("relu"), Layer("pool", kernel=3), Layer("lrn"), Layer("drop")
_CONV, _ANSWER = Layer("conv", 32, 3), Layer("fc", 10)
_EARLY = (_CONV, _RELU, _POOL, _LRN, _CONV, _RELU, _POOL, _ANSWER)
_HIDDEN = 512

B_ALEXNET = Layout(
    name="b_alexnet",
    input=(3, 32, 32),
    trunk={
        "conv1": Layer("conv", 64, 5),
        "relu1": _RELU,
        "pool1": _POOL,
        "lrn1": _LRN,
        "conv2": Layer("conv", 128, 5),
        "relu2": _RELU,
        "pool2": _POOL,
        "lrn2": _LRN,
        "conv3": Layer("conv", 192, 3),
        "relu3": _RELU,
        "conv4": Layer("conv", 192, 3),
        "relu4": _RELU,
        "conv5": Layer("conv", 128, 3),
        "relu5": _RELU,
        "pool3": _POOL,
        "fc1": Layer("fc", _HIDDEN),
        "relu6": _RELU,
        "drop1": _DROP,
        "fc2": Layer("fc", _HIDDEN),
        "relu7": _RELU,
        "drop2": _DROP,
        "fc3": _ANSWER,
    },
    branches={
        "lrn1": _EARLY,
        "lrn2": _EARLY,
        "relu3": (_CONV, _RELU, _POOL, _LRN, _CONV, _RELU, _POOL, _DROP, _ANSWER),
        "relu4": (_CONV, _RELU, _POOL, _LRN, Layer("fc", 128), _RELU, _DROP, _ANSWER),
    },
)


def b_alexnet(*, weights: bool = True, seed: int = 0) -> Model:
    """32 × 32 colour, five exits of 12, 16, 19, 20 and 22 layers."""
    return written(B_ALEXNET, weights=weights, seed=seed)

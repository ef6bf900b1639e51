"""Ready-made networks with exits: B-LeNet and B-ResNet (BranchyNet, ICPR 2016), B-AlexNet (Edgent, MECOMM 2018)."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isthmus.errors import BadInput
from isthmus.model.exits.branches import Branched
from isthmus.model.zoo.b_alexnet import B_ALEXNET
from isthmus.model.zoo.b_lenet import B_LENET
from isthmus.model.zoo.branchy import DROP, LRN_ALPHA, LRN_BETA, LRN_BIAS, LRN_SIZE, Layer, Layout, pool_pad

Shape = tuple[int, int, int]
"""Channels, height, width."""
SMALLEST = 8
"""Pixels a side that these networks need."""


def b_lenet(shape: Shape = B_LENET.input, classes: int = 10) -> Branched:
    """LeNet with one side branch after its first convolution; the paper's is for 28 × 28 grey."""
    return _from_layout(B_LENET, shape, classes)


def b_alexnet(shape: Shape = B_ALEXNET.input, classes: int = 10) -> Branched:
    """Edgent's AlexNet with five exits of 12, 16, 19, 20 and 22 layers; the paper's is for 32 × 32 colour."""
    return _from_layout(B_ALEXNET, shape, classes)


def b_resnet(shape: Shape = (3, 32, 32), classes: int = 10, *, depth: int = 20) -> Branched:
    """A residual network for small pictures (He et al., CVPR 2016, §4.2) of 6 n + 2 layers with two side branches:
    after the first block (three convolutions and a fully connected layer) and after the first stage (two and one), as
    BranchyNet has them on ResNet-110. The default of 20 layers trains on one core."""
    if depth < 8 or (depth - 2) % 6:
        raise BadInput(f"a residual network of this kind has 6 n + 2 layers (8, 14, 20 … 110), not {depth}")
    _big_enough("b_resnet", shape)
    net = _Residual(shape[0], classes, (depth - 2) // 6)
    first = [_conv(16, 16, stride=2), _conv(16, 32, stride=2), _conv(32, 32)]
    second = [_conv(16, 32, stride=2), _conv(32, 32)]
    return Branched(net, {"stage1.0": _answering(first, 32, classes), "stage1": _answering(second, 32, classes)})


NETS: Mapping[str, Callable[..., Branched]] = {"b_lenet": b_lenet, "b_alexnet": b_alexnet, "b_resnet": b_resnet}


class Lrn(nn.Module):  # type: ignore[misc, unused-ignore]
    """Local response normalisation; one ONNX operator where it is exported, which torch would write as ten."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.onnx.is_in_onnx_export():
            attributes: dict[str, Any] = {"size": LRN_SIZE, "alpha": LRN_ALPHA, "beta": LRN_BETA, "bias": LRN_BIAS}
            return torch.onnx.ops.symbolic("LRN", (x,), attributes, dtype=x.dtype, shape=x.shape)
        return F.local_response_norm(x, LRN_SIZE, LRN_ALPHA, LRN_BETA, LRN_BIAS)


class _Block(nn.Module):  # type: ignore[misc, unused-ignore]
    """Two convolutions and a way around them; where the side is halved the way around takes every second pixel and
    fills up the channels with zeros (option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(inputs, outputs, stride=stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
        self.stride, self.more = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        around = x[:, :, :: self.stride, :: self.stride] if self.stride > 1 else x
        if self.more:
            around = F.pad(around, (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))
        return F.relu(self.second(self.first(x)) + around)


class _Residual(nn.Module):  # type: ignore[misc, unused-ignore]
    """Three stages of 16, 32 and 64 channels."""

    def __init__(self, channels: int, classes: int, blocks: int) -> None:
        super().__init__()
        self.stem = _conv(channels, 16)
        self.stage1 = _stage(16, 16, blocks)
        self.stage2 = _stage(16, 32, blocks)
        self.stage3 = _stage(32, 64, blocks)
        self.answer = nn.Linear(64, classes)

    def forward(self, image: Tensor) -> Tensor:
        features: Any = self.stage3(self.stage2(self.stage1(self.stem(image))))
        return self.answer(features.mean((2, 3)))  # type: ignore[no-any-return, unused-ignore]


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    first = _Block(inputs, outputs, 1 if inputs == outputs else 2)
    return nn.Sequential(first, *(_Block(outputs, outputs, 1) for _ in range(blocks - 1)))


def _conv(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def _answering(convolutions: list[nn.Sequential], channels: int, classes: int) -> nn.Sequential:
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def _from_layout(layout: Layout, shape: Shape, classes: int) -> Branched:
    _big_enough(layout.name, shape)
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    branches = {}
    at: tuple[int, ...] = shape
    last = len(layout.trunk) - 1
    for index, (name, layer) in enumerate(layout.trunk.items()):
        modules[name], at = _module(layer, at, classes if index == last else layer.size)
        if name in layout.branches:
            branches[name] = _branch(layout.branches[name], at, classes)
    return Branched(nn.Sequential(modules), branches)


def _branch(layers: tuple[Layer, ...], at: tuple[int, ...], classes: int) -> nn.Sequential:
    made = []
    for index, layer in enumerate(layers):
        module, at = _module(layer, at, classes if index == len(layers) - 1 else layer.size)
        made.append(module)
    return nn.Sequential(*made)


def _module(layer: Layer, at: tuple[int, ...], size: int) -> tuple[nn.Module, tuple[int, ...]]:
    """The torch module of a layer that reads a shape (without the batch), and the shape it gives."""
    if layer.kind == "conv":
        return nn.Conv2d(at[0], size, layer.kernel, padding=layer.kernel // 2), (size, *at[1:])
    if layer.kind == "pool":
        pad = pool_pad(layer)
        sides = tuple((side + 2 * pad - layer.kernel) // 2 + 1 for side in at[1:])
        return nn.MaxPool2d(layer.kernel, 2, padding=pad), (at[0], *sides)
    if layer.kind == "fc":
        linear = nn.Linear(math.prod(at), size)
        return (linear if len(at) == 1 else nn.Sequential(nn.Flatten(), linear)), (size,)
    plain: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "lrn": Lrn, "drop": lambda: nn.Dropout(DROP)}
    return plain[layer.kind](), at


def _big_enough(name: str, shape: Shape) -> None:
    if min(shape[1:]) < SMALLEST:
        raise BadInput(f"{name} needs pictures of at least {SMALLEST} × {SMALLEST}, not {shape[1]} × {shape[2]}")

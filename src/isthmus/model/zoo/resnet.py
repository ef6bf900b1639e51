"""ResNet (He, Zhang, Ren, Sun: Deep Residual Learning, CVPR 2016). Strides sit in the 3 × 3 convolutions."""

from __future__ import annotations

from collections.abc import Callable

from isthmus.model.types import Model
from isthmus.model.zoo.builder import Act, Net

_BRANCH = 0.5
"""Standard deviation a residual branch adds, so that a stage of many blocks does not grow without bound."""


def resnet18(*, weights: bool = True, seed: int = 0) -> Model:
    """Two basic blocks a stage; 11.7 M parameters, 1.8 GMACs at 224 × 224."""
    return _resnet("resnet18", (2, 2, 2, 2), _basic, weights=weights, seed=seed)


def resnet50(*, weights: bool = True, seed: int = 0) -> Model:
    """Bottleneck blocks 3-4-6-3; 25.5 M parameters, 4.1 GMACs at 224 × 224."""
    return _resnet("resnet50", (3, 4, 6, 3), _bottleneck, weights=weights, seed=seed)


def _resnet(
    name: str, depths: tuple[int, ...], branch: Callable[[Net, Act, int, int], Act], *, weights: bool, seed: int
) -> Model:
    net = Net(name, weights=weights, seed=seed)
    x = net.relu(net.conv(net.input("input", (3, 224, 224)), 64, 7, 2, pad=3))
    x = net.max_pool(x, 3, 2, pad=1)
    for stage, depth in enumerate(depths):
        for place in range(depth):
            stride = 2 if stage > 0 and place == 0 else 1
            inner = branch(net, x, 64 << stage, stride)
            shortcut = x if x.shape == inner.shape else net.conv(x, inner.channels, 1, stride, pad=0)
            x = net.block(net.relu(net.add(inner, shortcut)))
    return net.model([net.linear(net.flatten(net.global_pool(x)), 1000, name="logits")])


def _basic(net: Net, x: Act, width: int, stride: int) -> Act:
    inner = net.relu(net.conv(x, width, 3, stride, pad=1))
    return net.conv(inner, width, 3, pad=1, gain=_BRANCH)


def _bottleneck(net: Net, x: Act, width: int, stride: int) -> Act:
    inner = net.relu(net.conv(x, width, 1))
    inner = net.relu(net.conv(inner, width, 3, stride, pad=1))
    return net.conv(inner, 4 * width, 1, gain=_BRANCH)

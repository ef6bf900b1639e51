"""ResNet (He, Zhang, Ren, Sun: Deep Residual Learning, CVPR 2016) and ResNeXt (Xie, Girshick, Dollár, Tu, He:
Aggregated Residual Transformations for Deep Neural Networks, CVPR 2017). Strides sit in the 3 × 3 convolutions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from isthmus.model.types import Model
from isthmus.model.zoo.builder import Act, Net

_BRANCH = 0.5
"""Standard deviation a residual branch adds, so that a stage of many blocks does not grow without bound."""
Branch = Callable[[Net, Act, int, int], Act]
"""What a residual block adds to what it reads: network, input, width of the stage, stride."""


def resnet18(*, weights: bool = True, seed: int = 0) -> Model:
    """Two basic blocks a stage; 11.7 M parameters, 1.8 GMACs at 224 × 224."""
    return _resnet("resnet18", (2, 2, 2, 2), _basic, weights=weights, seed=seed)


def resnet50(*, weights: bool = True, seed: int = 0) -> Model:
    """Bottleneck blocks 3-4-6-3; 25.5 M parameters, 4.1 GMACs at 224 × 224."""
    return _resnet("resnet50", (3, 4, 6, 3), bottleneck, weights=weights, seed=seed)


def resnext50_32x4d(*, weights: bool = True, seed: int = 0) -> Model:
    """ResNet-50 whose 3 × 3 convolutions are twice as wide, in 32 groups (table 1 of the paper); 25.0 M parameters,
    4.2 GMACs at 224 × 224 (torchvision: 25,028,904 parameters before its batch norms are folded)."""
    grouped = partial(bottleneck, wider=2, groups=32)
    return _resnet("resnext50_32x4d", (3, 4, 6, 3), grouped, weights=weights, seed=seed)


def _resnet(name: str, depths: tuple[int, ...], branch: Branch, *, weights: bool, seed: int) -> Model:
    net = Net(name, weights=weights, seed=seed)
    x = stages(net, net.input("input", (3, 224, 224)), depths, branch)[-1]
    return net.model([net.linear(net.flatten(net.global_pool(x)), 1000, name="logits")])


def stages(net: Net, x: Act, depths: tuple[int, ...], branch: Branch) -> list[Act]:
    """Everything before the classifier: stem and residual stages. The outputs of the stages, finest first; those of all
    blocks are recorded."""
    x = net.relu(net.conv(x, 64, 7, 2, pad=3))
    x = net.max_pool(x, 3, 2, pad=1)
    ends = []
    for stage, depth in enumerate(depths):
        for place in range(depth):
            stride = 2 if stage > 0 and place == 0 else 1
            inner = branch(net, x, 64 << stage, stride)
            shortcut = x if x.shape == inner.shape else net.conv(x, inner.channels, 1, stride, pad=0)
            x = net.block(net.relu(net.add(inner, shortcut)))
        ends.append(x)
    return ends


def _basic(net: Net, x: Act, width: int, stride: int) -> Act:
    inner = net.relu(net.conv(x, width, 3, stride, pad=1))
    return net.conv(inner, width, 3, pad=1, gain=_BRANCH)


def bottleneck(net: Net, x: Act, width: int, stride: int, *, wider: int = 1, groups: int = 1) -> Act:
    """1 × 1 down to `wider` · `width`, 3 × 3 in `groups`, 1 × 1 up to 4 · `width`."""
    inner = net.relu(net.conv(x, wider * width, 1))
    inner = net.relu(net.conv(inner, wider * width, 3, stride, pad=1, groups=groups))
    return net.conv(inner, 4 * width, 1, gain=_BRANCH)

"""MNASNet (Tan, Chen, Pang, Vasudevan, Sandler, Howard, Le: MnasNet: Platform-Aware Neural Architecture Search for
Mobile, CVPR 2019): the variant B1, without squeeze-and-excitation, as torchvision builds it."""

from __future__ import annotations

from isthmus.model.types import Model
from isthmus.model.zoo.builder import Act, Net

_STAGES = (
    (3, 24, 3, 2, 3),
    (3, 40, 3, 2, 5),
    (6, 80, 3, 2, 5),
    (6, 96, 2, 1, 3),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
"""Figure 7 of the paper: expansion, output channels, repeats, first stride, kernel."""


def mnasnet1_0(*, weights: bool = True, seed: int = 0) -> Model:
    """4.4 M parameters, 0.31 GMACs at 224 × 224 (torchvision: 4,383,312 parameters before its batch norms are
    folded)."""
    net = Net("mnasnet1_0", weights=weights, seed=seed)
    x = net.relu(net.conv(net.input("input", (3, 224, 224)), 32, 3, 2, pad=1))
    x = net.relu(net.conv(x, 32, 3, pad=1, groups=32))
    x = net.block(net.conv(x, 16, 1))
    for expansion, channels, repeats, first_stride, kernel in _STAGES:
        for place in range(repeats):
            x = net.block(_block(net, x, expansion, channels, first_stride if place == 0 else 1, kernel))
    x = net.relu(net.conv(x, 1280, 1))
    return net.model([net.linear(net.flatten(net.global_pool(x)), 1000, name="logits")])


def _block(net: Net, x: Act, expansion: int, channels: int, stride: int, kernel: int) -> Act:
    wide = x.channels * expansion
    inner = net.relu(net.conv(x, wide, 1))
    inner = net.relu(net.conv(inner, wide, kernel, stride, pad=kernel // 2, groups=wide))
    joins = stride == 1 and x.channels == channels
    inner = net.conv(inner, channels, 1, gain=0.5 if joins else 1.0)
    return net.add(x, inner) if joins else inner

"""MobileNetV2 (Sandler, Howard, Zhu, Zhmoginov, Chen: Inverted Residuals and Linear Bottlenecks, CVPR 2018)."""

from __future__ import annotations

from isthmus.model.types import Model
from isthmus.model.zoo.builder import Act, Net

_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Table 2 of the paper: expansion, output channels, repeats, first stride."""


def mobilenet_v2(*, weights: bool = True, seed: int = 0) -> Model:
    """3.5 M parameters, 0.30 GMACs at 224 × 224."""
    net = Net("mobilenet_v2", weights=weights, seed=seed)
    x = net.relu6(net.conv(net.input("input", (3, 224, 224)), 32, 3, 2, pad=1))
    for expansion, channels, repeats, first_stride in _STAGES:
        for place in range(repeats):
            x = net.block(_inverted_residual(net, x, expansion, channels, first_stride if place == 0 else 1))
    x = net.relu6(net.conv(x, 1280, 1))
    return net.model([net.linear(net.flatten(net.global_pool(x)), 1000, name="logits")])


def _inverted_residual(net: Net, x: Act, expansion: int, channels: int, stride: int) -> Act:
    wide = x.channels * expansion
    inner = x if expansion == 1 else net.relu6(net.conv(x, wide, 1))
    inner = net.relu6(net.conv(inner, wide, 3, stride, pad=1, groups=wide))
    joins = stride == 1 and x.channels == channels
    inner = net.conv(inner, channels, 1, gain=0.5 if joins else 1.0)
    return net.add(x, inner) if joins else inner

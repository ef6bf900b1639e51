"""VGG (Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015)."""

from __future__ import annotations

from isthmus.model.types import Model
from isthmus.model.zoo.builder import Net

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Configuration D: channels and convolutions of each stage."""


def vgg16(*, weights: bool = True, seed: int = 0) -> Model:
    """138.4 M parameters, 15.5 GMACs at 224 × 224."""
    net = Net("vgg16", weights=weights, seed=seed)
    x = net.input("input", (3, 224, 224))
    for channels, count in _STAGES:
        for _ in range(count):
            x = net.relu(net.conv(x, channels, 3, pad=1))
        x = net.block(net.max_pool(x, 2, 2))
    x = net.flatten(x)
    for _ in range(2):
        x = net.relu(net.linear(x, 4096))
    return net.model([net.linear(x, 1000, name="logits")])

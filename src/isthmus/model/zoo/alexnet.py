"""AlexNet, the one-tower form (Krizhevsky: One weird trick for parallelizing convolutional neural networks, 2014)."""

from __future__ import annotations

from isthmus.model.types import Model
from isthmus.model.zoo.builder import Net


def alexnet(*, weights: bool = True, seed: int = 0) -> Model:
    """61.1 M parameters, 0.71 GMACs at 224 × 224."""
    net = Net("alexnet", weights=weights, seed=seed)
    x = net.relu(net.conv(net.input("input", (3, 224, 224)), 64, 11, 4, pad=2))
    x = net.block(net.max_pool(x, 3, 2))
    x = net.relu(net.conv(x, 192, 5, pad=2))
    x = net.block(net.max_pool(x, 3, 2))
    for channels in (384, 256, 256):
        x = net.block(net.relu(net.conv(x, channels, 3, pad=1)))
    x = net.flatten(net.block(net.max_pool(x, 3, 2)))
    for _ in range(2):
        x = net.relu(net.linear(x, 4096))
    return net.model([net.linear(x, 1000, name="logits")])

"""The smallest network with everything that matters: a convolution, a pooling that narrows, a classifier."""

from __future__ import annotations

from isthmus.model.types import Model
from isthmus.model.zoo.builder import Net


def tiny(*, weights: bool = True, seed: int = 0) -> Model:
    """Five nodes on a 1 × 8 × 8 picture, four classes."""
    net = Net("tiny", weights=weights, seed=seed)
    x = net.relu(net.conv(net.input("input", (1, 8, 8)), 8, 3))
    x = net.block(net.max_pool(x, 4, 4))
    return net.model([net.linear(net.flatten(x), 4, name="logits")])

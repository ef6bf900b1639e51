"""GoogLeNet (Szegedy et al.: Going Deeper with Convolutions, CVPR 2015), without the auxiliary classifiers and without
local response normalisation, as it is built since batch norm."""

from __future__ import annotations

from isthmus.model.types import Model
from isthmus.model.zoo.builder import Act, Net

_STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
"""Table 1 of the paper: 1×1, 3×3 reduce, 3×3, 5×5 reduce, 5×5, pool projection; a pooling between the stages."""


def googlenet(*, weights: bool = True, seed: int = 0) -> Model:
    """7.0 M parameters, 1.6 GMACs at 224 × 224. Poolings round up."""
    net = Net("googlenet", weights=weights, seed=seed)
    x = net.relu(net.conv(net.input("input", (3, 224, 224)), 64, 7, 2, pad=3))
    x = net.max_pool(x, 3, 2, ceil=True)
    x = net.relu(net.conv(x, 64, 1))
    x = net.relu(net.conv(x, 192, 3))
    for stage in _STAGES:
        x = net.max_pool(x, 3, 2, ceil=True)
        for widths in stage:
            x = net.block(_inception(net, x, widths))
    return net.model([net.linear(net.flatten(net.global_pool(x)), 1000, name="logits")])


def _inception(net: Net, x: Act, widths: tuple[int, ...]) -> Act:
    one, three_reduce, three, five_reduce, five, pool = widths
    return net.concat(
        [
            net.relu(net.conv(x, one, 1)),
            net.relu(net.conv(net.relu(net.conv(x, three_reduce, 1)), three, 3)),
            net.relu(net.conv(net.relu(net.conv(x, five_reduce, 1)), five, 5)),
            net.relu(net.conv(net.max_pool(x, 3, 1, pad=1), pool, 1)),
        ]
    )

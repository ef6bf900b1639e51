"""EfficientNet B0 to B7 (Tan, Le: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from isthmus.model.types import Model
from isthmus.model.zoo.mbconv import Plan, Stage, build, rounded

_STAGES = (
    Stage(1, 16, 1, 1),
    Stage(2, 24, 6, 2),
    Stage(2, 40, 6, 2, kernel=5),
    Stage(3, 80, 6, 2),
    Stage(3, 112, 6, 1, kernel=5),
    Stage(4, 192, 6, 2, kernel=5),
    Stage(1, 320, 6, 1),
)
"""Table 1 of the paper."""
_SCALES = (
    (1.0, 1.0, 224),
    (1.0, 1.1, 240),
    (1.1, 1.2, 260),
    (1.2, 1.4, 300),
    (1.4, 1.8, 380),
    (1.6, 2.2, 456),
    (1.8, 2.6, 528),
    (2.0, 3.1, 600),
)
"""Width, depth and resolution of B0 to B7 in the authors' code."""


def efficientnet(size: int, *, weights: bool = True, seed: int = 0) -> Model:
    """EfficientNet-B`size` at its own resolution; B0 has 5.3 M parameters and 0.39 GMACs."""
    width, depth, side = _SCALES[size]
    stages = tuple(s.scaled(width, depth) for s in _STAGES)
    plan = Plan(side, rounded(32 * width), rounded(1280 * width), stages)
    return build(f"efficientnet_b{size}", plan, weights=weights, seed=seed)


EFFICIENTNETS: dict[str, Callable[..., Model]] = {
    f"efficientnet_b{size}": partial(efficientnet, size) for size in range(len(_SCALES))
}

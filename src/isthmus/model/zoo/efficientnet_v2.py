"""EfficientNetV2 B0 to B3, S, M, L (Tan, Le: EfficientNetV2: Smaller Models and Faster Training, ICML 2021).

Resolutions are those of evaluation (384 for S, 480 for M and L).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from isthmus.model.types import Model
from isthmus.model.zoo.mbconv import Plan, Stage, build, rounded


def _fused(repeats: int, channels: int, expansion: int, stride: int) -> Stage:
    return Stage(repeats, channels, expansion, stride, fused=True, squeeze=0.0)


_BASE = (
    _fused(1, 16, 1, 1),
    _fused(2, 32, 4, 2),
    _fused(2, 48, 4, 2),
    Stage(3, 96, 4, 2),
    Stage(5, 112, 6, 1),
    Stage(8, 192, 6, 2),
)
_S = (
    _fused(2, 24, 1, 1),
    _fused(4, 48, 4, 2),
    _fused(4, 64, 4, 2),
    Stage(6, 128, 4, 2),
    Stage(9, 160, 6, 1),
    Stage(15, 256, 6, 2),
)
_M = (
    _fused(3, 24, 1, 1),
    _fused(5, 48, 4, 2),
    _fused(5, 80, 4, 2),
    Stage(7, 160, 4, 2),
    Stage(14, 176, 6, 1),
    Stage(18, 304, 6, 2),
    Stage(5, 512, 6, 1),
)
_L = (
    _fused(4, 32, 1, 1),
    _fused(7, 64, 4, 2),
    _fused(7, 96, 4, 2),
    Stage(10, 192, 4, 2),
    Stage(19, 224, 6, 1),
    Stage(25, 384, 6, 2),
    Stage(7, 640, 6, 1),
)


def _scaled(width: float, depth: float, side: int) -> Plan:
    stages = tuple(s.scaled(width, depth) for s in _BASE)
    return Plan(side, rounded(32 * width), rounded(1280 * width), stages)


_PLANS = {
    "b0": _scaled(1.0, 1.0, 224),
    "b1": _scaled(1.0, 1.1, 240),
    "b2": _scaled(1.1, 1.2, 260),
    "b3": _scaled(1.2, 1.4, 300),
    "s": Plan(384, 24, 1280, _S),
    "m": Plan(480, 24, 1280, _M),
    "l": Plan(480, 32, 1280, _L),
}


def efficientnet_v2(size: str, *, weights: bool = True, seed: int = 0) -> Model:
    """EfficientNetV2-`size` ("b0" … "b3", "s", "m", "l"); B0 has 7.2 M parameters, S 21.5 M, L 119 M."""
    return build(f"efficientnet_v2_{size}", _PLANS[size], weights=weights, seed=seed)


EFFICIENTNETS_V2: dict[str, Callable[..., Model]] = {
    f"efficientnet_v2_{size}": partial(efficientnet_v2, size) for size in _PLANS
}

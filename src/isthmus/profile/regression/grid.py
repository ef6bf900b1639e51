"""The shapes that laws are fitted on: a seeded sample of what convolutional networks are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from isthmus.profile.regression.specimens import Spec
from isthmus.profile.regression.types import LayerType

_SIZES = (7, 8, 14, 16, 28, 32, 56, 64, 112)
_MOST_MACS = 4e8
_MOST_WEIGHTS = 4.8e6
_MOST_ELEMENTS = 1.7e6
_MODEL_WEIGHTS = 16e6
_MODEL_SPECIMENS = 14
_Rng = np.random.Generator

_MAPS: tuple[LayerType, ...] = ("relu", "clip", "sigmoid", "silu", "activation", "batch_norm", "lrn", "add", "mul")
_SHARES: dict[LayerType, float] = {"convolution": 5.0, "depthwise_convolution": 1.5, "fully_connected": 1.0}


def shape_grid(per_type: int, *, seed: int = 0) -> list[Spec]:
    """About `per_type` shapes of every type (of convolutions five times as many), the same for the same seed."""
    rng = np.random.default_rng(seed)
    found: dict[Spec, None] = {}
    for kind, draw in _DRAWS.items():
        wanted = len(found) + round(per_type * _SHARES.get(kind, 0.8))
        tries = 0
        while len(found) < wanted and tries < 100 * per_type:
            tries += 1
            spec = draw(rng, kind)
            if _fits(spec):
                found.setdefault(spec)
    return list(found)


def grouped(specs: Sequence[Spec], *, seed: int = 0) -> list[list[Spec]]:
    """The shapes in models of bounded size, all types mixed but fully connected layers.

    Those stand together in models of about as many weights as a model may have, more than a cache holds: what reads
    every number once is to find its weights in memory, as it does in a network, whoever stands beside it.
    """
    rng = np.random.default_rng(seed)
    products = [s for s in specs if s.type == "fully_connected"]
    others = [s for s in specs if s.type != "fully_connected"]
    return [*_dealt(products, rng), *_filled(others, rng)]


def _dealt(specs: Sequence[Spec], rng: _Rng) -> list[list[Spec]]:
    """Groups of equal weight, as full as can be: the heaviest first, by and large, each to the lightest group."""
    drawn = rng.uniform(0.7, 1.3, len(specs))
    order = np.argsort([-s.weights * d for s, d in zip(specs, drawn, strict=True)])
    groups: list[list[Spec]] = [[] for _ in range(max(1, round(sum(s.weights for s in specs) / _MODEL_WEIGHTS)))]
    for i in order:
        min(groups, key=lambda g: sum(s.weights for s in g)).append(specs[i])
    return [group for group in groups if group]


def _filled(specs: Sequence[Spec], rng: _Rng) -> list[list[Spec]]:
    """Groups in the order of chance, each until it is full."""
    groups: list[list[Spec]] = []
    weights = 0.0
    for i in rng.permutation(len(specs)):
        spec = specs[i]
        if not groups or len(groups[-1]) == _MODEL_SPECIMENS or weights + spec.weights > _MODEL_WEIGHTS:
            groups.append([])
            weights = 0.0
        groups[-1].append(spec)
        weights += spec.weights
    return groups


def _fits(spec: Spec) -> bool:
    places = (spec.size // spec.stride) ** 2
    most = 2e7 if spec.type == "fully_connected" else _MOST_WEIGHTS
    return (
        spec.weights <= most
        and spec.weights * places <= _MOST_MACS
        and spec.channels * spec.size**2 * max(1, spec.filters if spec.type == "concat" else 1) <= _MOST_ELEMENTS
        and max(spec.filters, 1) * places <= _MOST_ELEMENTS
        and spec.stride <= spec.size
    )


def _convolution(rng: _Rng, kind: LayerType) -> Spec:
    draw = rng.random()
    followers = int(rng.choice([0, 0, 1, 1, 2, 3, 3]))
    single = 0 if followers == 2 else followers  # without a second map there is nothing to add
    if draw < 0.14:  # the first layer of a network reads a picture
        kernel = int(rng.choice([3, 5, 7, 11]))
        size = int(rng.choice([32, 64, 96, 112, 160, 224]))
        stride = int(rng.choice([1, 2, 2, 4]))
        return Spec(kind, 3, size, int(rng.choice([16, 24, 32, 40, 48, 64, 96])), kernel, stride, 1, single)
    if draw < 0.26:  # squeeze and excite: one place
        return Spec(kind, _channels(rng, 16, 1152), 1, _channels(rng, 8, 1152), followers=single)
    kernel = int(rng.choice([1, 1, 1, 3, 3, 3, 5]))
    stride = int(rng.choice([1, 1, 1, 2]))
    channels, filters = _channels(rng, 16, 2048), _channels(rng, 16, 2048)
    groups = int(rng.choice([2, 4, 32])) if rng.random() < 0.06 else 1
    groups = groups if channels % (8 * groups) == filters % (8 * groups) == 0 else 1
    return Spec(kind, channels, _size(rng), filters, kernel, stride, groups, followers)


def _depthwise(rng: _Rng, kind: LayerType) -> Spec:
    kernel, stride = int(rng.choice([3, 3, 5, 7])), int(rng.choice([1, 1, 2]))
    return Spec(kind, _channels(rng, 16, 1536), _size(rng), 0, kernel, stride, followers=int(rng.choice([0, 1, 3])))


def _product(rng: _Rng, kind: LayerType) -> Spec:
    outputs = int(rng.choice([10, 100, 1000])) if rng.random() < 0.3 else _channels(rng, 16, 4096)
    return Spec(kind, _channels(rng, 64, 9216), 1, outputs, followers=int(rng.choice([0, 1])))


def _map(rng: _Rng, kind: LayerType) -> Spec:
    return Spec(kind, _channels(rng, 16, 1024), _size(rng))


def _pooling(rng: _Rng, kind: LayerType) -> Spec:
    return Spec(
        kind, _channels(rng, 16, 1024), _size(rng), 0, int(rng.choice([2, 3, 3, 5])), int(rng.choice([1, 2, 2]))
    )


def _concat(rng: _Rng, kind: LayerType) -> Spec:
    return Spec(kind, _channels(rng, 16, 384), _size(rng), int(rng.choice([2, 3, 4])))


def _row(rng: _Rng, kind: LayerType) -> Spec:
    return Spec(kind, round(float(np.exp(rng.uniform(np.log(64), np.log(262144))))))


def _channels(rng: _Rng, low: int, high: int) -> int:
    """Even on a log scale, multiples of 8."""
    return max(8, 8 * round(float(np.exp(rng.uniform(np.log(low), np.log(high)))) / 8))


def _size(rng: _Rng) -> int:
    return int(rng.choice(_SIZES))


_DRAWS: dict[LayerType, Callable[[_Rng, LayerType], Spec]] = {
    "convolution": _convolution,
    "depthwise_convolution": _depthwise,
    "fully_connected": _product,
    **dict.fromkeys(_MAPS, _map),
    "max_pooling": _pooling,
    "average_pooling": _pooling,
    "global_pooling": _map,
    "gate": _map,
    "concat": _concat,
    "softmax": _row,
    "reshape": _map,
    "copy": _map,
}

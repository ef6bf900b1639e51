"""Chains with side branches, as a list of layers: one description for the ONNX written here and for the torch net that
`isthmus.model.exits` trains. The pattern of BranchyNet (Teerapittayanon et al., ICPR 2016) and of Edgent's AlexNet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from isthmus.model.types import Model
from isthmus.model.zoo.builder import Act, Net

Kind = Literal["conv", "relu", "pool", "lrn", "drop", "fc"]
LRN_SIZE, LRN_ALPHA, LRN_BETA, LRN_BIAS = 5, 1e-4, 0.75, 2.0
"""Krizhevsky et al., ImageNet Classification with Deep CNNs (2012), §3.3, α over the size of the window as ONNX and
torch have it."""
DROP = 0.5


@dataclass(frozen=True)
class Layer:
    """One layer. conv: `size` filters of `kernel`², stride 1, the side kept, with bias. pool: the largest of `kernel`²,
    every second pixel. fc: `size` outputs of the flattened input. The others need no numbers."""

    kind: Kind
    size: int = 0
    kernel: int = 0


@dataclass(frozen=True)
class Layout:
    """A chain and its branches: layer name → layer, in running order; branches by the layer they read.

    The outputs are `exit1` … in running order; the last is the end of the chain.
    """

    name: str
    input: tuple[int, int, int]
    trunk: Mapping[str, Layer]
    branches: Mapping[str, tuple[Layer, ...]]

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(f"exit{i + 1}" for i in range(len(self.branches) + 1))


def pool_pad(layer: Layer) -> int:
    """Padding of a pool: none for 2 × 2, one pixel for 3 × 3, so that the side is halved."""
    return (layer.kernel - 1) // 2


def written(layout: Layout, *, weights: bool, seed: int) -> Model:
    """The network as ONNX with seeded weights; dropout stands there and does nothing, as in every trained network."""
    net = Net(layout.name, weights=weights, seed=seed)
    names = iter(layout.outputs)
    exits = []
    x = net.input("input", layout.input)
    last = len(layout.trunk) - 1
    for index, (name, layer) in enumerate(layout.trunk.items()):
        x = _add(net, x, layer, layout.outputs[-1] if index == last else "")
        if name in layout.branches:
            exits.append(_branch(net, net.block(x), layout.branches[name], next(names)))
    return net.model([*exits, x])


def _branch(net: Net, x: Act, layers: tuple[Layer, ...], output: str) -> Act:
    for layer in layers:
        x = _add(net, x, layer, output if layer is layers[-1] else "")
    return x


def _add(net: Net, x: Act, layer: Layer, name: str) -> Act:
    if layer.kind == "conv":
        return net.conv(x, layer.size, layer.kernel)
    if layer.kind == "relu":
        return net.relu(x)
    if layer.kind == "pool":
        return net.max_pool(x, layer.kernel, 2, pad=pool_pad(layer))
    if layer.kind == "lrn":
        return net.lrn(x, LRN_SIZE, alpha=LRN_ALPHA, beta=LRN_BETA, bias=LRN_BIAS)
    if layer.kind == "drop":
        return net.dropout(x)
    return net.linear(x if len(x.shape) == 1 else net.flatten(x), layer.size, name=name)

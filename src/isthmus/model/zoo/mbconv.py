"""The building blocks that both EfficientNets share: MBConv, Fused-MBConv, the scaling of widths and depths."""

from __future__ import annotations

import math
from dataclasses import dataclass

from isthmus.model.types import Model
from isthmus.model.zoo.builder import Act, Net
from isthmus.model.zoo.statistics import Spread

_BRANCH = 0.5
"""Standard deviation a residual branch adds: twenty-five blocks of one stage stay within a factor of three."""

_ACTIVE = 2.0
"""Standard deviation before a SiLU. At 1 the logarithm of an error grows by a tenth in each SiLU, at 2 by a thirtieth:
a seed that was not measured stays within a factor of a few over B7's 163 of them."""
_SQUEEZE, _GATE = 0.5, 0.25
"""Standard deviations of the two layers of squeeze-and-excitation: weak, because their few pooled values differ so much
from seed to seed that strong gates would feed on each other."""
_SQUEEZED = Spread(0.1, 0.3)
"""What the second of them is taken to read: SiLU of the first."""


@dataclass(frozen=True)
class Stage:
    """A run of equal blocks; only the first has the stride. `squeeze` is the share of the input channels that
    squeeze-and-excitation keeps (0: none)."""

    repeats: int
    channels: int
    expansion: int
    stride: int
    kernel: int = 3
    fused: bool = False
    squeeze: float = 0.25

    def scaled(self, width: float, depth: float) -> Stage:
        """The same stage in a wider and deeper network."""
        return Stage(
            math.ceil(self.repeats * depth), rounded(self.channels * width),
            self.expansion, self.stride, self.kernel, self.fused, self.squeeze,
        )  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """A whole EfficientNet: input side, channels of stem and head, stages."""

    side: int
    stem: int
    head: int
    stages: tuple[Stage, ...]


def rounded(channels: float, step: int = 8) -> int:
    """The nearest multiple of `step` that loses no more than a tenth.

    >>> [rounded(c) for c in (35.2, 52.8, 105.6)]
    [32, 56, 104]
    """
    near = max(step, int(channels + step / 2) // step * step)
    return near + step if near < 0.9 * channels else near


def build(name: str, plan: Plan, *, weights: bool, seed: int) -> Model:
    """Stem, blocks, head. "Same" padding throughout; the blocks' outputs are recorded."""
    net = Net(name, weights=weights, seed=seed)
    x = net.silu(net.conv(net.input("input", (3, plan.side, plan.side)), plan.stem, 3, 2, gain=_ACTIVE))
    for stage in plan.stages:
        for place in range(stage.repeats):
            x = net.block(_block(net, x, stage, stage.stride if place == 0 else 1))
    x = net.global_pool(net.silu(net.conv(x, plan.head, 1, gain=_ACTIVE)))
    return net.model([net.linear(net.flatten(x), 1000, name="logits")])


def _block(net: Net, x: Act, stage: Stage, stride: int) -> Act:
    joins = stride == 1 and x.channels == stage.channels
    gain = _BRANCH if joins else 1.0
    inner = (_fused if stage.fused else _mbconv)(net, x, stage, stride, gain)
    return net.add(x, inner) if joins else inner


def _mbconv(net: Net, x: Act, stage: Stage, stride: int, gain: float) -> Act:
    """Expand 1×1, depthwise, squeeze-and-excitation, project 1×1 without activation."""
    wide = x.channels * stage.expansion
    inner = x if stage.expansion == 1 else net.silu(net.conv(x, wide, 1, gain=_ACTIVE))
    inner = net.silu(net.conv(inner, wide, stage.kernel, stride, groups=wide, gain=_ACTIVE))
    if stage.squeeze:
        few = max(1, int(x.channels * stage.squeeze))
        gate = net.silu(net.conv(net.global_pool(inner), few, 1, gain=_SQUEEZE))
        inner = net.mul(inner, net.sigmoid(net.conv(gate, wide, 1, gain=_GATE, reads=_SQUEEZED)))
    return net.conv(inner, stage.channels, 1, gain=gain)


def _fused(net: Net, x: Act, stage: Stage, stride: int, gain: float) -> Act:
    """Expand with a full convolution, project 1×1; a single convolution and its activation where nothing expands."""
    if stage.expansion == 1:
        return net.silu(net.conv(x, stage.channels, stage.kernel, stride, gain=gain))
    inner = net.silu(net.conv(x, x.channels * stage.expansion, stage.kernel, stride, gain=_ACTIVE))
    return net.conv(inner, stage.channels, 1, gain=gain)

"""Writing a network straight as ONNX: one method an operator, shapes followed along, weights seeded.

Convolutions carry a bias and no batch norm: they are what is left once batch norm is folded. Weights are scaled layer
by layer so that every layer's output has about unit variance (see `weights` and `statistics`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from isthmus.errors import BadInput
from isthmus.model.blocks import write_blocks
from isthmus.model.types import IR_VERSION, OPSET, Model, Signature
from isthmus.model.zoo.statistics import Spread, statistics
from isthmus.model.zoo.weights import filters, tap_shares

BATCH = "N"
Pads = tuple[int, int, int, int]
"""top, left, bottom, right"""
_FLAT = np.ones(1, np.float32)


@dataclass(frozen=True)
class Act:
    """An activation while a network is written: its name, and its shape without the batch."""

    name: str
    shape: tuple[int, ...]

    @property
    def channels(self) -> int:
        return self.shape[0]


class Net:
    """A network being written. Methods take and give `Act`s; `model` closes it.

    `weights=False` writes initializers with dims and no data. The weights depend on the seed, the name (by which the
    statistics are found) and the order of the calls only.
    """

    def __init__(self, name: str, *, weights: bool = True, seed: int = 0) -> None:
        self.name = name
        self.weights = weights
        self._proto = onnx.ModelProto(ir_version=IR_VERSION, producer_name="isthmus")
        self._proto.opset_import.add(version=OPSET)
        self.graph = self._proto.graph
        self.graph.name = name
        self._rng = np.random.default_rng(seed)
        self._acts: dict[str, Act] = {}
        self._inputs: list[Act] = []
        self._shared: dict[str, str] = {}
        self._blocks: list[str] = []
        self._layers = 0

    def input(self, name: str, shape: tuple[int, ...]) -> Act:
        """A float32 input (batch added in front), expected to be standardised: mean 0, variance 1."""
        act = Act(name, shape)
        self._inputs.append(act)
        return act

    def conv(
        self,
        x: Act,
        channels: int,
        kernel: int,
        stride: int = 1,
        *,
        pad: int | Pads | None = None,
        groups: int = 1,
        gain: float = 1.0,
        reads: Spread | None = None,
        like: Act | None = None,
        name: str = "",
    ) -> Act:
        """Convolution with bias. `pad=None` is "same" as TensorFlow has it: output = ceil(input / stride), the odd
        pixel at the bottom right. The output's standard deviation is about `gain`, given the measured spread of `x` or
        the spread it `reads`. `like` is the output of another convolution, whose weights this one shares."""
        pads = _same(x.shape[1:], kernel, stride) if pad is None else _pads(pad)
        if x.channels % groups or channels % groups:
            raise BadInput(f"{x.channels} → {channels} channels cannot be split into {groups} groups")
        name = name or self._fresh("conv")
        dims = (channels, x.channels // groups, kernel, kernel)
        if like is None:
            shares = tap_shares(x.shape[1:], kernel, stride, pads)
            weight, bias = self._filters(name, dims, reads or self.spread(x), gain, shares)
        else:
            weight, bias = self._shared_filters(like, dims)
        sizes = [
            (size + low + high - kernel) // stride + 1
            for size, low, high in zip(x.shape[1:], pads[:2], pads[2:], strict=True)
        ]
        return self._add(
            "Conv", [x.name, weight, bias], (channels, *sizes), name,
            kernel_shape=[kernel, kernel], strides=[stride, stride], pads=list(pads), group=groups,
        )  # fmt: skip

    def linear(self, x: Act, features: int, *, gain: float = 1.0, name: str = "") -> Act:
        """Fully connected layer on a flat activation (Gemm, weights output × input)."""
        name = name or self._fresh("fc")
        weight, bias = self._filters(name, (features, x.channels), self.spread(x), gain, _FLAT)
        return self._add("Gemm", [x.name, weight, bias], (features,), name, transB=1)

    def relu(self, x: Act) -> Act:
        return self._add("Relu", [x.name], x.shape)

    def leaky_relu(self, x: Act, slope: float) -> Act:
        """x where it is positive, `slope` · x elsewhere."""
        return self._add("LeakyRelu", [x.name], x.shape, alpha=slope)

    def relu6(self, x: Act) -> Act:
        """Clip to [0, 6]."""
        return self._add("Clip", [x.name, self._scalar("zero", 0.0), self._scalar("six", 6.0)], x.shape)

    def sigmoid(self, x: Act) -> Act:
        return self._add("Sigmoid", [x.name], x.shape)

    def silu(self, x: Act) -> Act:
        """x · sigmoid(x), as the two nodes that exporters write."""
        return self.mul(x, self.sigmoid(x))

    def mul(self, x: Act, gate: Act) -> Act:
        """x · gate, the gate broadcast over positions."""
        return self._add("Mul", [x.name, gate.name], x.shape)

    def add(self, a: Act, b: Act) -> Act:
        if a.shape != b.shape:
            raise BadInput(f"{self.name}: cannot add {a.name} {a.shape} and {b.name} {b.shape}")
        return self._add("Add", [a.name, b.name], a.shape)

    def concat(self, parts: Sequence[Act]) -> Act:
        """Along the channels."""
        shape = (sum(p.channels for p in parts), *parts[0].shape[1:])
        return self._add("Concat", [p.name for p in parts], shape, axis=1)

    def max_pool(self, x: Act, kernel: int, stride: int, *, pad: int | Pads = 0, ceil: bool = False) -> Act:
        """Largest over each window; with `ceil` a window that starts inside counts, as in GoogLeNet."""
        rounded = math.ceil if ceil else math.floor
        pads = _pads(pad)
        sides = list(zip(x.shape[1:], pads[:2], pads[2:], strict=True))
        sizes = [rounded((size + low + high - kernel) / stride) + 1 for size, low, high in sides]
        if ceil:
            sizes = [n - 1 if (n - 1) * stride >= s + low else n for n, (s, low, _) in zip(sizes, sides, strict=True)]
        return self._add(
            "MaxPool", [x.name], (x.channels, *sizes),
            kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=list(pads), ceil_mode=int(ceil),
        )  # fmt: skip

    def upsample(self, x: Act) -> Act:
        """Every value 2 × 2 over (nearest neighbour)."""
        name = "times_2"
        if name not in self._shared:
            scales = np.array([1, 1, 2, 2], np.float32)
            self._shared[name] = self._tensor(name, scales.shape, scales.tobytes())
        shape = (x.channels, *(2 * size for size in x.shape[1:]))
        return self._add("Resize", [x.name, "", name], shape, mode="nearest", nearest_mode="floor",
                         coordinate_transformation_mode="asymmetric")  # fmt: skip

    def lrn(self, x: Act, size: int, *, alpha: float, beta: float, bias: float) -> Act:
        """x over (bias + alpha · mean of x² over `size` neighbouring channels) ^ beta."""
        return self._add("LRN", [x.name], x.shape, size=size, alpha=alpha, beta=beta, bias=bias)

    def dropout(self, x: Act) -> Act:
        """A dropout that is not training: it gives what it reads."""
        return self._add("Dropout", [x.name], x.shape)

    def global_pool(self, x: Act) -> Act:
        """Mean over all positions, kept as C × 1 × 1."""
        return self._add("GlobalAveragePool", [x.name], (x.channels, 1, 1))

    def flatten(self, x: Act) -> Act:
        return self._add("Flatten", [x.name], (math.prod(x.shape),), axis=1)

    def block(self, x: Act) -> Act:
        """Record `x` as the output of one of the architecture's blocks."""
        self._blocks.append(x.name)
        return x

    def model(self, outputs: Sequence[Act]) -> Model:
        """The finished network."""
        graph, given = self.graph, {a.name for a in outputs}
        graph.input.extend(_value(a) for a in self._inputs)
        graph.output.extend(_value(a) for a in outputs)
        graph.value_info.extend(_value(a) for a in self._acts.values() if a.name not in given)
        write_blocks(self._proto, self._blocks)
        return Model(
            name=self.name,
            proto=self._proto,
            inputs=tuple(_signature(a) for a in self._inputs),
            outputs=tuple(_signature(a) for a in outputs),
            has_weights=self.weights,
            blocks=tuple(self._blocks),
        )

    def spread(self, x: Act) -> Spread:
        """What the next layer with weights can expect to read in `x`."""
        if not self.weights:
            return Spread(0.0, 1.0)
        known = statistics().get(self.name, ())
        if self._layers >= len(known):
            raise BadInput(f"layer {self._layers} of {self.name} was never measured; run scripts/measure_zoo.py")
        self._layers += 1
        return known[self._layers - 1]

    def _filters(
        self, name: str, dims: tuple[int, ...], x: Spread, gain: float, seen: NDArray[np.float32]
    ) -> tuple[str, str]:
        weight, bias = filters(self._rng, dims, x, gain, seen) if self.weights else (None, None)
        return self._tensor(f"{name}.weight", dims, weight), self._tensor(f"{name}.bias", dims[:1], bias)

    def _shared_filters(self, like: Act, dims: tuple[int, ...]) -> tuple[str, str]:
        """The weights of the convolution that made `like`, which must have these dims."""
        made = next((n for n in self.graph.node if n.op_type == "Conv" and n.output[0] == like.name), None)
        stored = {t.name: tuple(t.dims) for t in self.graph.initializer}
        if made is None or stored[made.input[1]] != dims:
            raise BadInput(f"{self.name}: {like.name} has no filters of {dims} to share")
        return made.input[1], made.input[2]

    def _add(self, op: str, inputs: list[str], shape: tuple[int, ...], name: str = "", **attributes: Any) -> Act:
        act = Act(name or self._fresh(op.lower()), shape)
        if act.name in self._acts:
            raise BadInput(f"{self.name}: two nodes are called {act.name}")
        self._acts[act.name] = act
        self.graph.node.append(helper.make_node(op, inputs, [act.name], name=act.name, **attributes))
        return act

    def _fresh(self, stem: str) -> str:
        """`conv_17`: the op and the node's place."""
        return f"{stem}_{len(self.graph.node)}"

    def _tensor(self, name: str, dims: tuple[int, ...], values: bytes | None = None) -> str:
        tensor = self.graph.initializer.add(name=name, data_type=TensorProto.FLOAT, dims=dims)
        if values is not None:
            tensor.raw_data = values
        return name

    def _scalar(self, name: str, value: float) -> str:
        if name not in self._shared:
            self._shared[name] = self._tensor(name, (), np.float32(value).tobytes())
        return self._shared[name]


def _same(sizes: tuple[int, ...], kernel: int, stride: int) -> Pads:
    low_high = []
    for size in sizes:
        total = max(0, (math.ceil(size / stride) - 1) * stride + kernel - size)
        low_high.append((total // 2, total - total // 2))
    (top, bottom), (left, right) = low_high
    return top, left, bottom, right


def _pads(pad: int | Pads) -> Pads:
    return (pad, pad, pad, pad) if isinstance(pad, int) else pad


def _value(act: Act) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(act.name, TensorProto.FLOAT, [BATCH, *act.shape])


def _signature(act: Act) -> Signature:
    return Signature(act.name, (None, *act.shape), "float32")

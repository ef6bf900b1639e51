"""Writing a network straight as ONNX: one method an operator, shapes and distributions followed along, weights seeded.

Convolutions carry a bias and no batch norm: they are what is left once batch norm is folded. Weights are scaled layer
by layer so that every convolution's output has about unit variance, and made such that the answer depends on the
input: where a layer's input has a mean (after ReLU, SiLU, …) each filter sums to zero over its fan-in, and a depthwise
filter, where that would leave a mere edge detector, has its mean taken out by the bias. A plain He network maps all
inputs to nearly parallel activations within some ten layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from isthmus.errors import BadInput
from isthmus.model.types import IR_VERSION, OPSET, Model, Signature
from isthmus.model.zoo import laws

BATCH = "N"
_CHUNK = 1 << 18
"""Weights made at a time: one megabyte stays in the cache."""
_FEW = 32
"""Filters of fewer weights are scaled one by one: chance would make them too unequal."""
Pads = tuple[int, int, int, int]
"""top, left, bottom, right"""


@dataclass(frozen=True)
class Act:
    """An activation while a network is written: name, shape without the batch, and its expected distribution."""

    name: str
    shape: tuple[int, ...]
    law: laws.Law

    @property
    def channels(self) -> int:
        return self.shape[0]


class Net:
    """A network being written. Methods take and give `Act`s; `model` closes it.

    `weights=False` writes initializers with dims and no data. The weights depend on `seed` and on the order of the
    calls only.
    """

    def __init__(self, name: str, *, weights: bool = True, seed: int = 0) -> None:
        self.name = name
        self.weights = weights
        self._rng = np.random.default_rng(seed)
        self._graph = onnx.GraphProto(name=name)
        self._acts: dict[str, Act] = {}
        self._inputs: list[Act] = []
        self._shared: dict[str, str] = {}
        self._blocks: list[str] = []

    def input(self, name: str, shape: tuple[int, ...]) -> Act:
        """A float32 input (batch added in front), expected to be standardised: mean 0, variance 1."""
        act = Act(name, shape, laws.normal(0.0, 1.0))
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
        name: str = "",
    ) -> Act:
        """Convolution with bias. `pad=None` is "same" as TensorFlow has it: output = ceil(input / stride), the odd
        pixel at the bottom right. The output's standard deviation is about `gain`."""
        pads = _same(x.shape[1:], kernel, stride) if pad is None else _pads(pad)
        if x.channels % groups or channels % groups:
            raise BadInput(f"{x.channels} → {channels} channels cannot be split into {groups} groups")
        name = name or self._fresh("conv")
        dims = (channels, x.channels // groups, kernel, kernel)
        weight, bias = self._filters(name, dims, x.law, gain)
        height, width = (
            (size + low + high - kernel) // stride + 1
            for size, low, high in zip(x.shape[1:], pads[:2], pads[2:], strict=True)
        )
        return self._add(
            "Conv", [x.name, weight, bias], (channels, height, width), laws.normal(0.0, gain), name,
            kernel_shape=[kernel, kernel], strides=[stride, stride], pads=list(pads), group=groups,
        )  # fmt: skip

    def linear(self, x: Act, features: int, *, gain: float = 1.0, name: str = "") -> Act:
        """Fully connected layer on a flat activation (Gemm, weights output × input)."""
        name = name or self._fresh("fc")
        weight, bias = self._filters(name, (features, x.channels), x.law, gain)
        return self._add("Gemm", [x.name, weight, bias], (features,), laws.normal(0.0, gain), name, transB=1)

    def relu(self, x: Act, name: str = "") -> Act:
        return self._add("Relu", [x.name], x.shape, laws.through(laws.relu, x.law), name)

    def relu6(self, x: Act) -> Act:
        """Clip to [0, 6]."""
        low, high = self._scalar("zero", 0.0), self._scalar("six", 6.0)
        return self._add("Clip", [x.name, low, high], x.shape, laws.through(laws.relu6, x.law))

    def sigmoid(self, x: Act) -> Act:
        return self._add("Sigmoid", [x.name], x.shape, laws.through(laws.sigmoid, x.law))

    def silu(self, x: Act) -> Act:
        """x · sigmoid(x), as the two nodes that exporters write."""
        gate = self.sigmoid(x)
        return self._add("Mul", [x.name, gate.name], x.shape, laws.through(laws.silu, x.law))

    def mul(self, x: Act, gate: Act) -> Act:
        """x · gate, the gate broadcast over positions."""
        return self._add("Mul", [x.name, gate.name], x.shape, laws.after_product(x.law, gate.law))

    def add(self, a: Act, b: Act, name: str = "") -> Act:
        if a.shape != b.shape:
            raise BadInput(f"{self.name}: cannot add {a.name} {a.shape} and {b.name} {b.shape}")
        return self._add("Add", [a.name, b.name], a.shape, laws.after_sum(a.law, b.law), name)

    def concat(self, parts: Sequence[Act], name: str = "") -> Act:
        """Along the channels."""
        shape = (sum(p.channels for p in parts), *parts[0].shape[1:])
        mixed = laws.mixed([(p.law, p.channels) for p in parts])
        return self._add("Concat", [p.name for p in parts], shape, mixed, name, axis=1)

    def max_pool(self, x: Act, kernel: int, stride: int, *, pad: int = 0, ceil: bool = False) -> Act:
        """Largest over each window; with `ceil` a window that starts inside counts, as in GoogLeNet."""
        rounded = math.ceil if ceil else math.floor
        sizes = [rounded((s + 2 * pad - kernel) / stride) + 1 for s in x.shape[1:]]
        if ceil:
            sizes = [n - 1 if (n - 1) * stride >= s + pad else n for n, s in zip(sizes, x.shape[1:], strict=True)]
        return self._add(
            "MaxPool", [x.name], (x.channels, *sizes), laws.after_max(x.law, kernel**2),
            kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, ceil_mode=int(ceil),
        )  # fmt: skip

    def average_pool(self, x: Act, kernel: int, stride: int) -> Act:
        """Mean over each window, no padding."""
        sizes = [(s - kernel) // stride + 1 for s in x.shape[1:]]
        return self._add(
            "AveragePool", [x.name], (x.channels, *sizes), laws.after_average(x.law, kernel**2),
            kernel_shape=[kernel] * 2, strides=[stride] * 2,
        )  # fmt: skip

    def global_pool(self, x: Act) -> Act:
        """Mean over all positions, kept as C × 1 × 1."""
        count = math.prod(x.shape[1:])
        return self._add("GlobalAveragePool", [x.name], (x.channels, 1, 1), laws.after_average(x.law, count))

    def flatten(self, x: Act) -> Act:
        return self._add("Flatten", [x.name], (math.prod(x.shape),), x.law, axis=1)

    def block(self, x: Act) -> Act:
        """Record `x` as the output of one of the architecture's blocks."""
        self._blocks.append(x.name)
        return x

    def model(self, outputs: Sequence[Act]) -> Model:
        """The finished network."""
        graph, given = self._graph, {a.name for a in outputs}
        graph.input.extend(_value(a) for a in self._inputs)
        graph.output.extend(_value(a) for a in outputs)
        graph.value_info.extend(_value(a) for a in self._acts.values() if a.name not in given)
        opset = helper.make_opsetid("", OPSET)
        proto = onnx.ModelProto(ir_version=IR_VERSION, producer_name="isthmus", opset_import=[opset], graph=graph)
        return Model(
            name=self.name,
            proto=proto,
            inputs=tuple(_signature(a) for a in self._inputs),
            outputs=tuple(_signature(a) for a in outputs),
            has_weights=self.weights,
            blocks=tuple(self._blocks),
        )

    def _add(
        self,
        op: str,
        inputs: list[str],
        shape: tuple[int, ...],
        law: laws.Law,
        name: str = "",
        **attributes: Any,
    ) -> Act:
        name = name or self._fresh(op.lower())
        act = Act(name, shape, law)
        if name in self._acts:
            raise BadInput(f"{self.name}: two nodes are called {name}")
        self._acts[name] = act
        self._graph.node.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return act

    def _fresh(self, stem: str) -> str:
        """`conv_17`: the op and the node's place."""
        return f"{stem}_{len(self._graph.node)}"

    def _filters(self, name: str, dims: tuple[int, ...], x: laws.Law, gain: float) -> tuple[str, str]:
        """Names of weight and bias for outputs of mean 0 and standard deviation `gain`."""
        if not self.weights:
            return self._tensor(f"{name}.weight", dims), self._tensor(f"{name}.bias", dims[:1])
        fan_in = math.prod(dims[1:])
        zero_sum = x.mean != 0.0 and dims[1] > 1
        scale = np.float32(gain / math.sqrt((fan_in - zero_sum) * x.var))
        bias = np.zeros(dims[0], np.float32)
        written, step = [], max(1, _CHUNK // fan_in)
        for start in range(0, dims[0], step):
            rows = self._rng.standard_normal((min(step, dims[0] - start), fan_in), dtype=np.float32)
            if zero_sum:
                rows -= rows.mean(axis=1, keepdims=True)
            rows *= scale
            if fan_in < _FEW:
                rows *= np.float32(gain / math.sqrt(x.var)) / np.linalg.norm(rows, axis=1, keepdims=True)
            if not zero_sum:
                bias[start : start + len(rows)] = -np.float32(x.mean) * rows.sum(axis=1)
            written.append(rows.tobytes())
        return self._tensor(f"{name}.weight", dims, b"".join(written)), self._tensor(
            f"{name}.bias", dims[:1], bias.tobytes()
        )

    def _tensor(self, name: str, dims: tuple[int, ...], values: bytes | None = None) -> str:
        tensor = self._graph.initializer.add(name=name, data_type=TensorProto.FLOAT, dims=dims)
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

"""Networks to time layers in: each layer stands between neighbours as in a real network, several of them in one model.

A layer alone in a model pays for changes of memory layout at its ends that it does not pay in a network, and finds its
weights in the cache, which it does not either. So a specimen is `input → convolution → layer → convolution → mean`,
and a model holds many unconnected specimens. Each has one output only: an engine that works its way back from the
outputs then runs one specimen after the other, and a layer finds in the cache what was written just before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper

from isthmus.model import IR_VERSION, OPSET, Model, model_from_proto
from isthmus.profile.regression.types import LayerType

_NARROW = 8
"""Channels of the neighbours' far ends: one block, so that they cost little."""


@dataclass(frozen=True)
class Spec:
    """One shape to measure: a feature map of `channels` × `size` × `size` (or `channels` numbers) into `filters`.

    `followers`: a ReLU (1), an addition and a ReLU (2) or a clip (3), fused into a convolution or product. For a
    concatenation, `filters` is the number of parts.
    """

    type: LayerType
    channels: int
    size: int = 1
    filters: int = 0
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    followers: int = 0

    @property
    def weights(self) -> int:
        """About how many stored numbers the specimen brings along."""
        own = self.channels * max(1, self.filters) * self.kernel**2 // self.groups
        return own if self.type in ("convolution", "fully_connected") else self.channels * self.kernel**2


def write_specimens(specs: Sequence[Spec], *, seed: int = 0) -> tuple[Model, tuple[str, ...]]:
    """A model of all these specimens, unconnected, any batch; and for each the tensor that its layer makes."""
    writer = _Writer(np.random.default_rng(seed))
    made = tuple(writer.specimen(f"s{i}", spec) for i, spec in enumerate(specs))
    proto = onnx.ModelProto(ir_version=IR_VERSION, producer_name="isthmus", graph=writer.graph)
    proto.opset_import.add(version=OPSET)
    return model_from_proto(proto, "specimens", copy=False), made


def write_chain(layers: int, channels: int, size: int) -> Model:
    """A chain of pointwise convolutions with ReLU, of equal width: what a call and a cut cost shows in it."""
    writer = _Writer(np.random.default_rng(0))
    x = writer.input("s0", channels, size)
    for _ in range(layers):
        x = writer.op("Relu", [writer.conv(x, channels, channels)])
    writer.output(writer.op("GlobalAveragePool", [x]))
    proto = onnx.ModelProto(ir_version=IR_VERSION, producer_name="isthmus", graph=writer.graph)
    proto.opset_import.add(version=OPSET)
    return model_from_proto(proto, f"chain of {layers}", copy=False)


@dataclass
class _Writer:
    rng: np.random.Generator
    graph: onnx.GraphProto = field(default_factory=lambda: onnx.GraphProto(name="specimens"))
    prefix: str = ""

    def specimen(self, prefix: str, spec: Spec) -> str:
        self.prefix = prefix
        if spec.type in ("fully_connected", "softmax"):
            return self._flat(spec)
        first = spec.type == "convolution" and spec.channels % _NARROW != 0 and spec.size > 1
        x = self.input(prefix, spec.channels if first else _NARROW, spec.size)
        if not first:
            x = self.conv(x, _NARROW, spec.channels)
        made = self._layer(spec, x)
        if spec.type == "reshape":
            self.output(self.op("Neg", [made]))
            return made
        width = spec.channels * spec.filters if spec.type == "concat" else (spec.filters or spec.channels)
        end = made if spec.type == "global_pooling" else self.op("GlobalAveragePool", [self.conv(made, width, _NARROW)])
        self.output(end)
        return made

    def input(self, prefix: str, channels: int, size: int) -> str:
        self.prefix = prefix
        return self._input([channels, size, size])

    def output(self, name: str) -> None:
        self.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))

    def op(self, kind: str, inputs: list[str], **attributes: object) -> str:
        name = f"{self.prefix}_{kind.lower()}_{len(self.graph.node)}"
        self.graph.node.append(helper.make_node(kind, inputs, [name], name=name, **attributes))  # type: ignore[arg-type]
        return name

    def conv(self, x: str, channels: int, filters: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> str:
        weight = self._weights((filters, channels // groups, kernel, kernel))
        pad = [(kernel - 1) // 2] * 2 + [kernel // 2] * 2
        bias = self._weights((filters,))
        return self.op(
            "Conv", [x, weight, bias], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pad, group=groups
        )

    def _layer(self, spec: Spec, x: str) -> str:
        """The tensor that the layer makes, its followers included."""
        match spec.type:
            case "convolution" | "depthwise_convolution":
                return self._convolution(spec, x)
            case "relu" | "sigmoid" | "clip" | "activation" | "batch_norm":
                return self._single(spec, self._apart(x))
            case "lrn" | "copy":
                return self._single(spec, x)
            case "silu":
                return self.op("Mul", [x, self.op("Sigmoid", [x])])
            case "max_pooling" | "average_pooling":
                kind = "MaxPool" if spec.type == "max_pooling" else "AveragePool"
                low, high = (spec.kernel - 1) // 2, spec.kernel // 2
                pads = [low, low, high, high]
                return self.op(kind, [x], kernel_shape=[spec.kernel] * 2, strides=[spec.stride] * 2, pads=pads)
            case "global_pooling":
                return self.op("GlobalAveragePool", [x])
            case "add" | "mul":
                both = [self._apart(tensor) for tensor in (x, self._twin(spec))]
                return self.op("Add" if spec.type == "add" else "Mul", both)
            case "gate":
                mean = self.op("GlobalAveragePool", [x])
                return self.op("Mul", [x, self.op("Sigmoid", [self.conv(mean, spec.channels, spec.channels)])])
            case "concat":
                return self.op("Concat", [x, *(self._twin(spec) for _ in range(spec.filters - 1))], axis=1)
        return self.op("Flatten", [x], axis=1)

    def _convolution(self, spec: Spec, x: str) -> str:
        filters = spec.filters or spec.channels
        groups = spec.channels if spec.type == "depthwise_convolution" else spec.groups
        y = self.conv(x, spec.channels, filters, spec.kernel, spec.stride, groups)
        if spec.followers == 2:
            size = -(-spec.size // spec.stride)
            y = self.op("Add", [self.conv(self._input([_NARROW, size, size]), _NARROW, filters), y])
        if spec.followers == 3:
            return self.op("Clip", [y, self._scalar(0.0), self._scalar(6.0)])
        return self.op("Relu", [y]) if spec.followers else y

    def _single(self, spec: Spec, x: str) -> str:
        match spec.type:
            case "clip":
                return self.op("Clip", [x, self._scalar(0.0), self._scalar(6.0)])
            case "activation":
                return self.op("Tanh", [x])
            case "batch_norm":
                four = [self._weights((spec.channels,)) for _ in range(4)]
                return self.op("BatchNormalization", [x, *four])
            case "lrn":
                return self.op("LRN", [x], size=5, alpha=1e-4, beta=0.75, bias=1.0)
            case "copy":
                return self.op("Transpose", [x], perm=[0, 1, 3, 2])
        return self.op("Relu" if spec.type == "relu" else "Sigmoid", [x])

    def _flat(self, spec: Spec) -> str:
        x = self.op("Abs", [self._input([spec.channels])])  # so that the layer reads what a layer has just written
        if spec.type == "softmax":
            made = self.op("Softmax", [x], axis=-1)
        else:
            weight, bias = self._weights((spec.filters, spec.channels)), self._weights((spec.filters,))
            made = self.op("Gemm", [x, weight, bias], transB=1)
            made = self.op("Relu", [made]) if spec.followers else made
        self.output(self.op("Neg", [made]))
        return made

    def _twin(self, spec: Spec) -> str:
        return self.conv(self._input([_NARROW, spec.size, spec.size]), _NARROW, spec.channels)

    def _apart(self, tensor: str) -> str:
        """The same size behind a pooling, which nothing is fused into: what follows is a layer of its own. It may write
        over what it reads, or into what the pooling has read, as layers one after the other in a network do."""
        return self.op("MaxPool", [tensor], kernel_shape=[2, 2], pads=[0, 0, 1, 1])

    def _input(self, shape: list[int]) -> str:
        name = f"{self.prefix}_input_{len(self.graph.input)}"
        self.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]))
        return name

    def _weights(self, shape: tuple[int, ...]) -> str:
        spread = 1.0 / np.sqrt(np.prod(shape[1:], initial=1.0))
        values = np.abs(self.rng.standard_normal(shape, np.float32)) * np.float32(spread)
        name = f"{self.prefix}_weight_{len(self.graph.initializer)}"
        self.graph.initializer.add(name=name, data_type=TensorProto.FLOAT, dims=shape, raw_data=values.tobytes())
        return name

    def _scalar(self, value: float) -> str:
        name = f"{self.prefix}_scalar_{len(self.graph.initializer)}"
        self.graph.initializer.add(name=name, data_type=TensorProto.FLOAT, raw_data=np.float32(value).tobytes())
        return name

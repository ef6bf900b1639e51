"""What is a layer: the operators of a graph as a device runs them, each layer with its type and its size.

A device that fuses runs as one kernel: a convolution with the batch norm, the addition and the one activation that
follow it, as long as nobody else reads what lies between; a product with its activation; x · sigmoid(x). Everything
else is a layer of its own, and on a device that does not fuse every operator is. So the layers of a graph are a
partition of its nodes, and sums over layers are sums over nodes. A layer's seconds stand at its lead, where profiles
put measured ones too: the convolution, the product, the multiplication of x · sigmoid(x).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.errors import BadInput
from isthmus.graph import Graph, Node
from isthmus.profile.regression.shapes import LayerShape
from isthmus.profile.regression.types import LayerType

_TYPES: dict[str, LayerType] = {
    "Conv": "convolution", "Gemm": "fully_connected", "MatMul": "fully_connected", "Relu": "relu", "Clip": "clip",
    "Sigmoid": "sigmoid", "MaxPool": "max_pooling", "AveragePool": "average_pooling",
    "GlobalAveragePool": "global_pooling", "GlobalMaxPool": "global_pooling", "ReduceMean": "global_pooling",
    "LRN": "lrn", "Dropout": "dropout", "Identity": "dropout", "BatchNormalization": "batch_norm",
    "LayerNormalization": "batch_norm", "InstanceNormalization": "batch_norm", "GroupNormalization": "batch_norm",
    "Add": "add", "Sub": "add", "Mul": "mul", "Div": "mul", "Concat": "concat", "Softmax": "softmax",
    "LogSoftmax": "softmax", "Flatten": "reshape", "Reshape": "reshape", "Squeeze": "reshape", "Unsqueeze": "reshape",
    **dict.fromkeys(("Transpose", "Slice", "Split", "Pad", "Gather", "Resize", "Cast", "Expand", "Tile",
                     "DepthToSpace", "SpaceToDepth"), "copy"),
    **dict.fromkeys(("LeakyRelu", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu", "Gelu", "PRelu", "Mish", "Erf",
                     "Exp", "Log", "Sqrt", "Pow", "Neg", "Abs", "Softplus", "Min", "Max"), "activation"),
}  # fmt: skip
_ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid"})
"""What an engine can do to a number on its way out of a convolution or a product."""


@dataclass(frozen=True)
class Layer:
    """Some nodes of a graph that run as one; `nodes` and `lead` are indices, in running order."""

    lead: int
    nodes: tuple[int, ...]
    shape: LayerShape

    @property
    def type(self) -> LayerType:
        return self.shape.type


def layers_of(graph: Graph, *, fuses: bool) -> tuple[Layer, ...]:
    """The layers of a graph at its batch. Raises BadInput for an operator that belongs to no layer type."""
    group = _Groups(graph).all() if fuses else {i: [i] for i in range(len(graph.nodes))}
    return tuple(Layer(lead, tuple(nodes), _shape(graph, lead, nodes)) for lead, nodes in sorted(group.items()))


class _Groups:
    """Grows layers node by node, in running order."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.members: dict[int, list[int]] = {}
        self.lead_of: dict[int, int] = {}
        self.closed: set[int] = set()

    def all(self) -> dict[int, list[int]]:
        """Lead → members."""
        for i, node in enumerate(self.graph.nodes):
            lead = self._joins(i, node)
            self.members.setdefault(lead, []).append(i)
            self.lead_of[i] = lead
        return self.members

    def _joins(self, i: int, node: Node) -> int:
        if node.op == "Mul" and (gate := self._own_sigmoid(node)) is not None:
            self.members[i] = self.members.pop(gate)
            return i
        if node.op in _ACTIVATIONS:
            lead = self._open(node.inputs[0], ("Conv", "Gemm"))
            if lead is not None:
                self.closed.add(lead)
                return lead
        if node.op == "BatchNormalization" or (node.op == "Add" and len(node.inputs) == 2):
            leads = [at for t in node.inputs if (at := self._open(t, ("Conv",))) is not None]
            if leads and all(self._same_size(t, node) for t in node.inputs):
                return max(leads)
        return i

    def _open(self, tensor: str, kinds: Sequence[str]) -> int | None:
        """The layer that makes a tensor, where it is of these kinds and can take one more operator."""
        made_by = self._alone(tensor)
        if made_by is None:
            return None
        lead = self.lead_of[made_by]
        return lead if self.graph.nodes[lead].op in kinds and lead not in self.closed else None

    def _own_sigmoid(self, node: Node) -> int | None:
        """The Sigmoid of a Mul that computes x · sigmoid(x)."""
        for tensor in node.inputs:
            at = self._alone(tensor)
            if at is not None and at in self.members and self.graph.nodes[at].op == "Sigmoid":
                return at if {*self.graph.nodes[at].inputs, tensor} == set(node.inputs) else None
        return None

    def _alone(self, tensor: str) -> int | None:
        """The node that makes a tensor which one node reads and nobody outside wants."""
        alone = len(self.graph.consumers[tensor]) == 1 and tensor not in self.graph.outputs
        return self.graph.producer.get(tensor) if alone else None

    def _same_size(self, tensor: str, node: Node) -> bool:
        return self.graph.tensors[tensor].shape == self.graph.tensors[node.outputs[0]].shape


def _shape(graph: Graph, lead: int, nodes: Sequence[int]) -> LayerShape:
    node = graph.nodes[lead]
    inside = {t for i in nodes for t in graph.nodes[i].outputs}
    reads = dict.fromkeys(t for i in nodes for t in graph.nodes[i].inputs if t not in inside)
    last = graph.tensors[graph.nodes[nodes[-1]].outputs[0]]
    first = graph.tensors[node.inputs[0]] if node.inputs else last
    in_bytes = sum(graph.tensors[t].bytes for t in reads)
    product = node.product
    window = 1.0 * math.prod(node.kernel), 1.0 * math.prod(node.strides)
    return LayerShape(
        type=_type(graph, node, len(nodes)),
        map_bytes=first.bytes,
        in_bytes=in_bytes,
        out_bytes=last.bytes,
        weight_bytes=max(
            sum(graph.nodes[i].weight_bytes for i in nodes),
            product.columns * product.depth * product.count * first.itemsize
            if product and len(node.inputs) == 1
            else 0,
        ),
        macs=sum(graph.nodes[i].macs for i in nodes),
        channels=first.shape[1] if len(first.shape) > 1 else 1,
        filters=product.columns * product.count if product else 0,
        kernel=window[0] ** (1 / max(1, len(node.kernel))),
        stride=window[1] ** (1 / max(1, len(node.strides))),
        groups=product.count if product else 1,
        columns=last.shape[-1] if len(last.shape) > 2 else 1,
        reads=len(reads),
        bounded=any(graph.nodes[i].op in _ACTIVATIONS - {"Relu"} for i in nodes if i != lead),
        places=last.elements / max(1, product.columns * product.count) if product else last.elements,
        planes=first.elements / math.prod(first.shape[2:]) if len(first.shape) > 2 else 1,
    )


def _type(graph: Graph, node: Node, members: int) -> LayerType:
    kind = _TYPES.get(node.op)
    if kind is None:
        raise BadInput(
            f"{graph.name}: {node.name} is a {node.op}, which is no layer type that latencies are fitted for"
        )
    if kind == "convolution" and node.product and node.product.columns == 1 < node.product.count:
        return "depthwise_convolution"
    if kind == "mul":
        if members > 1:
            return "silu"
        sizes = {graph.tensors[t].elements for t in node.inputs}
        return "gate" if len(sizes) > 1 else "mul"
    return kind

"""How onnxruntime computes a layer of a part of few bits, as far as memory goes: by which kind of kernel, with its
weights repacked to how many bytes, with how much room for sums and windows beside its result.

Read in onnxruntime's sources (QLinearConv and its symmetric variant, QGemm, MlasConvSymPackWSize, MlasConvPrepare) for
x86-64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from isthmus.graph import Graph, Node
from isthmus.graph.fuse import VIEWS
from isthmus.profile.types import RuntimeMemory
from isthmus.quant.types import MOST_BITS, BitPlan

FLOAT_BYTES, _POINTER = 4, 8
WHOLE_BITS = 8
_INTEGER = frozenset({"Conv", "Gemm", "MatMul", "Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool"})
"""Layers that have a kernel on levels,"""
_MOVES = VIEWS | {"MaxPool", "Transpose", "Slice", "Gather"}
"""and those whose result are levels of their input, of the same width."""
_IMPLIED = VIEWS | {"Relu", "Clip", "BatchNormalization", "Add"}
"""What levels do by themselves behind a product; with anything else behind it a product is made in floating point."""
_ZEROS_BYTES = 5_000
"""What a layer with unsigned weights has more: its zero points, and sums of its columns."""
_CLAMP = 0.65
"""What holds levels down has two inputs and no scales: lighter than other kernels without weights."""
_TILE = 128 * 128
"""Numbers of a matrix product's tile."""
_LINES, _COLUMNS, _DEPTH = 16, 8, 4
"""Symmetric kernels: lines of output channels in packed weights, and what channels must be multiples of."""


@dataclass(frozen=True)
class Layer:
    """A layer as the runtime computes it. kind: `levels` by a kernel for levels, `moves` levels, `wide` in floating
    point between levels, `float` in floating point, `view` not at all."""

    node: Node
    kind: str
    symmetric: bool
    signed: bool
    gated: bool
    clamped: bool
    """its result has fewer than 8 bits: held down to its levels by a node of its own"""
    weight_bits: int
    narrow: bool
    """all that it reads are levels"""

    @classmethod
    def of(cls, graph: Graph, node: Node, ops: dict[str, str], bits: BitPlan, runtime: RuntimeMemory) -> Layer:
        made = bits.outputs.get(node.outputs[0], MOST_BITS)
        narrow = [bits.outputs.get(t, WHOLE_BITS if t in graph.inputs else MOST_BITS) for t in node.inputs]
        weight = bits.weights.get(node.name, MOST_BITS) if node.product is not None else WHOLE_BITS
        rest = {ops[part] for part in node.whole[1:]}
        gated = not rest <= _IMPLIED
        levels = bool(narrow) and max(narrow) < MOST_BITS
        moves = all(ops[part] in _MOVES for part in node.whole) and len(node.outputs) == 1
        if all(ops[part] in VIEWS for part in node.whole):
            kind = "view"
        elif moves and levels and narrow[0] <= made:
            kind = "moves"
        elif levels and max(made, weight) < MOST_BITS and not gated and node.op in _INTEGER:
            kind = "levels"
        else:
            kind = "wide" if levels or made < MOST_BITS else "float"
        signed = runtime.signed or weight < WHOLE_BITS
        clamped = made < WHOLE_BITS and kind in ("levels", "wide")
        symmetric = kind == "levels" and signed and _fits_symmetric(node)
        return cls(node, kind, symmetric, signed, gated, clamped, weight, levels)

    @property
    def weights(self) -> int:
        """Numbers in its weights."""
        product = self.node.product
        return product.columns * product.depth * product.count if product is not None and self.node.parameters else 0

    @property
    def stored_bytes(self) -> int:
        """A number of its weights where kernels read them as they stand in the file."""
        if self.weight_bits <= WHOLE_BITS:
            return 1
        return 2 if self.kind == "wide" and self.narrow else FLOAT_BYTES

    @property
    def packed_bytes(self) -> int:
        """Its weights as a kernel for levels repacks them."""
        product = self.node.product
        if product is None or not self.weights:
            return 0
        if self.depthwise:
            return self.weights
        if self.symmetric:
            return _up(product.columns, _LINES) * product.depth
        return product.count * (_up(product.columns, _LINES) * (_up(product.depth, _DEPTH) + FLOAT_BYTES))

    @property
    def depthwise(self) -> bool:
        product = self.node.product
        return product is not None and product.count > 1 and product.columns == 1 and product.depth == self.window

    @property
    def window(self) -> int:
        return math.prod(self.node.kernel)

    @property
    def scratch_bytes(self) -> tuple[int, int]:
        """(of sums, of the windows laid out) while it runs."""
        product = self.node.product
        if self.kind in ("wide", "float") and product is not None:
            return 0, self._expanded_bytes()
        if self.kind != "levels" or product is None:
            return 0, 0
        places = product.rows
        sums = 0 if self.symmetric else FLOAT_BYTES * places * product.columns * product.count
        if self.depthwise:
            return sums, _POINTER * self.window * places
        if self.window <= 1 and all(s == 1 for s in self.node.strides):
            return sums, 0
        return sums, (_POINTER * self.window if self.symmetric else product.depth) * places

    def _expanded_bytes(self) -> int:
        """Of a convolution in floating point whose weights are made when it runs, so that it is a matrix product: its
        windows, all of them where there are fewer of them than results of each, else a tile."""
        product, node = self.node.product, self.node
        if product is None or node.op != "Conv" or not self.weights or self.stored_bytes == FLOAT_BYTES:
            return 0
        if self.window <= 1 and all(s == 1 for s in node.strides):
            return 0
        return FLOAT_BYTES * (product.rows * product.depth if product.columns > product.rows else _TILE)

    def session_bytes(self, runtime: RuntimeMemory) -> int:
        """What the runtime keeps about it, its biases and scales among that."""
        if self.kind == "view":
            return 0
        others = int(self.gated) + (2 if self.kind == "wide" else 0) + _CLAMP * self.clamped
        product = self.node.product
        if product is None or not self.weights:
            return round((1 + others) * runtime.other_bytes)
        constants = 0 if self.kind == "float" else 3 * FLOAT_BYTES * product.columns * product.count
        zeros = _ZEROS_BYTES if self.kind == "levels" and not self.signed else 0
        return runtime.product_bytes + round(others * runtime.other_bytes) + constants + zeros


def _fits_symmetric(node: Node) -> bool:
    product = node.product
    if product is None or node.op != "Conv" or not node.kernel:
        return False
    if product.count > 1:
        return product.columns == 1 and product.depth == math.prod(node.kernel) and product.count % _LINES == 0
    channels = product.depth // max(1, math.prod(node.kernel))
    return product.columns >= _LINES and product.columns % _COLUMNS == 0 and channels % _DEPTH == 0


def _up(number: int, step: int) -> int:
    return -(-number // step) * step

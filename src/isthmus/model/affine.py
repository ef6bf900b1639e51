"""Folding what follows a layer and only scales and shifts its channels into the layer's own weights.

A batch normalisation at inference is y = s·x + t with one s and t a channel (Ioffe and Szegedy, ICML 2015, section
3.1); so is a multiplication by, or an addition of, one constant a channel. A convolution or matrix product in front
takes both up: W' = s·W, b' = s·b + t. Worked out in float64 and stored in the weights' own type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from isthmus.model.bench import Bench

Floats = NDArray[np.float64]

LAYERS = ("Conv", "ConvTranspose", "Gemm")
_EPSILON = 1e-5
"""Of a BatchNormalization that names none (ONNX)."""


@dataclass(frozen=True)
class Affine:
    """y = scale·x + shift, per channel or for all; None where only the sizes are known."""

    scale: Floats | None
    shift: Floats | None


def fold_affine(bench: Bench) -> None:
    """Fold every node that only scales and shifts channels into the layer it alone follows."""
    readers, gone = bench.consumers(), set()
    for layer in bench.nodes:
        while (found := _follower(bench, layer, readers)) is not None:
            node, weight, bias = found
            _rewrite(bench, layer, weight, bias)
            layer.output[0] = layer.name = node.output[0]
            gone.add(id(node))
    bench.drop(gone)


def next_affine(bench: Bench) -> str | None:
    """The name of a layer that still has such a follower; None where nothing is left to fold."""
    readers = bench.consumers()
    return next((n.name for n in bench.nodes if _follower(bench, n, readers) is not None), None)


def _follower(
    bench: Bench, layer: onnx.NodeProto, readers: dict[str, list[onnx.NodeProto]]
) -> tuple[onnx.NodeProto, Any, Any] | None:
    """The node to fold into a layer, and the weight and bias that come of it (None each where only sizes are known)."""
    after = readers.get(layer.output[0], [])
    if layer.op_type not in LAYERS or len(after) != 1 or layer.output[0] in bench.outputs or not _takes(bench, layer):
        return None
    with np.errstate(all="ignore"):
        change = _affine(bench, after[0], layer.output[0])
        if change is None:
            return None
        weight, bias = _absorbed(bench, layer, change)
    # a normalisation by a variance of nothing is left as it stands
    if not all(part is None or np.isfinite(part).all() for part in (weight, bias)):
        return None
    return after[0], weight, bias


def _takes(bench: Bench, layer: onnx.NodeProto) -> bool:
    """Whether a layer's weight and bias are constants of the usual shapes."""
    inputs = list(layer.input)
    if not all(bench.is_weight(name) for name in inputs[1:] if name):
        return False
    if layer.op_type != "Gemm" or len(inputs) < 3 or not inputs[2]:
        return True
    dims = list(bench.weights[inputs[2]].dims)
    return all(d == 1 for d in dims[:-1]) and (not dims or dims[-1] in (1, _channels(bench, layer)))


def _affine(bench: Bench, node: onnx.NodeProto, tensor: str) -> Affine | None:
    """What a node does to `tensor` where that is a scale and a shift, channel by channel."""
    if node.op_type == "BatchNormalization":
        return _normalisation(bench, node)
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or len(node.input) != 2:
        return None
    first = node.input[0] == tensor
    other = node.input[1 if first else 0]
    if not bench.is_weight(other) or (node.op_type == "Div" and not first):
        return None
    values = _by_channel(bench, other, tensor)
    if values is None:
        return None
    constant = values[0]
    if constant is None:
        return Affine(None, None)
    one, zero = np.ones(1), np.zeros(1)
    match node.op_type:
        case "Add":
            return Affine(one, constant)
        case "Sub":
            return Affine(one, -constant) if first else Affine(-one, constant)
        case "Mul":
            return Affine(constant, zero)
    return Affine(1.0 / constant, zero) if np.all(constant != 0) else None


def _normalisation(bench: Bench, node: onnx.NodeProto) -> Affine | None:
    options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    alone = not any(node.output[1:]) and not options.get("training_mode", 0)
    if not alone or not all(bench.is_weight(name) for name in node.input[1:]):
        return None
    held = [bench.value(name) for name in node.input[1:5]]
    if any(v is None for v in held):
        return Affine(None, None)
    gain, offset, mean, variance = (np.asarray(v, np.float64) for v in held)
    scale = gain / np.sqrt(variance + float(options.get("epsilon", _EPSILON)))
    return Affine(scale, offset - mean * scale)


def _by_channel(bench: Bench, name: str, tensor: str) -> tuple[Floats | None] | None:
    """A constant as one value a channel (or one for all) of `tensor`, in a tuple; None where it is something else."""
    shape = bench.shapes[tensor][0]
    dims = tuple(bench.weights[name].dims)
    if len(dims) > len(shape) or len(shape) < 2:
        return None
    full = (1,) * (len(shape) - len(dims)) + dims
    if full[1] not in (1, shape[1]) or any(d != 1 for axis, d in enumerate(full) if axis != 1):
        return None
    values = bench.value(name)
    return (None if values is None else np.asarray(values, np.float64).reshape(-1),)


def _rewrite(bench: Bench, layer: onnx.NodeProto, weight: Any, bias: Any) -> None:
    """Give a layer its new weight and bias; the matrix product's factor of the bias is in it now."""
    kind, dims = bench.weights[layer.input[1]].data_type, tuple(bench.weights[layer.input[1]].dims)
    names = [
        layer.input[0],
        bench.store(f"{layer.name}_weight", weight, dims, kind),
        bench.store(f"{layer.name}_bias", bias, (_channels(bench, layer),), kind),
    ]
    del layer.input[:]
    layer.input.extend(names)
    kept = [a for a in layer.attribute if not (layer.op_type == "Gemm" and a.name == "beta")]
    del layer.attribute[:]
    layer.attribute.extend(kept)


def _absorbed(bench: Bench, layer: onnx.NodeProto, change: Affine) -> tuple[Any, Any]:
    """The new weight and bias, in the weight's type; None each where only sizes are known."""
    held = bench.value(layer.input[1])
    old = bench.value(layer.input[2]) if len(layer.input) > 2 and layer.input[2] else np.zeros(1)
    if held is None or old is None or change.scale is None or change.shift is None:
        return None, None
    channels = _channels(bench, layer)
    scale = np.broadcast_to(change.scale, (channels,))
    shaped, beta = _along(layer, scale, held.ndim, held.shape), _number(layer, "beta", 1.0)
    bias = beta * np.broadcast_to(np.asarray(old, np.float64).reshape(-1), (channels,)) * scale + change.shift
    weight = np.asarray(held, np.float64) * shaped
    return weight.reshape(held.shape).astype(held.dtype), bias.astype(held.dtype)


def _along(layer: onnx.NodeProto, scale: Floats, rank: int, dims: tuple[int, ...]) -> Floats:
    """One factor a channel, shaped to multiply the layer's weight."""
    if layer.op_type == "Conv" or (layer.op_type == "Gemm" and _number(layer, "transB", 0)):
        return scale.reshape((-1,) + (1,) * (rank - 1))
    if layer.op_type == "Gemm":
        return scale.reshape(1, -1)
    # ConvTranspose: (in, out / groups, ...), the inputs of a group side by side
    groups = int(_number(layer, "group", 1))
    rows = np.repeat(scale.reshape(groups, dims[1]), dims[0] // groups, axis=0)
    return rows.reshape((dims[0], dims[1]) + (1,) * (rank - 2))


def _channels(bench: Bench, layer: onnx.NodeProto) -> int:
    dims = bench.weights[layer.input[1]].dims
    match layer.op_type:
        case "Conv":
            return int(dims[0])
        case "ConvTranspose":
            return int(dims[1]) * int(_number(layer, "group", 1))
    return int(dims[0] if _number(layer, "transB", 0) else dims[1])


def _number(node: onnx.NodeProto, name: str, default: float) -> float:
    for attribute in node.attribute:
        if attribute.name == name:
            return float(helper.get_attribute_value(attribute))
    return default

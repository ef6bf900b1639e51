"""The size of a layer, and the variables that its latency is explained by: the paper's, extended ones, work alone."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.profile.regression.types import LayerType, VariableSet

_MULTIPLY = ("convolution", "depthwise_convolution", "fully_connected")
_BLOCK = 8
"""Convolutions whose channels are no multiple of this cannot read the blocked memory layout."""
_CACHES = {"256k": 2**18, "1m": 2**20, "4m": 2**22, "16m": 2**24}
"""Sizes near those of the caches of common processors, where seconds a byte change."""
_WAY_BYTES = 4096
"""Addresses this far apart share a set of the first cache of common processors (32 KiB in 8 ways)."""


@dataclass(frozen=True)
class LayerShape:
    """One layer as a device meets it, the whole batch together; bytes are those of the numbers as they stand.

    `map_bytes`: the feature map that the layer works on; `in_bytes`: all activations it reads (a fused addition reads a
    second one). `channels`: of the input. `kernel` and `stride`: the side of a square of the same area.
    """

    type: LayerType
    map_bytes: float
    in_bytes: float
    out_bytes: float
    weight_bytes: float = 0.0
    macs: float = 0.0
    channels: int = 0
    filters: int = 0
    kernel: float = 1.0
    stride: float = 1.0
    groups: int = 1
    columns: int = 1
    """places in a row of the output"""
    places: float = 1.0
    """places of the output, over the batch"""
    planes: float = 1.0
    """channels of the map that it works on, over the batch"""
    reads: int = 1
    """activations it reads"""
    bounded: bool = False
    """a fused activation other than ReLU: engines do it in one more pass over what a convolution has written"""


def variables_of(shape: LayerShape, which: VariableSet, kind: LayerType | None = None) -> dict[str, float]:
    """The variables of a set for this layer, without the constant, in a fixed order a type.

    `kind`: those of another type, where its law stands in.
    """
    kind = kind or shape.type
    if which == "macs":
        return {"macs": shape.macs} if kind in _MULTIPLY else {"bytes_in": shape.in_bytes}
    if which == "paper":
        return _paper(shape, kind)
    return _EXTENDED.get(kind, _streamed)(shape)


def _paper(shape: LayerShape, kind: LayerType) -> dict[str, float]:
    """Table I of Edgent 2018; types that are not in it by the nearest in it (a sum of two maps as a pooling)."""
    match kind:
        case "convolution" | "depthwise_convolution":
            return {"input_bytes": shape.map_bytes, "filters": (shape.kernel / shape.stride) ** 2 * shape.filters}
        case (
            "fully_connected" | "max_pooling" | "average_pooling" | "global_pooling" | "add" | "mul" | "gate" | "concat"
        ):
            return {"input_bytes": shape.in_bytes, "output_bytes": shape.out_bytes}
    return {"input_bytes": shape.in_bytes}


def _moved(shape: LayerShape) -> dict[str, float]:
    return {"bytes_in": shape.in_bytes, "bytes_out": shape.out_bytes}


def _streamed(shape: LayerShape) -> dict[str, float]:
    """What only moves numbers slows down in steps, cache by cache: bytes beyond each of some sizes."""
    moved = shape.in_bytes + shape.out_bytes
    return {**_moved(shape), **{f"bytes_over_{name}": max(0.0, moved - size) for name, size in _CACHES.items()}}


def _edge(shape: LayerShape) -> float:
    """The share of a row's places whose window reaches over an end of it ("same" padding): those go one by one, with
    looks at where the row ends, the others many at a time."""
    return min(1.0, (shape.kernel - 1.0) / (shape.stride * max(1, shape.columns)))


def _convolution(shape: LayerShape) -> dict[str, float]:
    """Multiply-accumulates by the kernel that does them, with what the places at the ends of a row cost."""
    first = shape.channels % _BLOCK != 0
    spatial = shape.kernel > 1
    grouped = shape.groups > 1
    kinds = {
        "macs_first": first,
        "macs_grouped": grouped and not first,
        "macs_spatial": spatial and not grouped and not first,
        "macs_pointwise": not spatial and not grouped and not first,
    }
    return {
        **{name: shape.macs * is_so for name, is_so in kinds.items()},
        "macs_border": shape.macs * (spatial and not first) * _edge(shape),
        "bounded_bytes": shape.out_bytes * shape.bounded,
        "weight_bytes": shape.weight_bytes,
        **_streamed(shape),
    }


def _depthwise(shape: LayerShape) -> dict[str, float]:
    return {
        "macs": shape.macs,
        "macs_border": shape.macs * _edge(shape),
        "bounded_bytes": shape.out_bytes * shape.bounded,
        "weight_bytes": shape.weight_bytes,
        **_streamed(shape),
    }


def _windowed(shape: LayerShape) -> dict[str, float]:
    """A pooling reads every window: kernel area × outputs."""
    return {
        "windows": shape.kernel**2 * shape.out_bytes,
        "windows_border": shape.kernel**2 * shape.out_bytes * _edge(shape),
        "rows": shape.out_bytes / max(1, shape.columns),
        **_streamed(shape),
    }


def _joined(shape: LayerShape) -> dict[str, float]:
    return {"tensors": shape.reads, **_streamed(shape)}


def _gated(shape: LayerShape) -> dict[str, float]:
    """A gate multiplies plane by plane, each with a factor of its own."""
    return {"planes": shape.planes, **_streamed(shape)}


def _rearranged(shape: LayerShape) -> dict[str, float]:
    """What changes the order of numbers steps from plane to plane (or row to row). Where a plane is a multiple of the
    size of one way of the first cache, all the steps fall on the same few lines of it and push each other out."""
    aliased = shape.map_bytes / max(1.0, shape.planes) % _WAY_BYTES == 0
    return {"aliased_bytes": (shape.in_bytes + shape.out_bytes) * aliased, **_streamed(shape)}


def _product(shape: LayerShape) -> dict[str, float]:
    """One row reads every weight once and waits for memory; several rows compute."""
    return {
        "macs_of_rows": shape.macs * (shape.places > 1),
        "weight_bytes": shape.weight_bytes,
        **{f"weights_over_{name}": max(0.0, shape.weight_bytes - size) for name, size in _CACHES.items()},
        **_moved(shape),
    }


_EXTENDED = {
    "convolution": _convolution,
    "depthwise_convolution": _depthwise,
    "fully_connected": _product,
    "concat": _joined,
    "max_pooling": _windowed,
    "average_pooling": _windowed,
    "gate": _gated,
    "reshape": _rearranged,
    "copy": _rearranged,
}

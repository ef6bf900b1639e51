"""Layer times that others have measured, from CSV files: single layers by shape, and blocks of whole networks.

Two families of tables, told apart by their first line. *Single layers* (the Neurosurgeon tables of Tjyy-1223): a
square map of `HW` × `HW` × `Cin`, "same" padding, latency in ms; a `FLOPs` column is not read, the work follows from
the shape.
*Blocks* (Scission, UCC 2020): seconds of runs of Keras layers. Of those only VGG's blocks are one layer each, so only
they tell what a layer costs; their convolutions include the ReLU and one call of the framework.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from isthmus.errors import BadInput
from isthmus.files import read_within
from isthmus.profile.regression.fit import Sample, fit_types
from isthmus.profile.regression.shapes import LayerShape
from isthmus.profile.regression.types import LayerType, Regression
from isthmus.profile.types import Machine

MAX_TABLE_BYTES = 64 << 20
_LEAST, _MOST = 1e-9, 1e9
"""Sizes, counts and milliseconds that a table may hold."""
_FLOAT = 4
_Row = dict[str, float]

_VGG = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_VGG_WIDTHS = (64, 128, 256, 512, 512)
_VGG_SIZE = 224
_UNREAD = "FLOPs"
_TOO_QUICK = ("0", "0.0")
"""What a coarse clock says of a block that took less than one of its ticks: nothing."""


def read_table(path: Path) -> tuple[Sample, ...]:
    """The layers of a table. Raises BadInput for a table of another kind, a bad number, or one without any layer."""
    header, rows = _lines(path)
    if header == _SCISSION:
        found = tuple(_of_blocks(path, rows))
    else:
        if header not in _SINGLE:
            raise BadInput(f"{path} is no table of layer times: its columns are {', '.join(header)[:200]}")
        shape_of = _SINGLE[header]
        found = tuple(_sample(path, number, header, row, shape_of) for number, row in enumerate(rows, 2))
    if not found:
        raise BadInput(f"{path} holds no layer whose shape is known")
    return found


def regression_from_tables(paths: Sequence[Path], *, name: str, taken: str) -> Regression:
    """The laws of the device that these tables were measured on. Raises BadInput as `read_table` and `fit_types` do."""
    samples = [s for p in paths for s in read_table(p)]
    return Regression(
        machine=Machine(
            name=name,
            cpu="as measured by others",
            system="not known",
            runtime="not known",
            threads=1,
            kind="regression",
        ),
        taken=taken,
        source=f"{len(samples)} layers of {', '.join(p.name for p in paths)}",
        note="Times of single calls: every layer carries what a call costs, so whole networks come out too slow.",
        fuses=False,
        layers=fit_types(samples),
    )


def _lines(path: Path) -> tuple[tuple[str, ...], list[list[str]]]:
    try:
        text = read_within(path, MAX_TABLE_BYTES).decode()
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"cannot read layer times from {path}: {error}") from error
    if not rows:
        raise BadInput(f"{path} is empty; a table of layer times begins with the names of its columns")
    return tuple(c.strip() for c in rows[0]), rows[1:]


def _sample(
    path: Path, number: int, header: tuple[str, ...], row: Sequence[str], shape_of: Callable[[_Row], LayerShape]
) -> Sample:
    told = zip(header, _whole(path, number, header, row), strict=True)
    values = {c: _number(path, number, c, v) for c, v in told if c != _UNREAD}
    return Sample(shape_of(values), values["latency"] / 1e3)


def _whole(path: Path, number: int, header: Sequence[str], row: Sequence[str]) -> Sequence[str]:
    if len(row) != len(header):
        raise BadInput(f"{path}, line {number}: {len(row)} values under {len(header)} columns")
    return row


def _number(path: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not _LEAST <= value <= _MOST:
        raise BadInput(f"{path}, line {line}: {column} is '{text[:40]}', not a number from {_LEAST:g} to {_MOST:g}")
    return value


def conv_shape(
    kind: LayerType, size: float, channels: float, filters: float, kernel: float, stride: float
) -> LayerShape:
    """A convolution of a square map with "same" padding; `depthwise_convolution` has a group a channel."""
    side = math.ceil(size / stride)
    depth = 1.0 if kind == "depthwise_convolution" else channels
    weights = kernel**2 * depth * filters
    return LayerShape(
        type=kind,
        map_bytes=_FLOAT * size**2 * channels,
        in_bytes=_FLOAT * size**2 * channels,
        out_bytes=_FLOAT * side**2 * filters,
        weight_bytes=_FLOAT * weights,
        macs=weights * side**2,
        channels=int(channels),
        filters=int(filters),
        kernel=kernel,
        stride=stride,
        groups=int(channels) if kind == "depthwise_convolution" else 1,
        columns=side,
        places=side**2,
    )


def pool_shape(kind: LayerType, size: float, channels: float, side: float, kernel: float, stride: float) -> LayerShape:
    """A pooling of a square map into `side` × `side` places."""
    bare = map_shape(kind, size**2 * channels, side**2 * channels)
    return replace(bare, kernel=kernel, stride=stride, channels=int(channels), columns=int(side))


def map_shape(kind: LayerType, numbers_in: float, numbers_out: float) -> LayerShape:
    """A layer without weights that turns so many numbers into so many."""
    return LayerShape(
        type=kind, map_bytes=_FLOAT * numbers_in, in_bytes=_FLOAT * numbers_in, out_bytes=_FLOAT * numbers_out
    )


def product_shape(inputs: float, outputs: float) -> LayerShape:
    """A fully connected layer on one row."""
    return LayerShape(
        type="fully_connected",
        map_bytes=_FLOAT * inputs,
        in_bytes=_FLOAT * inputs,
        out_bytes=_FLOAT * outputs,
        weight_bytes=_FLOAT * inputs * outputs,
        macs=inputs * outputs,
        channels=int(inputs),
        filters=int(outputs),
    )


def _of_blocks(path: Path, rows: Sequence[Sequence[str]]) -> Iterator[Sample]:
    """Scission's blocks of VGG-16 and VGG-19, whose layers are known."""
    layers = {name: list(_vgg_layers(counts)) for name, counts in _VGG.items()}
    for number, row in enumerate(rows, 2):
        _, name, _, _, last, seconds, _ = _whole(path, number, _SCISSION, row)
        if name in layers:
            at = int(_number(path, number, "last_layer", last))
            shape = layers[name][at] if at < len(layers[name]) else None
            if shape is not None and seconds.strip() not in _TOO_QUICK:
                yield Sample(shape, _number(path, number, "time_s", seconds))


def _vgg_layers(counts: Sequence[int]) -> Iterator[LayerShape | None]:
    """By Keras's numbers of layers: the input (None), convolutions and poolings, the flattening (None), products."""
    yield None
    size, channels = _VGG_SIZE, 3
    for width, count in zip(_VGG_WIDTHS, counts, strict=True):
        for _ in range(count):
            yield conv_shape("convolution", size, channels, width, 3, 1)
            channels = width
        yield pool_shape("max_pooling", size, width, size // 2, 2, 2)
        size //= 2
    yield None
    features = size * size * channels
    for outputs in (4096, 4096, 1000):
        yield product_shape(features, outputs)
        features = outputs


_SCISSION = ("device", "model", "block", "first_layer", "last_layer", "time_s", "output_bytes")
_SINGLE: dict[tuple[str, ...], Callable[[_Row], LayerShape]] = {
    ("HW", "kernel", "stride", "Cin", "Cout", "FLOPs", "latency"): lambda r: conv_shape(
        "convolution", r["HW"], r["Cin"], r["Cout"], r["kernel"], r["stride"]
    ),
    ("HW", "kernel", "stride", "Cin", "FLOPs", "latency"): lambda r: conv_shape(
        "depthwise_convolution", r["HW"], r["Cin"], r["Cin"], r["kernel"], r["stride"]
    ),
    ("HW", "kernel", "stride", "Cin", "latency"): lambda r: pool_shape(
        "max_pooling", r["HW"], r["Cin"], math.ceil(r["HW"] / r["stride"]), r["kernel"], r["stride"]
    ),
    ("HW", "output", "Cin", "latency"): lambda r: pool_shape(
        "average_pooling", r["HW"], r["Cin"], r["output"], math.ceil(r["HW"] / r["output"]), r["HW"] / r["output"]
    ),
    ("HW", "Cin", "latency"): lambda r: map_shape("batch_norm", r["HW"] ** 2 * r["Cin"], r["HW"] ** 2 * r["Cin"]),
    ("in_features", "out_features", "FLOPs", "latency"): lambda r: product_shape(r["in_features"], r["out_features"]),
}
"""What a row says, by the columns of the table."""

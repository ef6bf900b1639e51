"""Systolic arrays by the closed form of SCALE-Sim (Samajdar et al., arXiv 1811.02883): stall-free cycles of a product.

A product too large for the array is folded: it is worked off in tiles of rows × columns, one after the other, each
filled and drained in full. With M rows, N columns and depth K of the product,

    stationary   down the array   across   streamed   cycles of a tile
    os output    M                N        K          R + C + K − 2
    ws weight    K                N        M          2R + C + M − 2
    is input     K                M        N          2R + C + N − 2

SCALE-Sim reports the number of the last cycle, counted from 0: one less than the sum. Stalls have no closed form there;
a layer takes the longer of its cycles and its data at the bandwidth. Numbers narrower than a word move faster and are
multiplied no faster (Banitalebi-Dehkordi et al., Auto-Split, KDD 2021); wider ones take a cycle a word. What has no
product (pooling, what is not fused) takes as long as its data.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isthmus.profile.devices.types import Systolic
from isthmus.profile.devices.workload import Workload

Dataflow = Literal["os", "ws", "is"]


def cycles(
    array: tuple[int, int], dataflow: Dataflow, rows: ArrayLike, columns: ArrayLike, depth: ArrayLike, count: ArrayLike
) -> NDArray[np.int64]:
    """Stall-free cycles of `count` products of (rows × depth)·(depth × columns) on an array of (rows, columns), as
    SCALE-Sim numbers them; arrays broadcast, and where a size is 0 there are no cycles."""
    m, n, k, times = (np.asarray(v, dtype=np.int64) for v in (rows, columns, depth, count))
    high, wide = array
    down, across, streamed = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}[dataflow]
    fill = high + wide - 2 if dataflow == "os" else 2 * high + wide - 2
    tiles = -(-down // high) * -(-across // wide) * times
    total: NDArray[np.int64] = np.maximum(tiles * (fill + streamed) - 1, 0)
    return np.where((m > 0) & (n > 0) & (k > 0), total, 0)


def systolic_s(device: Systolic, work: Workload, weight_bits: Any, input_bits: Any, output_bits: Any) -> Any:
    """Seconds of every node, shape (…, nodes); each width a number or an array that broadcasts to that shape."""
    array = device.rows, device.columns
    words = -(-np.maximum(weight_bits, input_bits) // device.word_bits)
    busy = words * cycles(array, device.dataflow, work.rows, work.columns, work.depth, work.count)
    bits = work.weights * weight_bits + work.reads * input_bits + work.writes * output_bits
    return np.maximum(busy / device.clock_hz, bits / 8 / device.bandwidth_bytes_per_s)

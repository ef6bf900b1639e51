"""SCALE-Sim's closed form: against figures of the simulator itself, and against an array simulated cycle by cycle."""

from __future__ import annotations

import math
from itertools import product
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from isthmus.graph import graph_of
from isthmus.model import load_model
from isthmus.profile.devices import Workload, cycles

Dataflow = Literal["os", "ws", "is"]
Ints = NDArray[np.int64]
DATAFLOWS: tuple[Dataflow, ...] = ("os", "ws", "is")


def tiles(left: Ints, right: Ints, high: int, wide: int) -> tuple[list[Ints], list[Ints]]:
    """Horizontal slices of `left`, `high` rows each, and vertical slices of `right`, `wide` columns each; the last ones
    filled up with zeros."""
    down = [left[i : i + high] for i in range(0, left.shape[0], high)]
    across = [right[:, j : j + wide] for j in range(0, right.shape[1], wide)]
    return (
        [np.pad(t, ((0, high - t.shape[0]), (0, 0))) for t in down],
        [np.pad(t, ((0, 0), (0, wide - t.shape[1]))) for t in across],
    )


def stationary_output(left: Ints, right: Ints) -> tuple[Ints, int]:
    """One tile, cycle by cycle: rows of `left` come in from the west, columns of `right` from the north, each row and
    column one cycle later than the one before; every cell adds the product of what it holds and passes both on."""
    high, depth, wide = left.shape[0], left.shape[1], right.shape[1]
    west, north, total = (np.zeros((high, wide), dtype=np.int64) for _ in range(3))
    met = np.zeros((high, wide), dtype=np.int64)
    clock = 0
    while met.min() < depth:
        west = np.roll(west, 1, axis=1)
        north = np.roll(north, 1, axis=0)
        for i in range(high):
            west[i, 0] = left[i, clock - i] if 0 <= clock - i < depth else 0
        for j in range(wide):
            north[0, j] = right[clock - j, j] if 0 <= clock - j < depth else 0
        total += west * north
        for i, j in product(range(high), range(wide)):
            met[i, j] += 0 <= clock - i - j < depth
        clock += 1
    return total, clock


def stationary_operand(held: Ints, streamed: Ints) -> tuple[Ints, int]:
    """One tile of streamed·held, cycle by cycle: `held` is shifted in from the north, one row a cycle; then the rows of
    `streamed` come in from the west, skewed, and sums run down and out of the south edge."""
    high, wide = held.shape
    cells = np.zeros_like(held)
    clock = 0
    for row in held[::-1]:
        cells = np.vstack([row, cells[:-1]])
        clock += 1
    assert (cells == held).all()
    west, sums = np.zeros_like(held), np.zeros_like(held)
    out = np.zeros((streamed.shape[0], wide), dtype=np.int64)
    began, left = clock, streamed.shape[0] * wide
    while left:
        now = clock - began
        west = np.roll(west, 1, axis=1)
        for i in range(high):
            west[i, 0] = streamed[now - i, i] if 0 <= now - i < streamed.shape[0] else 0
        sums = np.vstack([np.zeros((1, wide), dtype=np.int64), sums[:-1]]) + west * cells
        for j in range(wide):
            row = now - (high - 1) - j
            if 0 <= row < streamed.shape[0]:
                out[row, j] = sums[-1, j]
                left -= 1
        clock += 1
    return out, clock


def simulated(dataflow: Dataflow, a: Ints, b: Ints, high: int, wide: int) -> tuple[Ints, int]:
    """a·b on a high × wide array, tile after tile: (the product, cycles)."""
    rows, columns = a.shape[0], b.shape[1]
    clock = 0
    if dataflow == "os":
        down, across = tiles(a, b, high, wide)
        made = [[stationary_output(t, u) for u in across] for t in down]
        clock = sum(cell[1] for line in made for cell in line)
        return np.block([[cell[0] for cell in line] for line in made])[:rows, :columns], clock
    streamed, held = (a, b) if dataflow == "ws" else (b.T, a.T)
    total = np.zeros((streamed.shape[0], held.shape[1] + wide), dtype=np.int64)
    for i in range(0, held.shape[0], high):
        for j in range(0, held.shape[1], wide):
            tile = held[i : i + high, j : j + wide]
            tile = np.pad(tile, ((0, high - tile.shape[0]), (0, wide - tile.shape[1])))
            part = streamed[:, i : i + high]
            part = np.pad(part, ((0, 0), (0, high - part.shape[1])))
            made_here, spent = stationary_operand(tile, part)
            total[:, j : j + wide] += made_here
            clock += spent
    answer = total[:, : held.shape[1]]
    return (answer if dataflow == "ws" else answer.T), clock


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_the_closed_form_counts_what_a_simulated_array_takes(dataflow: Dataflow) -> None:
    rng = np.random.default_rng(5)
    folded = 0
    for _ in range(40):
        high, wide, m, n, k = (int(v) for v in rng.integers(1, [5, 5, 12, 12, 12]))
        a, b = rng.integers(-9, 10, (m, k)), rng.integers(-9, 10, (k, n))
        made, spent = simulated(dataflow, a, b, high, wide)
        assert (made == a @ b).all()
        assert cycles((high, wide), dataflow, m, n, k, 1) == spent - 1
        folded += max(m, k) > high and max(n, k) > wide
    assert folded > 20  # the cases are hard: most do not fit into the array


@pytest.mark.parametrize(
    ("array", "dataflow", "expected"),
    [((12, 14), "os", 785_999), ((12, 14), "ws", 761_279), ((256, 256), "os", 14_117), ((256, 256), "ws", 11_705)],
)
def test_one_layer_as_the_simulator_reports_it(array: tuple[int, int], dataflow: Dataflow, expected: int) -> None:
    """scalesim 3.0.0, a 3 × 3 convolution of 64 to 64 channels at 56 × 56."""
    assert cycles(array, dataflow, 56 * 56, 64, 9 * 64, 1) == expected


@pytest.mark.parametrize(("dataflow", "expected"), [("ws", 454_139), ("os", 349_888)])
def test_resnet50_as_the_simulator_reports_it(dataflow: Dataflow, expected: int) -> None:
    """scalesim 3.0.0, the 54 layers on 256 × 256: equal when the places of strided outputs are rounded up, as it does;
    ONNX rounds down, which is worth half a per cent."""
    model = load_model("zoo:resnet50", weights=False)
    graph = graph_of(model)
    work = Workload.of(graph)
    rounded = work.rows.copy()
    attributes = {n.output[0]: {a.name: list(a.ints) for a in n.attribute} for n in model.proto.graph.node}
    for i in (i for i, n in enumerate(graph.nodes) if n.op == "Conv"):
        node, stored = graph.nodes[i], attributes[graph.nodes[i].name]
        side = graph.tensors[node.inputs[0]].shape[2] + sum(stored["pads"][::2])
        kernel = math.isqrt(int(work.depth[i]) // graph.tensors[node.inputs[0]].shape[1])
        rounded[i] = (-(-(side - kernel) // stored["strides"][0]) + 1) ** 2
    assert (work.count > 0).sum() == 54
    assert cycles((256, 256), dataflow, rounded, work.columns, work.depth, work.count).sum() == expected
    ours = cycles((256, 256), dataflow, work.rows, work.columns, work.depth, work.count).sum()
    assert 0.995 * expected < ours < expected


def test_groups_run_one_after_the_other() -> None:
    one = cycles((12, 14), "ws", 100, 1, 9, 1) + 1
    assert cycles((12, 14), "ws", 100, 1, 9, 32) == 32 * one - 1


sizes = st.integers(1, 3000)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(DATAFLOWS), st.integers(1, 64), st.integers(1, 64), sizes, sizes, sizes, st.integers(1, 9))
def test_never_faster_than_every_multiplier_busy(
    dataflow: Dataflow, high: int, wide: int, m: int, n: int, k: int, count: int
) -> None:
    spent = int(cycles((high, wide), dataflow, m, n, k, count)) + 1
    assert spent >= math.ceil(m * n * k * count / (high * wide))
    assert int(cycles((high, wide), dataflow, m + 1, n, k, count)) + 1 >= spent
    assert int(cycles((high, wide), dataflow, m, n, k, count + 1)) + 1 > spent


def test_nothing_to_multiply_takes_no_cycles() -> None:
    assert cycles((4, 4), "os", [0, 3, 3], [3, 0, 3], [3, 3, 0], 1).tolist() == [0, 0, 0]

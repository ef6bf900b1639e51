"""What a process holds for layers in floating point: sums written over operands, and copies into another layout."""

from __future__ import annotations

import pytest

from isthmus.graph import OUTPUT, Graph, Node, Product, Tensor, cut_at
from isthmus.plan.held import held
from isthmus.quant import BitPlan

PLACES = 32 * 32
GRAIN = 256


def network(*layers: tuple[str, str, tuple[str, ...], int], output: str) -> Graph:
    """(name, op, what it reads, channels): pictures of 32 × 32, behind a pool 8 × 8; a convolution sees one place."""
    tensors = {"x": Tensor("x", (1, 3, 32, 32), "float32", 4)}
    nodes = []
    for name, op, reads, channels in layers:
        side = 8 if op == "MaxPool" else tensors[reads[0]].shape[2]
        tensors[name] = Tensor(name, (1, channels, side, side), "float32", 4)
        depth = tensors[reads[0]].shape[1]
        product = Product(side * side, channels, depth) if op == "Conv" else None
        size = channels * depth if product else 0
        window = {"Conv": (1, 1), "MaxPool": (3, 3)}.get(op, ())
        nodes.append(
            Node(name, op, reads, (name,), parameters=size, weight_bytes=4 * size, product=product,
                 kernel=window, strides=(1, 1) if window else ())
        )  # fmt: skip
    return Graph("made", 1, tuple(nodes), tensors, ("x",), (output,))


def arena_bytes(of: Graph, *, constant: bool) -> int:
    """All of it in floating point; `constant` false: weights are widened from 8 bits when they are read."""
    narrow = BitPlan(weights={n.name: 8 for n in of.nodes if n.product}, outputs=dict.fromkeys(of.tensors, 16))
    return held(of, cut_at(of, OUTPUT), None if constant else narrow).arena_bytes


def grains(*floats: int) -> int:
    return sum(-(-4 * count // GRAIN) * GRAIN for count in floats)


RESIDUAL = (("a", "Conv", ("x",), 16), ("b", "Conv", ("a",), 16), ("c", "Add", ("b", "a"), 16))
WIDE = 16 * PLACES


@pytest.mark.parametrize("constant", [True, False])
def test_a_convolution_writes_its_sum_over_what_nobody_reads_again(constant: bool) -> None:
    of = network(*RESIDUAL, ("d", "Conv", ("c",), 4), output="d")
    weights = 0 if constant else grains(16 * 3, 16 * 16)
    found = arena_bytes(of, constant=constant)
    assert grains(WIDE, 4 * PLACES) <= found <= grains(WIDE, 4 * PLACES) + weights


def test_an_output_is_written_where_it_stays() -> None:
    """In blocks it is copied behind the sum; plain it is the convolution's own result, beside what is added."""
    of = network(*RESIDUAL, output="c")
    assert arena_bytes(of, constant=True) == 2 * grains(WIDE)
    assert arena_bytes(of, constant=False) == 2 * grains(WIDE) + grains(16 * 3, 16 * 16)


def test_a_shortcut_runs_right_before_the_convolution_that_is_added_onto_it() -> None:
    """Last, it would be added onto the convolution, with what both read alive beside both results; first, it would be
    alive beside the large `c`."""
    of = network(
        ("a", "Conv", ("x",), 16), ("b", "Conv", ("a",), 16), ("c", "Conv", ("b",), 64), ("d", "Conv", ("c",), 4),
        ("e", "Conv", ("d",), 32), ("s", "Conv", ("a",), 32), ("f", "Add", ("e", "s"), 32), ("g", "Conv", ("f",), 4),
        output="g",
    )  # fmt: skip
    alive = 6 * grains(WIDE)
    assert arena_bytes(of, constant=False) == pytest.approx(alive, abs=grains(WIDE) / 2)


@pytest.mark.parametrize("constant", [True, False])
def test_a_pool_reads_blocks_of_channels(constant: bool) -> None:
    of = network(("a", "Conv", ("x",), 16), ("p", "MaxPool", ("a",), 16), ("d", "Conv", ("p",), 4), output="d")
    copied = 0 if constant else grains(WIDE) + grains(16 * 3)
    pooled = grains(16 * 64) if constant else 0  # it has room in what the plain tensor left
    assert arena_bytes(of, constant=constant) == grains(WIDE) + copied + pooled
    few = network(("a", "Conv", ("x",), 4), ("p", "MaxPool", ("a",), 4), ("d", "Conv", ("p",), 4), output="d")
    assert arena_bytes(few, constant=False) < 2 * grains(4 * PLACES), "fewer channels than a block has"


def test_what_leaves_blocks_is_copied_when_it_is_made() -> None:
    """`a` goes on in blocks and is read plain much later: its plain copy lies there meanwhile."""
    of = network(
        ("a", "Conv", ("x",), 16), ("b", "Conv", ("a",), 16), ("c", "Conv", ("b",), 16), ("d", "Conv", ("c",), 4),
        ("s", "Slice", ("a",), 4), ("e", "Concat", ("d", "s"), 8), output="e",
    )  # fmt: skip
    assert arena_bytes(of, constant=True) == 3 * grains(WIDE)


def test_a_pool_over_all_places_takes_what_it_is_handed() -> None:
    """Plain it is read as it lies: no copy into blocks."""
    of = network(("a", "Conv", ("x",), 16), ("p", "GlobalAveragePool", ("a",), 4), output="p")
    assert arena_bytes(of, constant=False) <= grains(WIDE, 4 * PLACES, 16 * 3)

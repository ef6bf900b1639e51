"""Which cuts are fusion-safe, with and without the blocked layout, against testing every cut alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from engine_nets import WITH_EXITS, convolutions
from onnx import helper

from isthmus.engine import Engine
from isthmus.engine.core import LAYOUT_OPS, Core
from isthmus.engine.ends import Ends, ends_of
from isthmus.engine.fusion import keep_safe, optimiser
from isthmus.engine.prepare import element_type
from isthmus.errors import BadInput
from isthmus.graph import graph_of, narrow_cuts
from isthmus.model import Model, load_model


def one_by_one(model: Model, folder: Path, level: str) -> set[str]:
    """The slow twin: one optimisation a cut; safe is what leaves the operator count as it was."""
    graph = graph_of(model)
    kinds = {t: element_type(graph, t) for t in graph.tensors}
    optimised = optimiser(model.proto, kinds, folder)
    fewest = optimised((), level).work_nodes
    inside = [c.id for c in narrow_cuts(graph) if c.id in graph.producer and c.id not in graph.outputs]
    return {t for t in inside if optimised([t], level).work_nodes == fewest}


@pytest.mark.parametrize("level", ["all", "extended"])
@pytest.mark.parametrize(
    "name",
    [
        "zoo:tiny",
        "zoo:mobilenet_v2",
        pytest.param("zoo:resnet18", marks=pytest.mark.slow),
        pytest.param("zoo:efficientnet_b0", marks=pytest.mark.slow),
        pytest.param("light:inception_v1", marks=pytest.mark.slow),
    ],
)
def test_found_together_are_those_found_one_by_one(name: str, level: str, tmp_path: Path, cache_dir: Path) -> None:
    model = load_model(name)
    alone = one_by_one(model, tmp_path, level)
    together = Engine.open(model, cache_dir=cache_dir, cuts="none", level="all" if level == "all" else "extended").safe
    assert together == alone
    assert 0 < len(alone) < len(narrow_cuts(graph_of(model))) - 2 or name == "zoo:efficientnet_b0", "an easy case"


@pytest.mark.parametrize("level", ["all", "extended"])
def test_a_tensor_inside_a_fused_operator_is_not_safe(level: str, cache_dir: Path) -> None:
    engine = Engine.open(convolutions(), cache_dir=cache_dir, level="all" if level == "all" else "extended")
    assert {"r0", "r1", "r2", "r3"} <= engine.safe
    assert not {"c0", "c1", "c3"} & engine.safe
    assert ("a2" in engine.safe) == (level == "extended")  # the blocked convolution adds and activates by itself


def test_without_the_blocked_layout_every_ready_cut_gives_the_same_bits(cache_dir: Path) -> None:
    engine = Engine.open(convolutions(), cache_dir=cache_dir, level="extended")
    assert not any(n.op_type in LAYOUT_OPS for n in engine.core.proto.graph.node), "there are layout moves after all"
    assert_same_bits(engine)


@pytest.mark.parametrize("channels", [6, 8, 12, 16, 20])
def test_channel_counts_that_do_not_fill_a_block(channels: int, cache_dir: Path) -> None:
    """Six channels cannot be blocked again: such a cut is not ready, but works on demand."""
    engine = Engine.open(convolutions(channels), cache_dir=cache_dir)
    assert_same_bits(engine)
    inputs = engine.model.random_inputs(2)
    wanted = engine.whole(inputs)["logits"]
    for cut in narrow_cuts(engine.graph):
        head = engine.head(cut.id, inputs)
        made = {**head, **engine.tail(cut.id, {t: head[t] for t in cut.crossing})}
        got, whole = np.asarray(made["logits"], np.float64), np.asarray(wanted, np.float64)
        np.testing.assert_allclose(got, whole, atol=1e-5)


@pytest.mark.parametrize("channels", [6, 16])
def test_a_tail_can_begin_exactly_where_it_can_be_made(channels: int, cache_dir: Path) -> None:
    """Six channels: it closes and finds no way back into the blocked layout. Elsewhere: fused away, so open."""
    engine = Engine.open(convolutions(channels, exits=WITH_EXITS), cache_dir=cache_dir)
    tails = [ends_of(engine.graph, cut) for cut in reversed(narrow_cuts(engine.graph)[1:-1])]
    found = list(engine.core.can_begin((e.crossing, e.late) for e in tails))
    assert found == [is_made(engine.core, e) for e in tails]
    assert {True, False} == set(found)


def is_made(core: Core, ends: Ends) -> bool:
    takes = [helper.make_tensor_value_info(t, onnx.TensorProto.FLOAT, None) for t in ends.crossing]
    try:
        core.part(takes, [(t, onnx.TensorProto.FLOAT) for t in ends.late])
    except BadInput:
        return False
    return True


def assert_same_bits(engine: Engine) -> None:
    inputs = engine.model.random_inputs(3)
    wanted = engine.whole(inputs)["logits"]
    assert wanted.std() > 0.01
    for cut_id in engine.safe:
        np.testing.assert_array_equal(engine.tail(cut_id, engine.head(cut_id, inputs))["logits"], wanted)


def fake(costs: Callable[[Sequence[str]], int]) -> Callable[[Sequence[str], str], Core]:
    """An optimiser whose operators bear names that tell nothing; `costs(kept)` of them are surplus."""

    def run(keep: Sequence[str], level: str) -> Core:
        nodes = [helper.make_node("Relu", ["x"], [t], name="n") for t in "abcdef"]
        nodes += [helper.make_node("Relu", ["x"], [f"s{i}"], name="n") for i in range(costs(keep))]
        return Core(onnx.ModelProto(graph=onnx.GraphProto(node=nodes)))

    return run


@pytest.mark.parametrize("unsafe", [set("a"), set("f"), set("bd"), set("abcdef"), set()])
def test_where_names_tell_nothing_the_list_is_halved(unsafe: set[str]) -> None:
    found = keep_safe(list("abcdef"), fake(lambda kept: len(unsafe & set(kept))))
    assert set(found.safe) == set("abcdef") - unsafe


def test_the_tails_of_a_long_chain_are_walked_once() -> None:
    names = ["x", *(f"t{i}" for i in range(1, 301))]
    nodes = [helper.make_node("Relu", [a], [b]) for a, b in pairwise(names)]
    core = Core(onnx.ModelProto(graph=onnx.GraphProto(node=nodes)))
    core.producer = seen = Counted(core.producer)
    tails = [((name,), (names[-1],)) for name in reversed(names[1:-1])]
    assert all(core.can_begin(tails))
    assert seen.looked < 3 * len(names)


class Counted(dict[str, int]):
    looked = 0

    def __getitem__(self, name: str) -> int:
        self.looked += 1
        return super().__getitem__(name)

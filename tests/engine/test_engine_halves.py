"""tail(head(x)) is whole(x), and whole(x) is what a plain onnxruntime session answers, for every kind of cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from isthmus.engine import Engine
from isthmus.engine.check import Shapes, shapes_of
from isthmus.errors import BadInput
from isthmus.graph import INPUT, OUTPUT, narrow_cuts, prefix_cuts
from isthmus.model import IR_VERSION, OPSET, Model, model_from_proto

Arrays = dict[str, NDArray[np.generic]]
EngineOf = Callable[[str], Engine]
ModelOf = Callable[[str], Model]

SMALL = ["zoo:tiny", "zoo:mobilenet_v2", "light:squeezenet"]
LARGE = ["zoo:resnet18", "zoo:resnet50", "light:inception_v1"]
RELATIVE_ERROR = 2e-5
"""Halves built on demand are fused differently: float32 rounding over some fifty layers."""


def plain(model: Model, inputs: Arrays) -> Arrays:
    """The un-split twin: onnxruntime with its own settings."""
    names = [o.name for o in model.outputs]
    session = ort.InferenceSession(model.proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, inputs), strict=True))


def split(engine: Engine, cut_id: str, inputs: Arrays) -> Arrays:
    """All outputs, by way of a cut, with nothing but what crosses handed over."""
    head = engine.head(cut_id, inputs)
    ends = engine.halves(cut_id).ends if cut_id not in (INPUT, OUTPUT) else None
    crossing = ends.crossing if ends else tuple(head) if cut_id == INPUT else ()
    tail = engine.tail(cut_id, {t: head[t] for t in crossing})
    assert not (tail.keys() & head.keys()), "an output was made twice"
    made = {**head, **tail}
    return {o.name: made[o.name] for o in engine.model.outputs}


def assert_close(got: Arrays, wanted: Arrays, relative: float) -> None:
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        exact = np.asarray(value, np.float64)
        scale = float(np.abs(exact).max())
        assert scale > 1e-3, "the network answers nothing: equality would say nothing"
        np.testing.assert_allclose(np.asarray(got[name], np.float64), exact, rtol=0, atol=relative * scale)


@pytest.mark.parametrize("name", SMALL)
def test_whole_is_what_a_plain_session_answers(name: str, model_of: ModelOf, engine_of: EngineOf) -> None:
    inputs = model_of(name).random_inputs(2 if model_of(name).dynamic_batch else 1)
    assert_close(engine_of(name).whole(inputs), plain(model_of(name), inputs), RELATIVE_ERROR)


@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(n, marks=pytest.mark.slow) for n in LARGE)])
def test_every_ready_cut_gives_the_same_bits(name: str, engine_of: EngineOf) -> None:
    engine = engine_of(name)
    inputs = engine.model.random_inputs()
    whole = engine.whole(inputs)
    for cut in engine.cuts:
        assert_close(split(engine, cut.id, inputs), whole, 0.0)


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_any_batch(batch: int, engine_of: EngineOf) -> None:
    engine = engine_of("zoo:tiny")
    inputs = engine.model.random_inputs(batch)
    whole = engine.whole(inputs)
    for cut in engine.cuts:
        got = split(engine, cut.id, inputs)
        assert all(a.shape[0] == batch for a in got.values())
        assert_close(got, whole, 0.0)


def test_cuts_that_are_not_ready_are_built_on_demand(engine_of: EngineOf) -> None:
    engine = engine_of("zoo:tiny")
    inputs = engine.model.random_inputs()
    whole = engine.whole(inputs)
    rare = [c.id for c in (*narrow_cuts(engine.graph), *prefix_cuts(engine.graph)) if c not in engine.cuts]
    assert rare
    for cut_id in rare:
        assert_close(split(engine, cut_id, inputs), whole, RELATIVE_ERROR)


def test_several_tensors_across_a_cut(engine_of: EngineOf) -> None:
    engine = engine_of("light:squeezenet")
    inputs = engine.model.random_inputs()
    whole = engine.whole(inputs)
    wide = [c for c in prefix_cuts(engine.graph) if len(c.crossing) > 1]
    assert len(wide) >= 4
    for cut in wide[:: len(wide) // 4]:
        assert_close(split(engine, cut.id, inputs), whole, RELATIVE_ERROR)


@pytest.mark.parametrize("name", ["zoo:mobilenet_v2", "light:squeezenet"])
def test_a_tail_knows_every_shape_it_takes_and_makes(name: str, engine_of: EngineOf) -> None:
    """Else the runtime adds no shortcut in place: a tail of ResNet-50 took 3 % longer, on cold memory of its own."""
    engine = engine_of(name)
    fixed = not engine.model.dynamic_batch
    ready, rare = engine.cuts[1:-1], [c for c in prefix_cuts(engine.graph) if len(c.crossing) > 1]
    for cut in (*ready, *rare[:: len(rare) // 2]):
        tail = engine.halves(cut.id).tail
        assert tail is not None
        made = tail.session.get_outputs() if cut in ready else []
        for told in (*tail.session.get_inputs(), *made):
            batch, *others = engine.graph.tensors[told.name].shape
            assert told.shape[1:] == others
            assert told.shape[0] == batch if fixed else isinstance(told.shape[0], str)


def test_a_tail_leaves_what_it_was_given_as_it_is(engine_of: EngineOf) -> None:
    """It adds in place, but not there: where the server is late the device goes on from the same tensors."""
    engine = engine_of("zoo:mobilenet_v2")
    inputs = engine.model.random_inputs()
    for cut in engine.cuts[1:-1]:
        crossing = engine.head(cut.id, inputs)
        before = {name: array.copy() for name, array in crossing.items()}
        engine.tail(cut.id, crossing)
        assert_close(crossing, before, 0.0)


def test_shapes_at_any_batch_name_what_grows_alike() -> None:
    first = {"in": (1, 3), "rows": (4, 8), "more": (5, 8), "other": (1, 9)}
    growth = {"in": (1, 0), "rows": (4, 0), "more": (4, 0), "other": (1, 0)}
    shapes = Shapes(first, growth, dict.fromkeys(first, "float32"))
    axes = {name: shapes.axes(name) for name in first}
    assert [axes[name][1] for name in first] == [3, 8, 8, 9]
    assert axes["in"][0] == axes["other"][0]
    assert len({axes[name][0] for name in ("in", "rows", "more")}) == 3


def test_a_cut_that_does_not_bound_its_tail_is_refused(engine_of: EngineOf) -> None:
    engine = engine_of("zoo:mobilenet_v2")
    narrow = {c.id for c in narrow_cuts(engine.graph)}
    inside = next(n.name for n in engine.graph.nodes if n.name not in narrow and n.name not in engine.graph.outputs)
    for cut_id in (inside, "no such tensor"):
        with pytest.raises(BadInput, match=r"cut"):
            engine.head(cut_id, engine.model.random_inputs())


def test_shapes_are_checked_while_another_thread_forgets_them(engine: Engine) -> None:
    class Forgetful(dict[Any, Any]):
        """Emptied by another thread as soon as anybody has looked."""

        def __contains__(self, key: object) -> bool:
            found = super().__contains__(key)
            self.clear()
            return found

    shapes = replace(shapes_of(engine.model, engine.graph), _seen=Forgetful())
    inputs = engine.model.random_inputs(3)
    assert [shapes.check("tiny", list(inputs), inputs) for _ in range(2)] == [3, 3]


@pytest.mark.parametrize("kind", ["BFLOAT16", "FLOAT8E4M3FN", "INT4", "FLOAT16"])
def test_what_cannot_cross_is_computed_on_one_side(kind: str, cache_dir: Path) -> None:
    """numpy has no such type, so neither half could be run with it; float16 is the one that can."""
    element = TensorProto.DataType.Value(kind)
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Cast", ["a"], ["b"], to=element),
        helper.make_node("Cast", ["b"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Neg", ["c"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xy"]
    opset = [helper.make_opsetid("", OPSET)]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    proto = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    engine = Engine.open(model_from_proto(proto, kind), cache_dir=cache_dir)
    assert {"a", "c"} <= engine.safe <= {"a", "b", "c"}
    inputs = engine.model.random_inputs(2)
    for cut in engine.cuts:
        assert_close(split(engine, cut.id, inputs), engine.whole(inputs), RELATIVE_ERROR)
    if kind != "FLOAT16":
        assert "b" not in engine.safe
        with pytest.raises(BadInput, match=f"b of {kind} is {kind.lower()[:6]}.*; only numbers of 8 to 64 bits can"):
            engine.head("b", inputs)

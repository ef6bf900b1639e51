"""Samples of a batch that depend on one another are found out: strangers' requests are then not gathered, and samples
that are done stay in their batch."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from run_rig import Told

from isthmus.engine import Engine
from isthmus.errors import BadInput
from isthmus.graph import OUTPUT
from isthmus.model import IR_VERSION, Model, model_from_proto
from isthmus.profile import ExitTable
from isthmus.profile.exits import ExitRow
from isthmus.record.types import Choice
from isthmus.run import connect_engine
from isthmus.run.early import Early
from isthmus.run.halves import Halves
from isthmus.run.work import Leaving

node = helper.make_node
WIDTH = 8

BETWEEN = {
    "nothing": [node("Identity", ["r"], ["m"])],
    "own_softmax": [node("Softmax", ["r"], ["m"], axis=1)],
    "own_levels": [
        node("QuantizeLinear", ["r", "step", "zero"], ["levels"]),
        node("DequantizeLinear", ["levels", "step", "zero"], ["m"]),
    ],
    "mean": [node("ReduceMean", ["r", "axis"], ["mean"], keepdims=1), node("Sub", ["r", "mean"], ["m"])],
    "greatest": [node("ReduceMax", ["r", "axis"], ["most"], keepdims=1), node("Sub", ["r", "most"], ["m"])],
    "softmax": [node("Softmax", ["r"], ["m"], axis=0)],
    "sum_so_far": [node("CumSum", ["r", "first"], ["m"])],
    "sum_from_here": [node("CumSum", ["r", "first"], ["m"], reverse=1)],
    "turned_round": [node("Slice", ["r", "last", "before", "axis", "back"], ["m"])],
    "dynamic_levels": [
        node("DynamicQuantizeLinear", ["r"], ["levels", "s", "z"]),
        node("DequantizeLinear", ["levels", "s", "z"], ["m"]),
    ],
    "levels_of_a_full_range": [
        node("Clip", ["r", "nothing", "least"], ["c"]),
        node("DynamicQuantizeLinear", ["c"], ["levels", "s", "z"]),
        node("DequantizeLinear", ["levels", "s", "z"], ["m"]),
    ],
    "divided_by_the_batch": [
        node("Shape", ["r"], ["n"], start=0, end=1),
        node("Cast", ["n"], ["f"], to=TensorProto.FLOAT),
        node("Div", ["r", "f"], ["m"]),
    ],
}
"""What makes m of r, both of one row for a sample."""
KEEP_APART = ("nothing", "own_softmax", "own_levels")


def mixing(how: str) -> Model:
    """Two exits: `first` before what may mix samples, `last` behind it; and whole numbers beside them."""
    rng = np.random.default_rng(0)
    stored = {
        **{name: rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) for name in ("w", "w1", "w2")},
        **{"axis": np.array([0]), "first": np.array(0), "last": np.array([-1]), "before": np.array([-1000])},
        **{"back": np.array([-1]), "step": np.array(0.02, np.float32), "zero": np.array(0, np.uint8)},
        **{"nothing": np.array(0, np.float32), "least": np.array(1, np.float32)},
    }
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("Where", ["chosen", "a", "x"], ["b"]),
        node("Relu", ["b"], ["r"]),
        node("MatMul", ["r", "w1"], ["first_"]),
        *BETWEEN[how],
        node("MatMul", ["m", "w2"], ["last_"]),
    ]
    read = {name for one in nodes for name in one.input}
    types = (("x", TensorProto.FLOAT), ("chosen", TensorProto.BOOL))
    graph = helper.make_graph(
        nodes,
        how,
        [helper.make_tensor_value_info(name, kind, ["N", WIDTH]) for name, kind in types],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, ["N", WIDTH]) for o in ("first_", "last_")],
        [numpy_helper.from_array(value, name) for name, value in stored.items() if name in read],
    )
    return model_from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=IR_VERSION), how
    )


@pytest.mark.parametrize("how", BETWEEN)
def test_requests_are_gathered_where_samples_are_apart_and_refused_elsewhere(how: str) -> None:
    engine = Engine.open(mixing(how), cuts="none")
    with connect_engine(engine, "127.0.0.1:9", chooser=Told(OUTPUT)) as session:
        if how in KEEP_APART:
            session.batched(4).close()
        else:
            with pytest.raises(BadInput, match=rf"what {how} answers to a sample changes with the others in its batch"):
                session.batched(4)
        session.batched(1).close()


@pytest.mark.parametrize("name", ["zoo:tiny", "zoo:digits", "zoo:mobilenet_v2"])
def test_ordinary_networks_keep_samples_apart(engine_of: Callable[[str], Engine], name: str) -> None:
    assert Halves(engine_of(name)).apart


def test_it_is_tried_once_and_only_when_asked_for(digits: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    head = Engine.head
    monkeypatch.setattr(Engine, "head", lambda self, cut, given: asked.append(1) or head(self, cut, given))  # type: ignore[func-returns-value]
    halves = Halves(digits)
    assert not asked
    assert halves.at_exits(("exit1",)).apart
    assert halves.apart
    assert halves.at_exits(("exit2",)).apart
    assert len(asked) == 8


def test_no_request_waits_until_it_is_found_out(digits: Engine, table: ExitTable) -> None:
    halves = Halves(digits)
    Early(halves, table).to(None).warm_up(time.perf_counter)
    assert "apart" in vars(halves)


@pytest.mark.parametrize(("how", "left"), [("nothing", 1), ("mean", 2)])
def test_samples_are_taken_out_of_a_batch_only_where_they_are_apart(how: str, left: int) -> None:
    """One of two samples is sure at the first exit; the other must be answered as in the batch that was asked about."""
    engine = Engine.open(mixing(how), cuts="none")
    inputs = engine.model.random_inputs(2, seed=5)
    whole = engine.whole(inputs)
    raised = np.exp(whole["first_"])
    between = float((raised.max(axis=1) / raised.sum(axis=1)).mean())
    rows = (
        ExitRow(output="first_", accuracy=0.5, rule="confidence", threshold=between),
        ExitRow(output="last_", accuracy=0.9, rule="confidence"),
    )
    table = ExitTable(model=how, rule="confidence", rows=rows, classes=WIDTH, data="none", samples=2, accuracy=0.9)
    work = Leaving(Early(Halves(engine), table).to(None), Choice(cut=OUTPUT), inputs, 2, lambda: 0.0)
    assert work.head() is None
    assert work.batch == left
    assert sorted(work.exits) == ["first_", "last_"]
    stayed = work.exits.index("last_")
    np.testing.assert_allclose(work.outputs()["last_"][stayed], whole["last_"][stayed], rtol=1e-4, atol=1e-5)

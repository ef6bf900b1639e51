"""Kernel times belong to graph nodes: nothing is lost, and the node that works is the one that is charged."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from engine_nets import convolutions
from onnx import helper

from isthmus.engine import Engine, node_times
from isthmus.engine.nodes import attribute, owners
from isthmus.errors import BadInput
from isthmus.model import IR_VERSION, OPSET, load_model, model_from_proto


@pytest.mark.parametrize("level", ["all", "extended"])
@pytest.mark.parametrize("name", ["zoo:tiny", "zoo:mobilenet_v2", "light:squeezenet"])
def test_nothing_is_lost(name: str, level: Literal["all", "extended"], cache_dir: Path) -> None:
    engine = Engine.open(load_model(name), cache_dir=cache_dir, cuts="none", level=level)
    owner = owners(engine.core, engine.graph)
    kernels = {node.name: float(2**i) for i, node in enumerate(engine.core.proto.graph.node) if i < 50}
    times = attribute(kernels, owner, engine.graph)
    assert list(times) == [n.name for n in engine.graph.nodes]
    assert sum(times.values()) == sum(kernels.values())  # exact: every kernel is another power of two
    assert {n.name for n in engine.core.proto.graph.node} == owner.keys()


@pytest.mark.parametrize("level", ["all", "extended"])
def test_a_fused_kernel_belongs_to_its_convolution(level: Literal["all", "extended"], cache_dir: Path) -> None:
    engine = Engine.open(load_model("zoo:mobilenet_v2"), cache_dir=cache_dir, cuts="none", level=level)
    owner = owners(engine.core, engine.graph)
    heavy = {n.name for n in engine.graph.nodes if n.macs}
    kernels = [n for n in engine.core.proto.graph.node if n.op_type.removeprefix("Fused") in ("Conv", "Gemm")]
    assert {owner[n.name] for n in kernels} == heavy
    assert len(kernels) == len(heavy), "one kernel a convolution: none shares its owner with another"


def test_the_whole_is_timed(cache_dir: Path) -> None:
    engine = Engine.open(convolutions(64), cache_dir=cache_dir, slowdown=100.0, wait=lambda _: None)
    times = node_times(engine, engine.model.random_inputs(8), runs=3)
    assert set(times) == {n.name for n in engine.graph.nodes}
    assert times["c1"] > times["r1"]
    assert 0 < sum(times.values()) < 1.0
    assert engine.graph.nodes[0].macs < engine.graph.nodes[2].macs
    assert times["c1"] == max(times[c] for c in ("c0", "c1"))


def test_what_cannot_be_timed_is_refused(cache_dir: Path) -> None:
    engine = Engine.open(convolutions(), cache_dir=cache_dir, cuts="none")
    with pytest.raises(BadInput, match="0 runs"):
        node_times(engine, engine.model.random_inputs(), runs=0)
    with pytest.raises(BadInput, match="takes x"):
        node_times(engine, {"y": np.zeros((1, 3, 12, 12), np.float32)}, runs=1)


def test_a_profile_that_found_no_room_on_the_disk_is_refused(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime writes what fits and says nothing."""
    engine = Engine.open(convolutions(), cache_dir=cache_dir, cuts="none")
    whole = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, **how: whole(path, **how)[:-200])
    with pytest.raises(BadInput, match="was cut short; is the disk full"):
        node_times(engine, engine.model.random_inputs(), runs=1)


def test_what_the_runtime_unfolds_an_operator_into_is_timed_too(cache_dir: Path) -> None:
    """Bernoulli becomes two operators without names."""
    nodes = [helper.make_node("Bernoulli", ["x"], ["t"], seed=1.0), helper.make_node("Cast", ["t"], ["y"], to=1)]
    ends = [helper.make_tensor_value_info(name, 1, ["N", 4]) for name in "xy"]
    proto = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:]), ir_version=IR_VERSION)
    del proto.opset_import[:]
    proto.opset_import.append(helper.make_opsetid("", OPSET))
    engine = Engine.open(model_from_proto(proto, "unfolded"), cache_dir=cache_dir, cuts="none")
    assert len(engine.core.proto.graph.node) > 2, "the runtime has a kernel for it now"
    assert set(node_times(engine, engine.model.random_inputs(), runs=2)) == {"t", "y"}

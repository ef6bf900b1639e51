"""Right-sized running: one exit runs only the layers it needs, from the same weights."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.codec import Array
from isthmus.engine import Engine
from isthmus.errors import BadInput
from isthmus.graph import INPUT, OUTPUT, at_exit, narrow_cuts
from isthmus.model import load_model

NET = "zoo:digits"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.open(load_model(NET))


def close(found: Array, expected: Array) -> None:
    np.testing.assert_allclose(np.asarray(found, np.float32), np.asarray(expected, np.float32), atol=1e-5)


@pytest.mark.parametrize("exit_at", [0, 1, 2])
def test_an_exit_answers_as_the_whole_network_does_at_every_cut(engine: Engine, exit_at: int) -> None:
    output = engine.graph.outputs[exit_at]
    part = engine.at_exit(output)
    inputs = engine.model.random_inputs(3)
    whole = engine.whole(inputs)[output]
    found = part.whole(inputs)
    assert list(found) == [output]
    np.testing.assert_array_equal(found[output], whole)
    inner = [c.id for c in part.cuts if c.id not in (INPUT, OUTPUT)]
    assert len(inner) >= 2
    for cut in part.cuts:
        made = part.head(cut.id, inputs)
        close({**made, **part.tail(cut.id, made)}[output], whole)
    other = next(c.id for c in narrow_cuts(part.graph) if c.id not in {r.id for r in part.cuts})
    close(part.tail(other, part.head(other, inputs))[output], whole)


def test_only_the_layers_of_the_exit_are_run(engine: Engine) -> None:
    ran = []
    for output in engine.graph.outputs:
        part = engine.at_exit(output)
        assert {n.name for n in part.graph.nodes} == {n.name for n in at_exit(engine.graph, output).nodes}
        core = part._prepared.core
        nodes, _ = core._walk([output], set(engine.graph.inputs), {})
        ran.append(len(nodes))
    assert ran[0] < ran[1] < ran[2] < len(core.proto.graph.node)


def test_an_exit_is_made_once_and_is_known_by_the_same_fingerprint(engine: Engine) -> None:
    first = engine.at_exit(engine.graph.outputs[0])
    assert engine.at_exit(engine.graph.outputs[0]) is first
    assert first.at_exit(engine.graph.outputs[0]) is first
    assert first.model.fingerprint == engine.model.fingerprint
    assert [o.name for o in first.model.outputs] == [engine.graph.outputs[0]]
    with pytest.raises(BadInput, match=r"has no output 'exit9'"):
        engine.at_exit("exit9")

"""The server runs the part before the cut, the device the rest: Edgent's own order, over the wire."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from run_rig import Told, server_process

from isthmus.codec import Array
from isthmus.engine import Engine
from isthmus.errors import Refused, Unreachable
from isthmus.graph import INPUT, OUTPUT, Cut, cut_at, cut_of
from isthmus.model import load_model
from isthmus.profile import ExitTable, cascade
from isthmus.record import Choice, Step
from isthmus.run import Mode, Server, connect_engine, infer_remote, serve
from isthmus.run.codecs import Codecs
from isthmus.run.early import Early
from isthmus.run.halves import Halves
from isthmus.run.places import Made, Place, Places
from isthmus.run.split_pb2 import Welcome

CODECS = ("float32", "float16", "int8", "int4", "int4+huffman")
EXITS = ("exit1", "exit2", "exit3")


@pytest.fixture(scope="module")
def far(engine: Engine) -> Iterator[Server]:
    with serve(engine) as made:
        yield made


def turned(cut: str, codec: str = "float32", exit_at: str | None = None) -> Told:
    told = Told(cut)
    told.choice = Choice(cut=cut, codec=codec, first="server", exit=exit_at)
    return told


def inner(engine: Engine) -> list[str]:
    return [cut.id for cut in engine.cuts if cut.id not in (INPUT, OUTPUT)]


def near(found: Array, expected: Array, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(np.asarray(found, np.float64), np.asarray(expected, np.float64), atol=atol)


def close(found: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        near(found[name], array)


def by_hand(engine: Engine, cut_id: str, codec: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What this order gives, of the engine and the codecs alone."""
    codecs, cut = Codecs(), cut_at(engine.graph, cut_id)

    def sent(tensors: Mapping[str, Array]) -> dict[str, Array]:
        heads, payloads = codecs.dump(codec, tensors)
        return codecs.load(heads, memoryview(b"".join(payloads)))

    made = engine.head(cut_id, sent(inputs))
    back = sent({t: made[t] for t in cut.crossing if t not in engine.graph.outputs and t not in inputs})
    here = {**inputs, **made, **back}
    tail = engine.tail(cut_id, {t: here[t] for t in cut.crossing})
    return {t: made[t] if t in made else tail[t] for t in engine.graph.outputs}


@pytest.mark.parametrize("name", ["zoo:tiny", "zoo:digits", "zoo:b_lenet"])
def test_every_cut_and_codec_answers_as_both_halves_by_hand(engine_of: Callable[[str], Engine], name: str) -> None:
    engine = engine_of(name)
    inputs = engine.model.random_inputs(2, seed=3)
    whole, moved = engine.whole(inputs), 0
    told = turned(INPUT)
    with serve(engine) as server, connect_engine(engine, server.address, chooser=told, deadline_s=10, verify=True) as s:
        for cut, codec in itertools.product(inner(engine), CODECS):
            told.choice = Choice(cut=cut, codec=codec, first="server")
            answer = s.infer(inputs)
            step = answer.step
            assert (step.trouble, step.ran, step.first, step.cut, step.codec) == ("", "split", "server", cut, codec)
            assert step.wrong is False
            close(answer.outputs, by_hand(engine, cut, codec, inputs))
            if codec == "float32":
                close(answer.outputs, whole)
            moved += any(not np.array_equal(answer.outputs[t], whole[t]) for t in whole)
    assert moved > len(inner(engine)), "lossy codecs must show, or this test says nothing"


@pytest.mark.parametrize("output", EXITS)
def test_the_server_runs_the_head_of_the_exit_that_was_chosen(
    digits: Engine, images: dict[str, Array], output: str
) -> None:
    """Right-sized on both sides: nothing behind the exit is run, and every cut of its network works."""
    inputs = part(images, 0, 3)
    whole, told = digits.whole(inputs)[output], turned(INPUT)
    with serve(digits) as server, connect_engine(digits, server.address, chooser=told, deadline_s=10, verify=True) as s:
        for cut, codec in itertools.product(inner(digits.at_exit(output)), ("float32", "int8")):
            told.choice = Choice(cut=cut, codec=codec, first="server", exit=output)
            answer = s.infer(inputs)
            assert (answer.step.trouble, answer.step.wrong, answer.exit, answer.ran) == ("", False, output, "split")
            assert list(answer.outputs) == [output]
            if codec == "float32":
                near(answer.outputs[output], whole)


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("cut", ["relu_1", "relu_3", "relu_4", "relu_7"])
def test_leaving_early_on_either_side_is_the_offline_rule(
    digits: Engine, images: dict[str, Array], table: ExitTable, cut: str, batch: int
) -> None:
    """Whom the server is sure of comes back without what crosses; the others go on here."""
    count = 64 if batch == 1 else 240
    whole = digits.whole(part(images, 0, count))
    at, told, sizes = cascade(whole, table.rows), turned(cut), []
    with (
        serve(digits, exits=table) as server,
        connect_engine(digits, server.address, chooser=told, deadline_s=10, exits=table, verify=True) as session,
    ):
        for start in range(0, count, batch):
            answer = session.infer(part(images, start, batch))
            here = at[start : start + batch]
            assert answer.exits == tuple(EXITS[k] for k in here)
            assert (answer.step.trouble, answer.step.wrong, answer.step.first) == ("", False, "server")
            offline = np.stack([whole[EXITS[k]][start + i] for i, k in enumerate(here)])
            near(answer.outputs["exit3"], offline)
            sizes.append((max(here), answer.step.down_bytes))
    assert len(set(at)) > 1
    first = max(k for k in range(3) if Place(cut).cut in {c.id for c in digits.at_exit(EXITS[k]).cuts})
    if batch == 1 and first:  # an exit lies before the cut: whoever leaves there brings nothing along
        assert max(b for k, b in sizes if k == 0) < min(b for k, b in sizes if k == 2)


def test_those_that_the_server_was_sure_of_are_not_computed_on(
    digits: Engine, images: dict[str, Array], table: ExitTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = cascade(digits.whole(images), table.rows)
    asked = len(Early(Halves(digits), table).to(None).before("relu_4"))
    start = next(s for s in range(0, 400, 8) if 0 < (at[s : s + 8] >= asked).sum() < 4)
    rows: list[int] = []
    middle = Halves.middle

    def watched(halves: Halves, begin: Cut, end: Cut, tensors: Mapping[str, Array]) -> dict[str, Array]:
        if threading.current_thread() is threading.main_thread():
            rows.append(len(next(iter(tensors.values()))))
        return middle(halves, begin, end, tensors)

    with (
        serve(digits, exits=table) as server,
        connect_engine(digits, server.address, chooser=turned("relu_4"), deadline_s=10, exits=table) as session,
    ):
        monkeypatch.setattr(Halves, "middle", watched)
        answer = session.infer(part(images, start, 8))
    assert answer.ran == "split"
    assert rows
    assert max(rows) == (at[start : start + 8] >= asked).sum()


def test_an_input_that_only_the_tail_reads_stays_here(tmp_path: Path) -> None:
    """Two inputs, one of them read behind the cut only: it stays here, and the server needs no such thing."""
    engine = two_inputs(tmp_path)
    cut = cut_of(engine.graph, frozenset({engine.graph.producer["a0"], engine.graph.producer["a1"]})).id
    assert [t.name for t in Halves(engine).wanted(cut, 1)] == ["a"]
    inputs = engine.model.random_inputs(1)
    whole, told = engine.whole(inputs), turned(cut, "float16")
    with serve(engine) as server, connect_engine(engine, server.address, chooser=told, deadline_s=10, verify=True) as s:
        answer = s.infer(inputs)
    assert (answer.ran, answer.step.trouble, answer.step.wrong) == ("split", "", False)
    assert answer.step.up_bytes == inputs["a"].nbytes // 2
    near(answer.outputs["y"], whole["y"], 0.02)


def two_inputs(folder: Path) -> Engine:
    """y = relu(a·2) + relu(b), as a file."""
    shape = [1, 4, 8, 8]
    nodes = [
        helper.make_node("Mul", ["a", "two"], ["a0"]),
        helper.make_node("Relu", ["a0"], ["a1"]),
        helper.make_node("Relu", ["b"], ["b1"]),
        helper.make_node("Add", ["a1", "b1"], ["y"]),
    ]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "aby"]
    two = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
    graph = helper.make_graph(nodes, "two_inputs", infos[:2], infos[2:], [two])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, folder / "two.onnx")
    return Engine.open(load_model(str(folder / "two.onnx")), cache_dir=folder)


def part(images: dict[str, Array], start: int, count: int) -> dict[str, Array]:
    return {name: array[start : start + count] for name, array in images.items()}


def test_a_killed_server_costs_no_answer(engine: Engine, cache_dir: Path) -> None:
    told = turned(inner(engine)[1])
    steps: list[Step] = []

    def ask(session: Any, count: int) -> None:
        for _ in range(count):
            inputs = engine.model.random_inputs(seed=len(steps))
            answer = session.infer(inputs)
            close(answer.outputs, engine.whole(inputs))
            steps.append(answer.step)

    with server_process(cache_dir) as (process, port):
        session = connect_engine(engine, f"127.0.0.1:{port}", chooser=told, deadline_s=5.0)
        ask(session, 10)
        threading.Timer(0.01, process.kill).start()
        while process.poll() is None:
            ask(session, 1)
        ask(session, 10)
    assert {(s.ran, s.first) for s in steps[:10]} == {("split", "server")}
    assert (steps[-1].ran, steps[-1].first, steps[-1].asked) == ("device", "device", told.choice.cut)
    assert steps[-1].trouble
    session.close()
    assert len({s.id for s in steps}) == len(steps)


def test_a_late_server_is_not_waited_for(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    head = Places.head

    def slow(*words: Any) -> Made:
        gate.wait(20)
        return head(*words)

    monkeypatch.setattr(Places, "head", slow)
    inputs, told = engine.model.random_inputs(), turned(inner(engine)[0])
    with (
        serve(engine) as server,
        connect_engine(engine, server.address, chooser=told, deadline_s=0.2, verify=True) as session,
    ):
        answer = session.infer(inputs)
        gate.set()
    assert (answer.ran, answer.step.wrong, answer.step.first) == ("device", False, "device")
    assert answer.step.trouble.startswith("no answer within")
    assert answer.step.seconds.lost > 0.1
    close(answer.outputs, engine.whole(inputs))


def test_what_the_server_was_sure_of_is_no_help_when_it_is_late_but_the_device_still_leaves_early(
    digits: Engine, images: dict[str, Array], table: ExitTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Places, "head", lambda *_: time.sleep(0.5))
    at = cascade(digits.whole(part(images, 0, 64)), table.rows)
    sure = int(np.flatnonzero(at == 0)[0])
    with (
        serve(digits, exits=table) as server,
        connect_engine(digits, server.address, chooser=turned("relu_4"), deadline_s=0.1, exits=table) as session,
    ):
        answer = session.infer(part(images, sure, 1))
    assert (answer.ran, answer.exit) == ("device", "exit1")
    assert answer.step.trouble.startswith("no answer within")


def test_an_older_server_is_told_from_its_greeting_and_costs_no_request(
    engine: Engine, far: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = turned(inner(engine)[0])
    with connect_engine(engine, far.address, chooser=told, deadline_s=10) as session:
        line = session._keeper.line()  # type: ignore[union-attr]
        assert line is not None
        assert line.welcome.heads
        line.welcome = Welcome(protocol=line.welcome.protocol)
        answers = [session.infer(engine.model.random_inputs()) for _ in range(2)]
        told.choice = Choice(cut=told.choice.cut)
        other = session.infer(engine.model.random_inputs())
    assert {a.ran for a in answers} == {"device"}
    assert r"is older and cannot run the first part of a network; update it" in answers[1].step.trouble
    assert (other.ran, other.step.first, other.step.trouble) == ("split", "device", "")


def test_a_cut_that_the_server_does_not_have_costs_no_answer(engine: Engine, far: Server) -> None:
    told = turned(inner(engine)[0])
    told.choice = Choice(cut=inner(engine)[0], codec="int99", first="server")
    inputs = engine.model.random_inputs()
    with connect_engine(engine, far.address, chooser=told, deadline_s=10) as session:
        answer = session.infer(inputs)
    assert answer.ran == "device"
    assert "int99" in answer.step.trouble
    close(answer.outputs, engine.whole(inputs))


def test_the_open_protocol_has_no_such_order(engine: Engine, far: Server) -> None:
    with pytest.raises(Refused, match=r"for clients of isthmus only"):
        infer_remote(
            far.address,
            "tiny",
            engine.model.random_inputs(),
            parameters={"cut": Place(inner(engine)[0], back="float32").id},
        )


@pytest.mark.parametrize("lie", ["nothing", "outputs only", "another shape"])
def test_a_server_that_lies_costs_no_answer(engine: Engine, monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
    head = Places.head

    def lying(*words: Any) -> Made:
        outputs, crossing = head(*words)
        short = {name: array[..., :1] for name, array in crossing.items()}
        return {"nothing": ({}, {}), "outputs only": (outputs, {}), "another shape": (outputs, short)}[lie]

    monkeypatch.setattr(Places, "head", lying)
    inputs, told = engine.model.random_inputs(), turned(inner(engine)[0])
    with serve(engine) as server, connect_engine(engine, server.address, chooser=told, deadline_s=10) as session:
        answer = session.infer(inputs)
    assert answer.ran == "device"
    assert answer.step.trouble.startswith("the server")
    close(answer.outputs, engine.whole(inputs))


def test_it_goes_over_a_grpc_stream_too(engine: Engine, far: Server) -> None:
    """Where messages come whole: nothing is learnt of the downlink."""
    told = turned(inner(engine)[1], "int8")
    with connect_engine(engine, f"dns:///{far.address}", chooser=told, deadline_s=10, verify=True) as session:
        step = session.infer(engine.model.random_inputs(8)).step
    assert (step.ran, step.first, step.wrong, step.trouble) == ("split", "server", False, "")
    assert step.evidence.down_bps is None


def test_one_session_takes_batches_of_any_size(engine: Engine, far: Server) -> None:
    told = turned(inner(engine)[0], "int8")
    with connect_engine(engine, far.address, chooser=told, deadline_s=10, verify=True) as session:
        for batch in (1, 3, 8):
            answer = session.infer(engine.model.random_inputs(batch))
            assert (answer.step.wrong, answer.step.batch, answer.step.trouble) == (False, batch, "")


@pytest.mark.parametrize(
    ("mode", "ran"),
    [
        ("auto", "split"),
        ("private", "device"),
        ("only_on_device", "device"),
        ("prefer_on_device", "device"),
        ("prefer_on_server", "server"),
        ("only_on_server", "server"),
    ],
)
def test_modes_lie_over_this_order_too(engine: Engine, far: Server, mode: Mode, ran: str) -> None:
    """The input leaves the device in this order, whatever the cut."""
    with connect_engine(engine, far.address, chooser=turned(inner(engine)[1]), deadline_s=10, mode=mode) as session:
        answer = session.infer(engine.model.random_inputs())
    assert (answer.ran, answer.step.trouble) == (ran, "")
    assert (answer.step.up_bytes == 0) == (ran == "device")


def test_only_on_server_raises_where_the_server_has_gone(engine: Engine) -> None:
    told = turned(inner(engine)[0])
    with serve(engine) as server:
        session = connect_engine(engine, server.address, chooser=told, deadline_s=0.3, mode="only_on_server")
    with session, pytest.raises(Unreachable):
        session.infer(engine.model.random_inputs())


@pytest.mark.parametrize("end", [INPUT, OUTPUT])
def test_at_the_ends_one_side_runs_everything(engine: Engine, far: Server, end: str) -> None:
    inputs = engine.model.random_inputs()
    with connect_engine(engine, far.address, chooser=turned(end), deadline_s=10, verify=True) as session:
        answer = session.infer(inputs)
    assert (answer.ran, answer.step.first, answer.step.wrong) == (
        {INPUT: "server", OUTPUT: "device"}[end],
        "device",
        False,
    )
    close(answer.outputs, engine.whole(inputs))

"""Gathered requests: by size or delay, to each caller its own answer, none lost, every codec right at every batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from pathlib import Path

import numpy as np
import onnx
import pytest
from run_rig import Told, server_process, until

from isthmus.codec import PictureScale, codec_names
from isthmus.engine import Engine
from isthmus.errors import BadInput, Busy, Unreachable
from isthmus.graph import INPUT, OUTPUT
from isthmus.model import Model, load_model
from isthmus.model.onnx_file import model_from_proto
from isthmus.quant import ChannelClip
from isthmus.record import Batching, Step
from isthmus.record.types import Choice, Seconds
from isthmus.run import Answer, Batcher, Bounds, Server, connect_engine, serve
from isthmus.run.batcher import Seams
from isthmus.run.halves import Halves
from isthmus.run.types import Array, Arrays

LONG_S = 600.0
"""A delay that no test waits for: batches leave because they are full."""


class Machine:
    """Stands in for a session: computes here, may be held back, may fail, and notes every batch."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.batches: list[int] = []
        self.may_go = threading.Event()
        self.may_go.set()
        self.under_way = threading.Event()
        self.trouble: list[Exception] = []

    def infer(self, inputs: Arrays) -> Answer:
        batch = Halves(self.engine).batch_of(inputs)
        self.batches.append(batch)
        self.under_way.set()
        assert self.may_go.wait(10)
        if self.trouble:
            raise self.trouble.pop()
        step = Step(id=0, t_s=0.0, ran="device", cut=OUTPUT, codec="float32", batch=batch, seconds=Seconds(total=0.1))
        return Answer(self.engine.whole(inputs), step)


@pytest.fixture
def machine(engine: Engine) -> Machine:
    return Machine(engine)


def batcher_of(machine: Machine, max_batch: int = 4, delay_s: float = LONG_S, most_waiting: int = 64) -> Batcher:
    return Batcher(
        machine.infer,
        Halves(machine.engine),
        Batching(max_batch, delay_s),
        most_waiting=most_waiting,
        clock=time.perf_counter,
    )


def batch_fixed(model: Model) -> Model:
    """The same network, exported for batches of one."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    for value in proto.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return model_from_proto(proto, "fixed")


def same(answer: Answer, engine: Engine, inputs: Arrays) -> None:
    whole = engine.whole(inputs)
    assert list(answer.outputs) == list(whole)
    for name, value in whole.items():
        assert answer.outputs[name].shape == value.shape
        assert np.allclose(answer.outputs[name].astype("f8"), value.astype("f8"), rtol=1e-4, atol=1e-5)


def test_a_full_batch_leaves_at_once_and_everyone_gets_their_own(machine: Machine) -> None:
    asked = [machine.engine.model.random_inputs(n, seed) for seed, n in enumerate((1, 2, 1, 3, 1))]
    with batcher_of(machine) as batcher:
        answers = [batcher.submit(inputs) for inputs in asked]
        for inputs, future in zip(asked, answers, strict=True):
            same(future.result(10), machine.engine, inputs)
    assert machine.batches == [4, 4]
    assert answers[0].result().step is answers[2].result().step
    assert answers[0].result().step.batch == 4
    assert answers[0].result().wait_s >= answers[2].result().wait_s >= 0


def test_what_was_submitted_may_be_changed_at_once(machine: Machine) -> None:
    asked = [machine.engine.model.random_inputs(2, seed) for seed in range(2)]
    given = {name: array.copy() for name, array in asked[0].items()}
    with batcher_of(machine) as batcher:
        first = batcher.submit(given)
        for array in given.values():
            array[:] = 0
        second = batcher.submit(asked[1])  # the batch leaves with this one
        for inputs, future in zip(asked, (first, second), strict=True):
            same(future.result(10), machine.engine, inputs)


def test_a_delay_sends_what_is_there(machine: Machine) -> None:
    with batcher_of(machine, delay_s=0.02) as batcher:
        answer = batcher.infer(machine.engine.model.random_inputs(1))
    assert machine.batches == [1]
    assert answer.wait_s >= 0.02


def test_requests_gather_while_a_batch_is_under_way(machine: Machine) -> None:
    machine.may_go.clear()
    with batcher_of(machine, delay_s=0.0) as batcher:
        first = batcher.submit(machine.engine.model.random_inputs(1))
        assert machine.under_way.wait(10)
        later = [batcher.submit(machine.engine.model.random_inputs(1, s)) for s in range(3)]
        machine.may_go.set()
        wait([first, *later], 10)
    assert machine.batches == [1, 3]


def test_a_failed_batch_reaches_each_of_its_callers_and_no_one_else(machine: Machine) -> None:
    machine.trouble = [Unreachable("the server is gone")]
    asked = [machine.engine.model.random_inputs(2, seed) for seed in range(4)]
    with batcher_of(machine) as batcher:
        answers = [batcher.submit(inputs) for inputs in asked]
        for future in answers[:2]:
            with pytest.raises(Unreachable, match=r"gone"):
                future.result(10)
        for inputs, future in zip(asked[2:], answers[2:], strict=True):
            same(future.result(10), machine.engine, inputs)


def test_what_waits_is_answered_before_the_batcher_closes(machine: Machine) -> None:
    batcher = batcher_of(machine)
    answers = [batcher.submit(machine.engine.model.random_inputs(1, s)) for s in range(6)]
    closing = threading.Thread(target=batcher.close, daemon=True)
    closing.start()
    closing.join(10)
    assert not closing.is_alive()  # nobody else will come: it does not wait for them
    assert all(future.done() for future in answers)
    assert sum(machine.batches) == 6
    with pytest.raises(Busy, match=r"closed"):
        batcher.submit(machine.engine.model.random_inputs(1))


def test_a_full_queue_says_so_and_takes_again_when_there_is_room(machine: Machine) -> None:
    machine.may_go.clear()
    with batcher_of(machine, max_batch=2, most_waiting=4) as batcher:
        answers = [batcher.submit(machine.engine.model.random_inputs(2))]
        assert machine.under_way.wait(10)
        answers += [batcher.submit(machine.engine.model.random_inputs(2)) for _ in range(2)]
        with pytest.raises(Busy, match=r"4 samples wait already, of 4"):
            batcher.submit(machine.engine.model.random_inputs(1))
        machine.may_go.set()
        wait(answers, 10)
        same(batcher.infer(inputs := machine.engine.model.random_inputs(2, 5)), machine.engine, inputs)


def test_a_caller_who_gives_up_is_left_out(machine: Machine) -> None:
    machine.may_go.clear()
    with batcher_of(machine, max_batch=2) as batcher:
        batcher.submit(machine.engine.model.random_inputs(2))
        assert machine.under_way.wait(10)
        gone = batcher.submit(machine.engine.model.random_inputs(1))
        stays = batcher.submit(inputs := machine.engine.model.random_inputs(1, 3))
        assert gone.cancel()
        machine.may_go.set()
        same(stays.result(10), machine.engine, inputs)
    assert machine.batches == [2, 1]


def test_bad_input_concerns_its_caller_only(machine: Machine) -> None:
    with batcher_of(machine, max_batch=2) as batcher:
        good = batcher.submit(inputs := machine.engine.model.random_inputs(1))
        name = machine.engine.graph.inputs[0]
        with pytest.raises(BadInput, match=r"must be float32"):
            batcher.submit({name: inputs[name].astype(np.float64)})
        with pytest.raises(BadInput, match=r"3 samples are more than the greatest batch of 2"):
            batcher.submit(machine.engine.model.random_inputs(3))
        batcher.submit(machine.engine.model.random_inputs(1))
        same(good.result(10), machine.engine, inputs)


def test_many_callers_at_once_get_what_they_asked_for(machine: Machine) -> None:
    found: list[tuple[dict[str, Array], Future[Answer]]] = []
    lock = threading.Lock()

    def call(seed: int) -> None:
        for n in range(20):
            inputs = machine.engine.model.random_inputs(1 + n % 3, 100 * seed + n)
            future = batcher.submit(inputs)
            with lock:
                found.append((inputs, future))

    with batcher_of(machine, max_batch=8, delay_s=0.001, most_waiting=1000) as batcher:
        callers = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert len(found) == 80
    for inputs, future in found:
        same(future.result(10), machine.engine, inputs)
    assert max(machine.batches) <= 8
    assert len(machine.batches) < 80


def test_a_model_with_a_fixed_batch_is_refused_in_one_sentence(machine: Machine) -> None:
    engine = machine.engine
    fixed = Engine.open(batch_fixed(engine.model))
    with pytest.raises(BadInput, match=r"takes batches of 1 only, so requests cannot be gathered"):
        Seams.of(Halves(fixed))
    assert Seams.of(Halves(engine)).inputs[engine.graph.inputs[0]] == (0, 1)


def test_too_little_room_is_refused(machine: Machine) -> None:
    with pytest.raises(BadInput, match=r"at least one batch of 4 samples"):
        batcher_of(machine, most_waiting=3)
    with pytest.raises(BadInput, match=r"must be able to wait, not 'many'"):
        batcher_of(machine, most_waiting="many")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def calibrated(engine: Engine) -> Iterator[tuple[dict[str, ChannelClip], dict[str, PictureScale], Server]]:
    """A server with calibrated ranges at every cut, and a picture scale at the input."""
    inputs = engine.model.random_inputs(8, 77)
    clips = {}
    for cut in engine.cuts:
        if cut.id not in (INPUT, OUTPUT):
            made = engine.head(cut.id, inputs)
            for name in cut.crossing:
                x = made[name].astype(np.float64)
                axes = tuple(a for a in range(x.ndim) if a != 1)
                stats = (x.mean(axes), x.std(axes), x.min(axes), x.max(axes))
                mean, std, low, high = (tuple(map(float, s.astype(np.float32))) for s in stats)
                clips[name] = ChannelClip(mean=mean, std=std, low=low, high=high)
    channels = engine.graph.tensors[engine.graph.inputs[0]].shape[1]
    pictures = {engine.graph.inputs[0]: PictureScale((0.5,) * channels, (0.25,) * channels)}
    with serve(engine, clips=clips, pictures=pictures, bounds=Bounds(batch=8)) as server:
        yield clips, pictures, server


@pytest.mark.parametrize("codec", [*codec_names(), "jpeg:90"])
def test_every_codec_is_right_at_every_batch(
    engine: Engine, calibrated: tuple[dict[str, ChannelClip], dict[str, PictureScale], Server], codec: str
) -> None:
    """Batches of 1 to 8 callers, over the wire: tail(load(dump(head))), and each caller what it would get alone."""
    clips, pictures, server = calibrated
    cut = INPUT if ":" in codec else next(c.id for c in engine.cuts if c.id not in (INPUT, OUTPUT))
    told = Told(cut, codec)
    with connect_engine(
        engine, server.address, chooser=told, deadline_s=10, clips=clips, pictures=pictures, verify=True
    ) as session:
        asked = [_picture(engine, pictures, seed) for seed in range(8)]
        alone = [session.infer(inputs) for inputs in asked]
        for batch in range(1, 9):
            with session.batched(batch, LONG_S) as batcher:
                answers = [f.result(10) for f in [batcher.submit(inputs) for inputs in asked[:batch]]]
            for answer, one in zip(answers, alone, strict=False):
                assert answer.step.trouble == ""
                assert answer.step.wrong is False
                assert (answer.step.batch, answer.cut, answer.codec) == (batch, cut, codec)
                for name, value in one.outputs.items():
                    got = answer.outputs[name]
                    assert np.allclose(got.astype("f8"), value.astype("f8"), rtol=1e-3, atol=1e-4)


def _picture(engine: Engine, pictures: dict[str, PictureScale], seed: int) -> dict[str, Array]:
    """An input that a picture codec may write: smooth, and within what pixels can say."""
    name = engine.graph.inputs[0]
    shape = engine.graph.tensors[name].shape
    slope = np.linspace(0, 1, shape[2] * shape[3], dtype=np.float32).reshape(1, 1, shape[2], shape[3])
    pixels = np.clip(np.broadcast_to(slope * (0.4 + 0.07 * seed), shape), 0, 1)
    return {name: ((pixels - 0.5) / 0.25).astype(np.float32)}


def test_more_than_the_server_takes_is_refused_beforehand(engine: Engine, server: Server) -> None:
    with connect_engine(engine, server.address, chooser=Told(INPUT)) as session:
        assert session.wait_connected(5)
        with pytest.raises(BadInput, match=r"batches of up to 4, not 5"):
            session.batched(5)


def test_nothing_is_lost_when_the_server_dies(engine: Engine, cache_dir: Path) -> None:
    """Its process is killed while batches are on their way: every caller still gets the right answer."""
    cut = next(c.id for c in engine.cuts if c.id not in (INPUT, OUTPUT))
    asked = [engine.model.random_inputs(1, seed) for seed in range(200)]
    with (
        server_process(cache_dir) as (process, port),
        connect_engine(engine, f"127.0.0.1:{port}", chooser=Told(cut), deadline_s=0.5) as session,
        session.batched(4, 0.001) as batcher,
    ):
        assert session.wait_connected(5)
        answers = []
        for at, inputs in enumerate(asked):
            answers.append(batcher.submit(inputs))
            if at == 60:
                assert until(lambda: any(f.done() and f.result().ran == "split" for f in answers))
                process.kill()
        for inputs, future in zip(asked, answers, strict=True):
            same(future.result(20), engine, inputs)
    assert {f.result().ran for f in answers} == {"split", "device"}


def test_a_batch_is_one_decision_and_one_line(engine: Engine, server: Server) -> None:
    told = Told(OUTPUT)
    with connect_engine(engine, server.address, chooser=told) as session, session.batched(4, LONG_S) as batcher:
        for answer in [batcher.submit(engine.model.random_inputs(1, s)) for s in range(4)]:
            answer.result(10)
    assert [s.batch for s in told.steps if s.kind == "request"] == [4]


def test_one_at_a_time_needs_no_growing_batch() -> None:
    """A queue in front of a model with a fixed batch is fine as long as nothing is gathered."""
    engine = Engine.open(batch_fixed(load_model("zoo:tiny")))
    machine = Machine(engine)
    with batcher_of(machine, max_batch=1) as batcher:
        same(batcher.infer(inputs := engine.model.random_inputs(1)), engine, inputs)
    assert machine.batches == [1]


def test_choices_of_the_told_chooser_are_made_with_the_batch(engine: Engine, server: Server) -> None:
    class Asking(Told):
        def choose(self, now_s: float, batch: int = 1) -> Choice:
            batches.append(batch)
            return self.choice

    batches: list[int] = []

    chooser = Asking(OUTPUT)
    with connect_engine(engine, server.address, chooser=chooser) as session, session.batched(3, LONG_S) as batcher:
        for answer in [batcher.submit(engine.model.random_inputs(1, s)) for s in range(3)]:
            answer.result(10)
    assert batches == [3]

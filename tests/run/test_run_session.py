"""Client and server on the loopback: every cut, every codec, every mode, and bad input at the door."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from run_rig import Told, until

from isthmus.codec import PictureScale, codec_names
from isthmus.engine import Engine
from isthmus.errors import BadInput, Refused, Unreachable
from isthmus.graph import INPUT, OUTPUT
from isthmus.quant import ChannelClip
from isthmus.record.types import Choice, Step
from isthmus.run import Bounds, Mode, Server, Session, connect_engine, serve
from isthmus.run import keeper as keeper_module
from isthmus.run.verify import Verifier


def connect(engine: Engine, server: Server, told: Told, mode: Mode = "auto", deadline_s: float = 10.0) -> Session:
    return connect_engine(engine, server.address, chooser=told, mode=mode, deadline_s=deadline_s, verify=True)


@pytest.mark.parametrize("codec", codec_names())
def test_every_cut_gives_the_answer_over_the_wire(engine: Engine, server: Server, codec: str) -> None:
    told = Told(INPUT)
    ran = set()
    with connect(engine, server, told) as session:
        for cut in engine.cuts:
            told.choice = Choice(cut=cut.id, codec=codec)
            answer = session.infer(engine.model.random_inputs(seed=3))
            assert not answer.step.trouble
            assert answer.step.wrong is False
            assert answer.cut == cut.id
            assert answer.step.error is not None
            assert codec != "float32" or answer.step.error < 1e-4
            ran.add(answer.ran)
    assert ran == {"device", "split", "server"}


def test_lossy_codecs_do_lose_so_that_wrong_is_not_blind(engine: Engine, server: Server) -> None:
    told = Told(INPUT, "int2")
    with connect(engine, server, told) as session:
        step = session.infer(engine.model.random_inputs()).step
    assert step.error is not None
    assert step.error > 1e-3


def test_seconds_by_cause_add_up_to_the_whole(engine: Engine, server: Server) -> None:
    told = Told(engine.cuts[1].id, "int8")
    with connect(engine, server, told) as session:
        cost = session.infer(engine.model.random_inputs()).cost
    parts = cost.model_dump(exclude={"total"})
    assert sum(parts.values()) == pytest.approx(cost.total)
    assert min(parts[k] for k in ("head", "encode", "up", "decode", "tail")) > 0


def test_larger_batches_cross_too(engine: Engine, server: Server) -> None:
    told = Told(engine.cuts[1].id)
    with connect(engine, server, told) as session:
        answer = session.infer(engine.model.random_inputs(3))
        assert answer.step.batch == 3
        assert answer.step.wrong is False
        assert answer.ran == "split"
        beyond = session.infer(engine.model.random_inputs(5))
        assert beyond.ran == "device"
        assert "batch" in beyond.step.trouble
        assert beyond.step.wrong is False


def test_calibrated_clips_must_be_the_same_on_both_sides(engine: Engine) -> None:
    cut = next(c for c in engine.cuts if c.id not in (INPUT, OUTPUT))
    made = engine.head(cut.id, engine.model.random_inputs())[cut.crossing[0]]
    clip = ChannelClip(
        mean=(float(made.mean()),), std=(float(made.std()),), low=(float(made.min()),), high=(float(made.max()),)
    )
    clips = {cut.crossing[0]: clip}
    with serve(engine, clips=clips) as server:
        told = Told(cut.id, "int4")
        with connect_engine(engine, server.address, chooser=told, clips=clips, verify=True) as session:
            step = session.infer(engine.model.random_inputs()).step
            assert (step.ran, step.wrong) == ("split", False)
        with pytest.raises(Refused, match="clips"):
            connect_engine(engine, server.address, chooser=told)


def test_a_picture_input_crosses_as_a_picture(engine: Engine) -> None:
    pytest.importorskip("PIL")
    name = engine.model.inputs[0].name
    channels = engine.graph.tensors[name].shape[1]
    scale = {name: PictureScale(mean=(0.5,) * channels, std=(0.25,) * channels)}
    with serve(engine, pictures=scale) as server:
        told = Told(INPUT, "jpeg:90")
        with connect_engine(engine, server.address, chooser=told, pictures=scale, verify=True) as session:
            step = session.infer(engine.model.random_inputs()).step
    assert (step.ran, step.trouble, step.wrong) == ("server", "", False)
    assert step.error is not None
    assert step.error > 1e-3


def test_a_server_of_another_model_is_refused(other_engine: Engine, server: Server) -> None:
    with pytest.raises(Refused, match="another model"):
        connect_engine(other_engine, server.address, chooser=Told(INPUT))


def test_a_server_of_another_version_is_refused(
    engine: Engine, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isthmus.run.connect.PROTOCOL", 99)
    with pytest.raises(Refused, match="version"):
        connect_engine(engine, server.address, chooser=Told(INPUT))


@pytest.mark.parametrize(
    ("mode", "cut", "ran"),
    [
        ("only_on_device", INPUT, "device"),
        ("prefer_on_device", INPUT, "device"),
        ("prefer_on_server", OUTPUT, "server"),
        ("only_on_server", OUTPUT, "server"),
        ("private", INPUT, "device"),
        ("private", "split", "split"),
        ("auto", INPUT, "server"),
    ],
)
def test_modes_are_kept(engine: Engine, server: Server, mode: Mode, cut: str, ran: str) -> None:
    told = Told(engine.cuts[1].id if cut == "split" else cut)
    with connect(engine, server, told, mode) as session:
        answer = session.infer(engine.model.random_inputs())
    assert answer.ran == ran
    assert not answer.step.trouble


@pytest.mark.parametrize("way", ["", "dns:///"])
def test_outputs_may_be_changed_wherever_they_were_made(engine: Engine, server: Server, way: str) -> None:
    """The first answer of a stream, and those that are expected to be like it."""
    inputs, told = engine.model.random_inputs(), Told(INPUT)
    with connect_engine(engine, way + server.address, chooser=told, deadline_s=10, verify=True) as session:
        for cut, first in ((INPUT, "device"), (engine.cuts[1].id, "device"), (engine.cuts[1].id, "server")):
            told.choice = Choice(cut=cut, first=first)
            for _ in range(3):
                answer = session.infer(inputs)
                assert (answer.ran != "device", answer.step.wrong) == (True, False)
                for output in answer.outputs.values():
                    output[...] = 0
        told.choice = Choice(cut=OUTPUT)
        answer = session.infer(inputs)
        assert (answer.ran, answer.step.wrong) == ("device", False)
        assert all(output.flags.writeable for output in answer.outputs.values())


def test_a_device_that_fails_asks_the_server_where_it_only_preferred_itself(
    engine: Engine, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, here = engine.whole, threading.current_thread()

    def fails(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if threading.current_thread() is here:
            raise MemoryError
        return whole(inputs)

    inputs = engine.model.random_inputs()
    with connect_engine(engine, server.address, chooser=Told(OUTPUT), mode="prefer_on_device") as session:
        monkeypatch.setattr(engine, "whole", fails)
        assert session.infer(inputs).ran == "server"
    with (
        connect_engine(engine, server.address, chooser=Told(OUTPUT), mode="only_on_device") as session,
        pytest.raises(MemoryError),
    ):
        session.infer(inputs)


def test_what_the_model_does_not_take_is_refused_at_the_door(engine: Engine, server: Server) -> None:
    good = engine.model.random_inputs()
    name, array = next(iter(good.items()))
    bad: list[Any] = [
        array,
        None,
        [array],
        {},
        {"nobody": array},
        {**good, "more": array},
        {name: array.astype("float64")},
        {name: array[..., :-1]},
        {name: array[:0]},
        {name: array.tolist()},
        {name: np.ma.masked_less(array, 0)},
    ]
    told = Told(INPUT)
    with connect(engine, server, told) as session:
        for inputs in bad:
            for _ in range(2):
                with pytest.raises(BadInput):
                    session.infer(inputs)
        assert session.infer(good).ran == "server"
    assert len([s for s in told.steps if s.kind == "request"]) == 1


@pytest.mark.parametrize("codec", ["float32", "float16", "int8"])
def test_nan_inputs_are_answered_as_the_whole_model_does(engine: Engine, server: Server, codec: str) -> None:
    inputs = engine.model.random_inputs()
    for array in inputs.values():
        array.flat[0] = np.nan
    with connect(engine, server, Told(INPUT, codec)) as session:
        answer = session.infer(inputs)
    whole = engine.whole(inputs)
    assert all(np.array_equal(np.isnan(answer.outputs[k]), np.isnan(whole[k])) for k in whole)
    assert (answer.ran == "device") == (codec == "int8"), "int8 cannot carry what is not finite"


def test_data_that_a_codec_cannot_write_is_no_trouble_of_the_server(engine: Engine, server: Server) -> None:
    inputs, bad = engine.model.random_inputs(), engine.model.random_inputs()
    for array in bad.values():
        array.flat[0] = np.nan
    told = Told(engine.cuts[1].id, "int8")
    with connect(engine, server, told) as session:
        lost = [session.infer(bad).step for _ in range(3)]
        assert session.connected
        assert [step.ran for step in lost] == ["device"] * 3
        assert all("NaN" in step.trouble or "finite" in step.trouble for step in lost), "it is said to the caller"
        assert not [step for step in told.steps if step.kind == "request"], "and not to the chooser"
        assert session.infer(inputs).ran == "split"
    assert len([step for step in told.steps if step.kind == "request"]) == 1


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        (Bounds(batch=4), "batches of up to 4, not 5"),
        (Bounds(message_bytes=1_000), "requests of up to 1000 bytes, not"),
    ],
)
def test_a_request_larger_than_the_server_takes_is_no_trouble_of_the_server(
    engine: Engine, bounds: Bounds, says: str
) -> None:
    """It is not sent, so that the next one, maybe another thread's, need not wait until the server shows itself."""
    small, large, told = engine.model.random_inputs(1), engine.model.random_inputs(5), Told(INPUT)
    assert sum(x.nbytes for x in small.values()) <= 1_000 < sum(x.nbytes for x in large.values())
    with serve(engine, bounds=bounds) as strict:
        with connect(engine, strict, told) as session:
            step = session.infer(large).step
            assert session.connected
            assert step.ran == "device"
            assert says in step.trouble
            assert session.infer(small).ran == "server"
        with (
            connect_engine(engine, strict.address, chooser=told, mode="only_on_server") as session,
            pytest.raises(BadInput, match=says),
        ):
            session.infer(large)
        assert "refused" not in strict.counts
    assert [step.batch for step in told.steps if step.kind == "request"] == [1]


def test_an_unknown_codec_costs_no_answer(engine: Engine, server: Server) -> None:
    with connect(engine, server, Told(INPUT, "int9")) as session:
        answer = session.infer(engine.model.random_inputs())
    assert answer.ran == "device"
    assert "int9" in answer.step.trouble
    assert answer.step.asked == INPUT


def test_many_threads_each_get_their_own_answer(engine: Engine, server: Server) -> None:
    told = Told(engine.cuts[1].id)
    wrong: list[bool | None] = []
    with connect(engine, server, told) as session:

        def ask(seed: int) -> None:
            for k in range(5):
                wrong.append(session.infer(engine.model.random_inputs(seed=10 * seed + k)).step.wrong)

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == [False] * 20
    assert {s.ran for s in told.steps if s.kind == "request"} == {"split"}
    assert len({s.id for s in told.steps if s.kind == "request"}) == 20


def test_probes_go_out_between_requests_and_are_told_to_the_chooser(engine: Engine, server: Server) -> None:
    told = Told(OUTPUT)
    with connect(engine, server, told) as session:
        assert session.connected
        told.probe = 50_000
        assert until(lambda: any(s.kind == "probe" for s in told.steps))
    step = next(s for s in told.steps if s.kind == "probe")
    assert step.up_bytes == 50_000
    assert step.seconds.up > 0


def test_a_paced_link_shows_its_rate_by_dispersion(engine: Engine, server: Server) -> None:
    bytes_per_s = 2e6

    def pace(size: int) -> None:
        time.sleep(size / bytes_per_s)

    told = Told(OUTPUT)
    with connect_engine(engine, server.address, chooser=told, pace=pace) as session:
        assert session.connected
        told.probe = 100_000
        assert until(lambda: any(s.kind == "probe" for s in told.steps))
    rate = next(s for s in told.steps if s.kind == "probe").evidence.up_bps
    assert rate is not None
    assert rate <= bytes_per_s * 8 * 1.05, "sleeping is never shorter than asked"


def test_a_session_that_was_closed_says_so_at_once(engine: Engine, server: Server) -> None:
    inputs, told = engine.model.random_inputs(), Told(INPUT)
    session = connect_engine(engine, server.address, chooser=told, mode="only_on_server", deadline_s=1000)
    session.close()
    with pytest.raises(Unreachable, match=r"^the session is closed$"):
        session.infer(inputs)
    session = connect(engine, server, told)
    session.close()
    assert (session.infer(inputs).ran, told.steps[-1].trouble) == ("device", "the session is closed")


def test_without_a_server_only_on_server_says_so(engine: Engine) -> None:
    with serve(engine) as gone:
        address = gone.address
    with pytest.raises(Unreachable, match=address):
        connect_engine(engine, address, chooser=Told(INPUT), mode="only_on_server")


class Pending(Told):
    """Also counts the requests of which it had not heard the end when it was asked whether to probe."""

    def __init__(self, cut: str) -> None:
        super().__init__(cut)
        self.unheard: set[int] = set()
        self.made = 0

    def choose(self, now_s: float, batch: int = 1) -> Choice:
        self.made += 1
        return super().choose(now_s, batch)

    def probe_bytes(self, now_s: float) -> int:
        if self.made > len(self.steps):
            self.unheard.add(self.made)
        return 0


@pytest.mark.parametrize("cut", [INPUT, OUTPUT])
def test_no_probe_is_asked_for_before_the_chooser_heard_how_the_request_went(
    cut: str, engine: Engine, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take it for one that taught nothing: checking the answer takes as long as computing it."""
    check = Verifier.check

    def slowly(*args: Any) -> Step:
        time.sleep(0.02)
        return check(*args)

    monkeypatch.setattr(keeper_module, "TICK_S", 0.002)
    monkeypatch.setattr(Verifier, "check", slowly)
    told = Pending(cut)
    with connect(engine, server, told) as session:
        session.wait_connected(5.0)
        for _ in range(20):
            session.infer(engine.model.random_inputs())
    assert len(told.unheard) <= 3  # a look may fall between the choice and the beginning of its request

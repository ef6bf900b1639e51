"""Waiting awake: only for what comes in a rhythm, never for long, and never where somebody else wants the core."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from run_rig import Told, until
from test_run_intake import BOUNDS, ask_of, desk_of, intake_of

from isthmus.engine import Engine
from isthmus.errors import BadInput
from isthmus.graph import INPUT
from isthmus.run import PROTOCOL, Bounds, connect_engine, serve
from isthmus.run import keeper as keeper_module
from isthmus.run import vigil as vigil_module
from isthmus.run.conversation import Conversation
from isthmus.run.cores import CORES, Cores
from isthmus.run.ear import Ear
from isthmus.run.frame import DONE, SOON, Kind, Parcel, pack, unpack
from isthmus.run.intake import welcome
from isthmus.run.rehearsal import Rehearsal
from isthmus.run.sockets import Inbox, send
from isthmus.run.split_pb2 import Hello
from isthmus.run.vigil import Rhythm, T, Vigil

AWAKE_S = 0.005
REGULAR = [0.0900, 0.0910, 0.0895, 0.0905, 0.0900, 0.0900, 0.0910, 0.0890]


class World:
    """A clock that each look moves on by `tick_s`, and a message that comes at `comes_s`."""

    def __init__(self, comes_s: float, share: float = 1.0) -> None:
        self.now_s, self.comes_s, self.share = 0.0, comes_s, share
        self.tick_s = 1e-5
        self.rehearsed = 0
        self.asked = 0
        self.busy_from_s = 1e9
        self.spare = True

    def clock(self) -> float:
        self.now_s += self.tick_s
        return self.now_s

    def used(self) -> float:
        return self.now_s * self.share

    def idle(self) -> bool:
        return self.now_s < self.busy_from_s

    def rehearse(self) -> None:
        self.rehearsed += 1

    def receive(self) -> str:
        self.asked += 1
        if self.now_s < self.comes_s:
            raise BlockingIOError
        return "message"

    def poll(self, timeout_ms: float) -> list[int]:
        """Sleeps, until the message comes at the latest."""
        until = self.now_s + timeout_ms / 1e3
        self.now_s = max(self.now_s, min(until, self.comes_s))
        return [1] if self.comes_s < until else []


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    one, other = socket.socketpair()
    with closing(one), closing(other):
        yield one


def vigil_in(world: World, peer: socket.socket, waits: list[float]) -> Vigil:
    vigil = Vigil(
        peer, world.idle, world.rehearse, AWAKE_S, clock=world.clock, used=world.used, spare=lambda: world.spare
    )
    vigil._ready = world  # type: ignore[assignment]
    for wait in waits:
        vigil.rhythm.note(wait)
    return vigil


def test_what_comes_when_it_is_due_is_met_awake(peer: socket.socket) -> None:
    world = World(comes_s=0.0901)
    vigil = vigil_in(world, peer, REGULAR)
    vigil.begins()
    assert vigil.keep(world.receive) == "message"
    assert world.rehearsed >= 1
    assert 1 < world.asked < 1000, "it slept until shortly before"


@pytest.mark.parametrize("comes_s", [0.050, 0.200])
def test_what_comes_early_or_late_is_met_asleep(comes_s: float, peer: socket.socket) -> None:
    world = World(comes_s)
    vigil = vigil_in(world, peer, REGULAR)
    vigil.begins()
    with pytest.raises(BlockingIOError):
        vigil.keep(world.receive)
    assert world.now_s < 0.0890 + AWAKE_S + 0.001, "not awake for longer than promised"


def test_nobody_is_awake_without_a_rhythm(peer: socket.socket) -> None:
    for waits in ([], REGULAR[:2], [0.05, 0.2, 0.9, 0.1], [0.09] * 4 + [0.102] * 4):
        world = World(comes_s=0.09)
        vigil = vigil_in(world, peer, waits)
        vigil.begins()
        with pytest.raises(BlockingIOError):
            vigil.keep(world.receive)
        assert world.asked == 0


def test_a_wait_that_has_not_begun_is_slept_through(peer: socket.socket) -> None:
    world = World(comes_s=0.09)
    vigil = vigil_in(world, peer, REGULAR)
    with pytest.raises(BlockingIOError):
        vigil.keep(world.receive)
    assert world.asked == 0


def test_a_wait_is_counted_from_the_answer_not_from_the_request(peer: socket.socket) -> None:
    world = World(comes_s=0.2901)
    vigil = vigil_in(world, peer, REGULAR)
    vigil.soon()
    answered: list[float] = []
    sleep = world.poll

    def poll(timeout_ms: float) -> list[int]:
        ready = sleep(timeout_ms)
        if world.now_s > 0.19 and not answered:
            world.now_s = 0.2
            vigil.begins()
            answered.append(world.now_s)
        return ready

    world.poll = poll  # type: ignore[method-assign]
    assert vigil.keep(world.receive) == "message"
    assert world.asked > 1


def test_other_threads_need_not_wait_for_the_one_that_is_awake(peer: socket.socket) -> None:
    world = World(comes_s=0.0901)
    vigil = vigil_in(world, peer, REGULAR)
    usual, intervals = sys.getswitchinterval(), list[float]()

    def receive() -> str:
        intervals.append(sys.getswitchinterval())
        return world.receive()

    vigil.begins()
    assert vigil.keep(receive) == "message"
    assert intervals[-1] < usual / 10
    assert sys.getswitchinterval() == usual


def test_where_somebody_else_wants_the_core_it_sleeps_and_rests(peer: socket.socket) -> None:
    world = World(comes_s=0.1, share=0.5)
    vigil = vigil_in(world, peer, REGULAR)
    vigil.begins()
    with pytest.raises(BlockingIOError):
        vigil.keep(world.receive)
    assert world.now_s < 0.0890 + 0.004, "given up soon"
    asked = world.asked
    world.now_s, world.share, world.comes_s = 0.0, 1.0, 0.092
    vigil.begins()
    with pytest.raises(BlockingIOError):
        vigil.keep(world.receive)
    assert world.asked == asked, "it rests for some messages"
    for _ in range(20):
        world.now_s = 0.0
        vigil.begins()
        try:
            assert vigil.keep(world.receive) == "message"
            break
        except BlockingIOError:
            continue
    else:
        pytest.fail("it never tried again")


def test_it_sleeps_as_soon_as_the_process_computes(peer: socket.socket) -> None:
    world = World(comes_s=0.1)
    world.busy_from_s = 0.09
    vigil = vigil_in(world, peer, REGULAR)
    vigil.begins()
    with pytest.raises(BlockingIOError):
        vigil.keep(world.receive)
    assert world.now_s < 0.0915


def test_nobody_is_awake_where_no_core_is_to_spare(peer: socket.socket) -> None:
    world = World(comes_s=0.09)
    world.spare = False
    vigil = vigil_in(world, peer, REGULAR)
    vigil.begins()
    with pytest.raises(BlockingIOError):
        vigil.keep(world.receive)
    assert world.asked <= 1


@pytest.mark.parametrize(("own", "idle", "left"), [(0.3, 0.7, True), (0.3, 0.2, False), (0.0, 2.0, True)])
def test_a_core_is_left_where_it_is_idle_or_ours(own: float, idle: float, left: bool) -> None:
    now = [0.0]
    cores = Cores(lambda: now[0], lambda: own * now[0], lambda: idle * now[0])
    assert not cores.left_to_us(), "nothing is known yet"
    now[0] = 0.1
    assert not cores.left_to_us(), "too early to tell"
    now[0] = 0.3
    assert cores.left_to_us() is left


def test_where_the_system_tells_nothing_no_core_is_left() -> None:
    now = [0.0]
    cores = Cores(lambda: now[0], lambda: now[0], lambda: None)
    for now[0] in (1.0, 2.0, 3.0):
        assert not cores.left_to_us()


def test_one_of_a_process_is_awake_at_a_time(peer: socket.socket) -> None:
    world = World(comes_s=0.09)
    vigil = vigil_in(world, peer, REGULAR)
    vigil.begins()
    with vigil_module._one, pytest.raises(BlockingIOError):
        vigil.keep(world.receive)
    assert world.asked <= 1


def test_what_is_here_already_is_not_waited_for(peer: socket.socket) -> None:
    world = World(comes_s=0.0)
    vigil = vigil_in(world, peer, REGULAR)
    vigil.soon()
    assert vigil.keep(world.receive) == "message"
    assert world.now_s < 0.001


def test_a_rehearsal_that_fails_costs_no_message(peer: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    world = World(comes_s=0.0915)
    vigil = vigil_in(world, peer, REGULAR)
    vigil._rehearse = lambda: [][0]
    vigil.begins()
    assert vigil.keep(world.receive) == "message"
    assert [record.message for record in caplog.records] == ["a rehearsal failed; there will be no other"]


def test_who_waits_for_little_is_awake_all_the_time(peer: socket.socket) -> None:
    world = World(comes_s=0.003)
    vigil = vigil_in(world, peer, [0.001, 0.004, 0.002])
    vigil.begins()
    assert vigil.keep(world.receive) == "message"
    assert world.rehearsed >= 3


def test_a_rhythm_forgives_one_outlier_of_each_kind_and_no_more() -> None:
    rhythm = Rhythm(AWAKE_S)
    for wait in [0.1] * 6 + [0.001, 5.0]:
        rhythm.note(wait)
    window = rhythm.window()
    assert window is not None
    assert window[0] < 0.1 < window[1] <= window[0] + AWAKE_S
    rhythm.note(0.002)
    rhythm.note(7.0)
    assert rhythm.window() is None


def test_a_rehearsal_goes_the_whole_way_again_and_again() -> None:
    rehearsal = Rehearsal(lambda: 0.0)
    for _ in range(3):
        (answer,) = [b"".join(rehearsal())]
        assert unpack(answer, 1 << 10).kind is Kind.REPLY
    rehearsal.close()


class Noted(Vigil):
    """A vigil that writes down what it is told, and is never awake."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def soon(self) -> None:
        self.told.append("soon")

    def begins(self) -> None:
        self.told.append("begins")

    def ended(self) -> None:
        self.told.append("ended")

    def keep(self, receive: Callable[[], T], most_s: float = 0.0) -> T:
        raise BlockingIOError

    def nudged(self, receive: Callable[[], T]) -> T:
        raise BlockingIOError


def test_a_server_counts_its_waits_from_answer_to_request(engine: Engine) -> None:
    """A request of one frame or more, a ping between two requests, and nothing else counts."""
    told: list[str] = []
    ours, theirs = socket.socketpair()
    kinds: list[Kind] = []

    def say(*parts: bytes | memoryview) -> None:
        if parts:
            kinds.append(unpack(b"".join(parts), 1 << 16).kind)

    with closing(ours), closing(theirs):
        talk = Conversation(
            desk_of(engine),
            welcome("tiny", engine.model.fingerprint, "", "", [c.id for c in engine.cuts], BOUNDS),
            Inbox(theirs, 1 << 20),
            say=say,
            hang_up=lambda: None,
            vigil=Noted(told),
        )
        hello = Hello(protocol=PROTOCOL, model="tiny", fingerprint=engine.model.fingerprint)
        send(ours, pack(Kind.HELLO, 1, hello.SerializeToString()))
        ask, payload = ask_of(engine)
        for request_id in (2, 3):
            frames = list(Parcel(Kind.ASK, request_id, ask.SerializeToString(), [payload], 1e6).frames())
            for frame in frames:
                send(ours, *frame)
            send(ours, pack(Kind.PING, 9))
        thread = threading.Thread(target=talk.run)
        thread.start()
        assert until(lambda: kinds.count(Kind.REPLY) == 2 and kinds.count(Kind.PONG) == 2)
        ours.shutdown(socket.SHUT_WR)
        thread.join(10)
        assert not thread.is_alive()
    assert told[0] == "ended"
    assert told.index("soon") < told.index("begins")
    assert told.count("soon") == told.count("begins") == 2


def test_answers_are_the_same_for_those_who_are_always_awake(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rhythm, "window", lambda _: (0.0, 0.05))
    monkeypatch.setattr(CORES, "left_to_us", lambda: True)
    rehearsed: list[str] = []
    monkeypatch.setattr(Rehearsal, "__call__", lambda _: rehearsed.append("server"))
    inputs = engine.model.random_inputs()
    right = engine.whole(inputs)
    told = Told(INPUT)
    with serve(engine) as server, connect_engine(engine, server.address, chooser=told, deadline_s=10.0) as session:
        for _ in range(40):
            answer = session.infer(inputs)
            assert answer.ran == "server"
            for name, array in right.items():
                np.testing.assert_array_equal(answer.outputs[name], array)
    assert rehearsed


def test_whoever_wants_to_sleep_always_sleeps(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: object) -> None:
        pytest.fail("nobody shall be awake")

    monkeypatch.setattr(vigil_module.Vigil, "keep", no)
    bounds = Bounds(awake_s=0)
    with (
        serve(engine, bounds=bounds) as server,
        connect_engine(engine, server.address, chooser=Told(INPUT), deadline_s=10.0, awake_s=0) as session,
    ):
        assert [session.infer(engine.model.random_inputs()).ran for _ in range(4)] == ["server"] * 4


@pytest.mark.parametrize("awake_s", [-0.1, 1.5, float("nan")])
def test_nobody_may_be_awake_for_ever(awake_s: float, engine: Engine) -> None:
    with pytest.raises(BadInput, match=r"give 0 \(never\) to 1 s"):
        Bounds(awake_s=awake_s)
    with pytest.raises(BadInput, match=r"give 0 \(never\) to 1 s"):
        connect_engine(engine, "127.0.0.1:1", chooser=Told(INPUT), awake_s=awake_s)


def test_what_is_announced_is_waited_for_awake_for_a_moment(peer: socket.socket) -> None:
    world = World(comes_s=0.0003)
    vigil = vigil_in(world, peer, [])
    vigil.begins()
    assert vigil.nudged(world.receive) == "message"
    assert world.rehearsed == 1
    world = World(comes_s=0.1)
    vigil = vigil_in(world, peer, [])
    vigil.begins()
    with pytest.raises(BlockingIOError):
        vigil.nudged(world.receive)
    assert world.asked > 1
    assert world.now_s < 0.001


def test_what_was_announced_and_is_here_is_not_rehearsed_for(peer: socket.socket) -> None:
    world = World(comes_s=0.0)
    vigil = vigil_in(world, peer, [])
    vigil.begins()
    assert vigil.nudged(world.receive) == "message"
    assert world.rehearsed == 0


@pytest.mark.parametrize("busy", [False, True])
def test_what_is_announced_is_slept_for_where_no_core_is_to_spare(busy: bool, peer: socket.socket) -> None:
    world = World(comes_s=0.0)
    world.spare, world.busy_from_s = busy, 0.0 if busy else 1e9
    vigil = vigil_in(world, peer, [])
    vigil.begins()
    with pytest.raises(BlockingIOError):
        vigil.nudged(world.receive)
    assert world.rehearsed == world.asked == 0


def test_a_server_that_knows_of_no_announcement_ignores_it(engine: Engine) -> None:
    assert intake_of(engine).feed(SOON, 0.0) == []


@pytest.mark.parametrize("announced", [0, 1, 3])
def test_a_request_that_was_announced_has_its_answer_announced(announced: int, engine: Engine) -> None:
    ours, theirs = socket.socketpair()
    kinds: list[tuple[Kind, int]] = []
    rehearsed: list[int] = []

    def say(*parts: bytes | memoryview) -> None:
        if parts:
            frame = unpack(b"".join(parts), 1 << 16)
            kinds.append((frame.kind, frame.id))

    with closing(ours), closing(theirs):
        inbox = Inbox(theirs, 1 << 20)
        vigil = Vigil(theirs, lambda: True, lambda: rehearsed.append(1), spare=lambda: True)
        vigil.begins()
        hello = Hello(protocol=PROTOCOL, model="tiny", fingerprint=engine.model.fingerprint)
        told = welcome("tiny", engine.model.fingerprint, "", "", [c.id for c in engine.cuts], BOUNDS)
        talk = Conversation(desk_of(engine), told, inbox, say=say, hang_up=lambda: None, vigil=vigil)
        send(ours, pack(Kind.HELLO, 1, hello.SerializeToString()))
        ask, payload = ask_of(engine)
        thread = threading.Thread(target=talk.run)
        thread.start()
        for request_id in (2, 3):
            for _ in range(announced if request_id == 2 else 0):
                send(ours, SOON)
            for frame in Parcel(Kind.ASK, request_id, ask.SerializeToString(), [payload], 1e6).frames():
                send(ours, *frame)
            assert until(lambda answered=request_id: (Kind.REPLY, answered) in kinds)  # type: ignore[misc]
        ours.shutdown(socket.SHUT_WR)
        thread.join(10)
    replies = [k for k in kinds if k != (Kind.WELCOME, 1)]
    first = [(Kind.PONG, 0)] if announced else []
    assert replies == [*first, (Kind.REPLY, 2), (Kind.REPLY, 3)]
    assert announced or not rehearsed


def test_an_announced_answer_is_heard(peer: socket.socket) -> None:
    ours, theirs = socket.socketpair()
    rehearsed: list[int] = []
    with closing(ours), closing(theirs):
        ear = Ear(ours, 1000, lambda: False)
        ear.watch(lambda _: None, lambda: rehearsed.append(1), 0.002)
        assert ear._vigil is not None
        ear._vigil._spare = lambda: True
        assert ear.take_turn()
        send(theirs, DONE)
        send(theirs, b"answer")
        assert ear.hear(5.0, foreseen=True) == b"answer"
        assert not rehearsed
        assert ear.spared
        send(theirs, DONE)
        later = threading.Timer(0.05, lambda: send(theirs, b"late"))
        later.start()
        assert ear.hear(5.0, foreseen=True) == b"late"
        assert rehearsed
        later.join()
        ear.leave()
        with ear.last():
            pass


def test_a_near_server_is_nudged_and_a_far_one_is_not(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CORES, "left_to_us", lambda: True)
    monkeypatch.setattr(keeper_module, "NEAR_S", 10.0)
    nudged: list[str] = []
    nudge = Vigil.nudged

    def noted(vigil: Vigil, receive: Callable[[], T]) -> T:
        nudged.append(threading.current_thread().name)
        return nudge(vigil, receive)

    monkeypatch.setattr(Vigil, "nudged", noted)
    inputs = engine.model.random_inputs()
    with (
        serve(engine) as server,
        connect_engine(engine, server.address, chooser=Told(INPUT), deadline_s=10.0) as session,
    ):
        for _ in range(10):
            assert session.infer(inputs).ran == "server"
        assert len({name for name in nudged if name.startswith("isthmus")}) > 0, "the server"
        assert threading.current_thread().name in nudged, "and in return the client"
        assert 1 < sum(name.startswith("isthmus") for name in nudged) <= 10
        monkeypatch.setattr(keeper_module, "NEAR_S", 0.0)
        session.infer(inputs)
        nudged.clear()
        for _ in range(5):
            assert session.infer(inputs).ran == "server"
        assert nudged == []


def test_a_server_that_cannot_use_it_is_left_alone(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where both share one core: the device's is its own nearly all the time, the server's never."""
    monkeypatch.setattr(CORES, "left_to_us", lambda: threading.current_thread() is threading.main_thread())
    monkeypatch.setattr(keeper_module, "NEAR_S", 10.0)
    heard: list[bytes] = []
    awaited = Conversation._awaited

    def noted(talk: Conversation, *args: Any) -> Any:
        message = awaited(talk, *args)
        heard.append(message if isinstance(message, bytes) else b"")
        return message

    monkeypatch.setattr(Conversation, "_awaited", noted)
    inputs = engine.model.random_inputs()
    with (
        serve(engine) as server,
        connect_engine(engine, server.address, chooser=Told(INPUT), deadline_s=10.0) as session,
    ):
        for _ in range(60):
            assert session.infer(inputs).ran == "server"
    assert heard.count(SOON) == 1

"""Listening: an answer reaches the one who waits for it, whichever thread has read it, and nobody waits in vain."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from run_rig import Told, until

from isthmus.engine import Engine
from isthmus.graph import INPUT
from isthmus.run import connect_engine, serve
from isthmus.run.connection import Connection
from isthmus.run.ear import Ear
from isthmus.run.frame import Kind, pack, unpack
from isthmus.run.sockets import Inbox, send
from isthmus.run.transport import TcpTransport


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        yield ours, theirs


def test_the_turn_is_kept_until_what_was_read_is_delivered(pair: tuple[socket.socket, socket.socket]) -> None:
    """Else the next to listen would not find his answer, and wait for it until his time is up."""
    ours, theirs = pair
    ear = Ear(ours, 1000, lambda: False)
    standing = ear.stand()
    send(theirs, b"answer")
    assert next(standing) == b"answer"
    assert not ear.take_turn()
    theirs.close()
    assert list(standing) == []
    with ear.last():
        pass


def test_whoever_waits_may_listen_himself_and_hears_when_the_time_is_up(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    ear = Ear(ours, 1000, lambda: False)
    assert ear.take_turn()
    assert not ear.take_turn(), "one listens at a time"
    send(theirs, b"one")
    theirs.sendall(b"\x03\0\0\0t")  # the beginning of another
    assert ear.hear(5.0) == b"one"
    assert ear.hear(0.01) is None
    theirs.sendall(b"wo")
    assert ear.hear(5.0) == b"two", "what came of an unfinished message is kept"
    theirs.close()
    with pytest.raises(EOFError):
        ear.hear(5.0)
    ear.leave()
    with ear.last():
        pass


def test_an_answer_that_trickles_in_keeps_nobody_beyond_his_time(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ear = Ear(ours, 1000, lambda: False)
    assert ear.take_turn()
    gone = threading.Event()

    def trickle() -> None:
        for byte in b"\xe8\3\0\0" + bytes(1000):
            theirs.sendall(bytes([byte]))
            if gone.wait(0.01):
                return

    thread = threading.Thread(target=trickle, daemon=True)
    thread.start()
    assert ear.hear(0.1) is None
    gone.set()
    thread.join(5.0)
    ear.leave()
    with ear.last():
        pass


def test_the_standing_thread_makes_way_and_comes_back(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ear = Ear(ours, 1000, lambda: False)
    heard: list[object] = []
    thread = threading.Thread(target=lambda: heard.extend(ear.stand()), daemon=True)
    thread.start()
    send(theirs, b"early")
    assert until(lambda: heard == [b"early"]), "nobody stands"
    ear.attend(+1)
    assert until(ear.take_turn), "the standing thread did not make way"
    send(theirs, b"mine")
    assert ear.hear(5.0) == b"mine"
    ear.leave()
    ear.attend(-1)
    send(theirs, b"late")
    assert until(lambda: heard == [b"early", b"late"])
    theirs.close()
    thread.join(5.0)
    assert not thread.is_alive()
    with ear.last():
        pass


def test_who_found_the_turn_taken_is_heard_for_by_the_standing_thread() -> None:
    """Two ask; the one who listens has his answer first and leaves; the other one's comes later."""
    listening = socket.create_server(("127.0.0.1", 0))
    connection = Connection(
        TcpTransport("127.0.0.1", int(listening.getsockname()[1]), 1 << 20, 5.0), clock=time.perf_counter
    )
    peer, _ = listening.accept()
    with closing(listening), closing(peer), closing(connection):
        peer.recv(4)
        messages = Inbox(peer, 1 << 20)
        connection.attend(+1)
        took: list[float] = []

        def ask() -> None:
            ticket = connection.ask(INPUT, 1, [], [b"x"], None)
            ticket.wait(20.0)
            took.append(time.monotonic())

        threads = [threading.Thread(target=ask) for _ in range(2)]
        ids = []
        for thread in threads:
            thread.start()
            ids.append(unpack(next(messages), 1000).id)
        time.sleep(0.05)  # both wait by now, one of them listens
        send(peer, pack(Kind.REPLY, ids[0]))
        assert until(lambda: len(took) == 1)
        send(peer, pack(Kind.REPLY, ids[1]))
        assert until(lambda: len(took) == 2), "nobody listened any more"


@pytest.mark.parametrize("threads", [1, 3])
def test_no_request_waits_for_an_answer_that_is_there(engine: Engine, threads: int) -> None:
    """Requests at odd times, the standing thread coming and going between them."""
    chance = random.Random(0)
    with serve(engine) as server:
        chooser = Told(INPUT)
        with connect_engine(engine, server.address, chooser=chooser, deadline_s=8.0) as session:
            inputs = engine.model.random_inputs()

            def ask() -> None:
                for _ in range(60):
                    session.infer(inputs)
                    time.sleep(chance.choice([0, 0, 0.001, 0.01]))

            workers = [threading.Thread(target=ask) for _ in range(threads)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join(30)
    asked = [step for step in chooser.steps if step.kind == "request"]
    assert len(asked) == 60 * threads
    assert max(step.seconds.total for step in asked) < 4.0, "an answer that was there was waited for"
    assert {step.ran for step in asked} == {"server"}

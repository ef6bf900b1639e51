"""The one port: both transports, strangers, and bytes that are nobody's."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_rig import Told, until

from isthmus.engine import Engine
from isthmus.errors import BadFrame, Full, Refused, Unreachable
from isthmus.graph import INPUT
from isthmus.link.probe import LEAD_BYTES
from isthmus.run import PROTOCOL, Bounds, Mode, Server, Session, connect_engine, intake, serve
from isthmus.run import server as server_module
from isthmus.run.codecs import Codecs
from isthmus.run.desk import Desk
from isthmus.run.frame import MAX_BODY_BYTES, Kind, pack, unpack
from isthmus.run.halves import Halves
from isthmus.run.places import Places
from isthmus.run.service import SplitService
from isthmus.run.sockets import MAGIC, Inbox, be_patient, connected, framed, hang_up, send, send_now, send_rest
from isthmus.run.split_pb2 import Hello
from isthmus.run.way import Way


def still_serves(engine: Engine, server: Server) -> bool:
    told = Told(engine.cuts[1].id)
    with connect_engine(engine, server.address, chooser=told, verify=True) as session:
        step = session.infer(engine.model.random_inputs()).step
    return (step.ran, step.wrong) == ("split", False)


def test_the_same_frames_go_over_a_grpc_stream(engine: Engine, server: Server) -> None:
    told = Told(engine.cuts[1].id, "int8")
    with connect_engine(engine, f"dns:///{server.address}", chooser=told, verify=True) as session:
        for seed in range(5):
            step = session.infer(engine.model.random_inputs(seed=seed)).step
            assert (step.ran, step.wrong, step.trouble) == ("split", False, "")


def test_a_gateway_that_only_lets_http2_pass_is_passed_by_grpc(engine: Engine, server: Server) -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def gateway() -> None:
        for _ in range(2):
            peer, _ = listening.accept()
            if peer.recv(4, socket.MSG_PEEK | socket.MSG_WAITALL) == MAGIC:
                hang_up(peer)
                continue
            beyond = socket.create_connection((server.host, server.port))
            for one, other in ((peer, beyond), (beyond, peer)):
                threading.Thread(target=copy, args=(one, other), daemon=True).start()

    def copy(one: socket.socket, other: socket.socket) -> None:
        try:
            while piece := one.recv(65536):
                other.sendall(piece)
        except OSError:
            return
        finally:
            hang_up(other)

    thread = threading.Thread(target=gateway)
    thread.start()
    address = f"127.0.0.1:{listening.getsockname()[1]}"
    with connect_engine(engine, address, chooser=Told(INPUT), verify=True) as session:
        assert session.infer(engine.model.random_inputs()).ran == "server"
    thread.join()
    listening.close()


def test_another_kind_of_grpc_server_is_named_as_such(engine: Engine) -> None:
    stranger = grpc.server(ThreadPoolExecutor(2))
    port = stranger.add_insecure_port("127.0.0.1:0")
    stranger.start()
    with pytest.raises(Refused, match="not an isthmus server"):
        connect_engine(engine, f"127.0.0.1:{port}", chooser=Told(INPUT))
    stranger.stop(0).wait()


@pytest.fixture(scope="module")
def strict(engine: Engine) -> Iterator[Server]:
    with serve(engine, bounds=Bounds(streams=2)) as made:
        yield made


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        MAGIC,
        MAGIC + b"\xff\xff\xff\xff",
        MAGIC + struct.pack("<I", 100) + b"short",
        MAGIC + struct.pack("<I", 0),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
        b"",
        b"IS",
    ],
)
def test_noise_on_the_port_harms_nobody(engine: Engine, strict: Server, noise: bytes) -> None:
    with socket.create_connection((strict.host, strict.port)) as peer:
        peer.settimeout(10)
        with contextlib.suppress(OSError):  # it may hang up before all is said
            peer.sendall(noise)
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(4096):
                pass
    assert still_serves(engine, strict)


def test_a_first_word_may_come_in_pieces(engine: Engine, server: Server) -> None:
    hello = Hello(protocol=PROTOCOL, fingerprint=engine.model.fingerprint).SerializeToString()
    with socket.create_connection((server.host, server.port), timeout=10) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (MAGIC[:2], MAGIC[2:3], MAGIC[3:]):
            peer.sendall(piece)
            time.sleep(0.1)  # so that it is read alone
        send(peer, pack(Kind.HELLO, 1, hello))
        answer = Inbox(peer, 1 << 20).take()
    assert answer is not None
    assert unpack(answer, 1 << 20).kind is Kind.WELCOME


@pytest.mark.parametrize("scheme", ["", "dns:///"])
def test_a_full_server_is_like_an_absent_one_until_somebody_leaves(engine: Engine, strict: Server, scheme: str) -> None:
    def connect(mode: Mode = "auto") -> Session:
        return connect_engine(engine, scheme + strict.address, chooser=Told(INPUT), mode=mode)

    assert until(lambda: still_serves(engine, strict))
    with connect() as first, connect() as second:
        assert first.connected
        assert second.connected
        third = connect()
        step = third.infer(engine.model.random_inputs()).step
        assert (step.ran, step.trouble) == ("device", "the server is full: it has its 2 clients already")
        assert str(third.unreached) == step.trouble
        with pytest.raises(Full, match="it has its 2 clients already"):
            connect("only_on_server")
    with third:
        assert third.wait_connected(10)
        assert third.infer(engine.model.random_inputs()).ran == "server"
        assert third.unreached is None


def test_an_older_server_that_is_full_refuses(engine: Engine, strict: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not say that this passes."""
    monkeypatch.setattr(SplitService, "_let_in", lambda *_: False)
    monkeypatch.setattr(SplitService, "_full", lambda _: intake.refusal(0, "it has its clients already"))
    with pytest.raises(Refused, match="has its clients already"):
        connect_engine(engine, strict.address, chooser=Told(INPUT))


@pytest.mark.parametrize("older", [False, True])
def test_the_largest_frame_of_a_client_is_taken(engine: Engine, monkeypatch: pytest.MonkeyPatch, older: bool) -> None:
    """A server says how much one frame may carry; to one that does not, frames are as they always were."""
    if older:
        monkeypatch.setattr(intake, "MAX_BODY_BYTES", 0)
    ((name, one),) = engine.model.random_inputs().items()
    batch = (MAX_BODY_BYTES + LEAD_BYTES) // one.nbytes
    heads, payloads = Codecs().dump("float32", {name: np.repeat(one, batch, 0)})
    hello = Hello(protocol=PROTOCOL, fingerprint=engine.model.fingerprint)
    with serve(engine, bounds=Bounds(batch=batch)) as server:
        connection = Way(server.address, hello, clock=time.perf_counter).connect(lambda _: None)
        ticket = connection.ask(INPUT, batch, heads, payloads, 1e11)
        longest = max(len(unpack(b"".join(frame), 1 << 16).body) for frame in ticket.parcel.frames())
        assert ticket.wait(30).frame.kind is Kind.REPLY
        connection.close()
    assert longest <= 1 << 20 if older else MAX_BODY_BYTES - one.nbytes < longest <= MAX_BODY_BYTES


def test_a_stopped_server_frees_its_port(engine: Engine) -> None:
    with serve(engine) as first:
        port = first.port
    with serve(engine, port=port) as second:
        assert still_serves(engine, second)
    with pytest.raises(Unreachable):
        connect_engine(engine, second.address, chooser=Told(INPUT), mode="only_on_server")


@given(st.lists(st.binary(max_size=5000), max_size=5))
def test_messages_come_out_of_a_socket_as_they_went_in(sent: list[bytes]) -> None:
    one, other = socket.socketpair()
    with one, other:
        for message in sent:
            send(one, message)
        one.shutdown(socket.SHUT_WR)
        assert list(Inbox(other, 5000)) == sent


@pytest.mark.parametrize("parts", [[b"x" * 3_000_000], [b"y" * 50_000] * 40])
def test_a_message_goes_whole_however_short_the_patience(parts: list[bytes]) -> None:
    """The peer begins to read long after it; what `send_now` left over is sent by `send_rest`."""
    one, other = socket.socketpair()
    with one, other:
        be_patient(one, 0.001, socket.SO_SNDTIMEO)
        other.settimeout(10.0)
        rest = send_now(one, framed([parts]))
        assert len(rest) > 0, "a socket that holds megabytes tells nothing here"
        gone: list[bool] = []

        def go_on() -> None:
            send_rest(one, rest)
            send(one, *parts)
            gone.append(True)

        thread = threading.Thread(target=go_on)
        thread.start()
        thread.join(0.05)
        assert not gone
        inbox = Inbox(other, 4_000_000)
        assert [inbox.take(), inbox.take()] == [b"".join(parts)] * 2
        thread.join(5.0)
        assert gone


def test_a_message_waits_for_a_peer_that_reads_later() -> None:
    one, other = socket.socketpair()
    with one, other:
        be_patient(one, 0.001, socket.SO_SNDTIMEO)
        other.settimeout(10.0)
        thread = threading.Thread(target=send, args=(one, b"x", bytes(3_000_000)))
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
        assert Inbox(other, 4_000_000).take() == b"x" + bytes(3_000_000)
        thread.join(5.0)


def test_a_message_longer_than_allowed_is_not_read() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.sendall(struct.pack("<I", 5001))
        with pytest.raises(BadFrame, match="5001"):
            Inbox(other, 5000).take()


def test_a_message_that_is_cut_short_is_dropped() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.sendall(struct.pack("<I", 100) + bytes(50))
        one.shutdown(socket.SHUT_WR)
        assert list(Inbox(other, 5000)) == []


def congestion_of(peer: socket.socket) -> bytes:
    return peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\x00")


@pytest.mark.skipif(not hasattr(socket, "TCP_CONGESTION"), reason="this system does not say what a socket is set to")
def test_sockets_are_cubic_before_they_are_connected(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where bbr is the default, a socket that is set to cubic later is paced all its life."""
    seen: list[bytes] = []

    class Watched(socket.socket):
        def connect(self, address: object) -> None:
            seen.append(congestion_of(self))
            super().connect(address)  # type: ignore[arg-type]

    with serve(engine) as server:
        assert server._door is not None
        assert congestion_of(server._door._listening) == b"cubic"
        monkeypatch.setattr(socket, "socket", Watched)
        with connected(server.host, server.port, 5.0) as peer:
            assert peer.gettimeout() is None
    assert seen == [b"cubic"]


def test_of_several_addresses_the_first_that_answers_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        nobody = gone.getsockname()
    with socket.create_server(("127.0.0.1", 0)) as there:
        known = {"both": [nobody, there.getsockname()], "none": [], "gone": [nobody]}

        def addresses(host: str, port: int, type: socket.SocketKind) -> list[tuple[object, ...]]:
            return [(socket.AF_INET, type, 0, "", address) for address in known[host]]

        monkeypatch.setattr(socket, "getaddrinfo", addresses)
        with connected("both", 1, 5.0) as peer:
            assert peer.getpeername() == there.getsockname()
        with pytest.raises(ConnectionRefusedError):
            connected("gone", 1, 5.0)
        with pytest.raises(OSError, match="none has no address"):
            connected("none", 1, 5.0)


def test_stopping_does_not_wait_for_a_client_that_does_not_read(engine: Engine) -> None:
    """Its end is told to everyone, whoever listens."""
    gate, told = threading.Event(), threading.Event()

    def messages() -> Iterator[bytes]:
        gate.wait(20)
        yield from ()

    def stuck(*_: object) -> None:
        gate.wait(20)

    bounds = Bounds()
    desk = Desk(Places(Halves(engine)), Codecs(), bounds, time.perf_counter)
    service = SplitService(desk, intake.welcome("tiny", "", "", "", [], bounds))
    for say in (stuck, lambda *_: told.set()):
        talk = (messages(), say, lambda: None)
        threading.Thread(target=service.converse, args=talk, daemon=True).start()
    assert until(lambda: len(service._open) == 2)
    ending = threading.Thread(target=service.end, daemon=True)
    ending.start()
    ending.join(10)
    assert not ending.is_alive()
    assert told.wait(10)
    gate.set()


def test_the_grace_is_given_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that come by grpc have used some of it by the time ours are waited for."""
    times = iter([100.0, 100.75])
    given_s: list[float] = []
    with serve(engine) as stopped:
        door = stopped._door
        assert door is not None
        monkeypatch.setattr(door, "clear", given_s.append)
        monkeypatch.setattr(server_module, "time", SimpleNamespace(monotonic=lambda: next(times)))
        stopped.stop(grace_s=1.0)
        monkeypatch.undo()
    assert given_s == [0.25]

"""One stream as a server reads it: requests, what carries them, and a reader that may take the short way."""

from __future__ import annotations

import fcntl
import random
import socket
import struct
import termios
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np
from run_rig import until

from isthmus.codec import Array
from isthmus.engine import Engine
from isthmus.graph import INPUT
from isthmus.run import PROTOCOL, Bounds
from isthmus.run.again import Again
from isthmus.run.codecs import Codecs
from isthmus.run.desk import Desk
from isthmus.run.frame import Kind, Parcel, pack
from isthmus.run.halves import Halves
from isthmus.run.heads import Request, request_header
from isthmus.run.intake import Intake, Job, welcome
from isthmus.run.places import Places
from isthmus.run.sockets import LENGTH_BYTES, Inbox, send
from isthmus.run.split_pb2 import Hello

BOUNDS = Bounds(batch=256, message_bytes=1 << 20)


class Reader:
    """One stream, read as a server reads it; `hurry`: by the short way where it goes."""

    def __init__(self, engine: Engine, peer: socket.socket, *, hurry: bool = True) -> None:
        codecs = Codecs()
        desk = Desk(Places(Halves(engine)), codecs, BOUNDS, time.perf_counter)
        fingerprint = engine.model.fingerprint
        self.intake = Intake(desk, welcome("tiny", fingerprint, "", "", [], BOUNDS))
        self.intake.feed(pack(Kind.HELLO, 1, Hello(protocol=PROTOCOL, fingerprint=fingerprint).SerializeToString()), 0)
        self.codecs, self.inbox, self.peer = codecs, Inbox(peer, 1 << 20, stamped=True), peer
        self.inbox.place = self.intake.place
        self.again = Again(self.inbox, self.intake, codecs, time.perf_counter) if hurry else None
        self.hurried = 0

    def read(self) -> Iterator[Job | bytes]:
        """Jobs and answers, until the end of the stream. Every job is answered before the next is looked for."""
        while True:
            if self.again is not None and (job := self.again.next_job()) is not None:
                self.hurried += 1
                yield job
                self.intake.finished(job)
                continue
            message = self.inbox.take()
            if message is None:
                return
            for item in self.intake.feed(message, time.perf_counter(), self.inbox.landed):
                yield item
                if isinstance(item, Job):
                    self.intake.finished(item)

    def tensors(self, job: Job) -> dict[str, Array]:
        """What a job says."""
        return dict(job.tensors) if job.tensors is not None else self.codecs.load(job.heads, job.payload)


@contextmanager
def joined() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        theirs, _ = listening.accept()
    with closing(ours), closing(theirs):
        yield ours, theirs


def request(engine: Engine, codec: str = "float32", batch: int = 20, seed: int = 0) -> tuple[bytes, bytes]:
    """(header of an ASK frame for the model's input, the payload)"""
    ((name, like),) = engine.model.random_inputs(batch).items()
    x = np.random.default_rng(seed).standard_normal(like.shape, np.float32)
    heads, payloads = Codecs().dump(codec, {name: x})
    payload = b"".join(payloads)
    return request_header(Request(INPUT, batch, len(payload), heads)), payload


def ask(number: int, header: bytes, payload: bytes, rate_bps: float = 1e9) -> list[bytes]:
    return list(map(b"".join, Parcel(Kind.ASK, number, header, [payload], rate_bps).frames()))


Item = Job | bytes


def wait_for_bytes(peer: socket.socket, count: int) -> None:
    """Until so many can be received."""

    def here() -> int:
        (found,) = struct.unpack("i", fcntl.ioctl(peer, termios.FIONREAD, bytes(4)))
        return int(found)

    assert until(lambda: here() >= count)


def in_turns(peer: socket.socket, reader: Reader, said: list[list[bytes]]) -> Iterator[Item]:
    """What is read of each of these, all of which is there before anybody reads, and nothing of what follows; at the
    end the stream ends."""
    items = reader.read()
    for messages in said:
        for message in messages:
            send(peer, message)
        wait_for_bytes(reader.peer, sum(LENGTH_BYTES + len(message) for message in messages))
        yield next(items)
    peer.shutdown(socket.SHUT_WR)
    yield from items


def in_pieces(peer: socket.socket, stream: bytes, steps: list[int], chance: random.Random) -> None:
    """Says a stream in pieces of any of these sizes, now and then with a pause, to its end."""
    at = 0
    while at < len(stream):
        step = chance.choice(steps)
        peer.sendall(stream[at : at + step])
        at += step
        if chance.random() < 0.05:
            time.sleep(0.001)
    peer.shutdown(socket.SHUT_WR)

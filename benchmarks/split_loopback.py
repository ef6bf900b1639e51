"""What does a split request cost over the loopback beyond its head and its tail?

Client and server are two processes, one thread each, on different cores (--one-core: on the same). Every cut and codec
is measured as the system is, and, where this user may (Linux, root), with processors that are kept from sleeping, as by
`isthmus serve --awake`: waking one takes 0.1 to 3 ms on a virtual machine. Medians:

- `over_own_ms`: the request, less the head and the tail as they were timed inside this very request. Pure cost of the
  split: encode, transport, queue, decode. Requests follow one another, as the floors do.
- `over_call_ms`: as `over_own_ms`, for the whole call of `infer`: with looking at the inputs before the request begins,
  and after its outputs are read what is learnt about the link, the journal's line, and telling the chooser.
- `over_apart_ms`: as `over_own_ms`, where the client's core runs the whole network by itself between two requests, as
  where answers are verified: whatever a request begins with is cold then, and a raw input too.
- `over_alone_ms`: of these, the request less that network's head and tail. What the target says, word for word; but it
  also holds the difference between two cores and two moments, of 90 ms of computing: on a machine that others use it
  moves by a millisecond either way, and `over_own_ms` tells more.
- `floor_ms`: the same payload through a bare TCP socket between two processes, there and four bytes back, again and
  again: everything stays in the caches and both processors stay awake.
- `cold_floor_ms`: the same once after each head, as a request does it: the head has filled the caches with weights, and
  the server's processor has gone to sleep.
- `least_ms`: the least Python that can do it: after the head a raw tensor through a bare socket into memory that is
  there already, the tail, the outputs back, and nothing else (no checks, no choice, no times of the link); less head
  and tail, as `over_own_ms`. Only for float32 and a cut with one tensor.

The target is 1.0 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import product

import numpy as np

from isthmus.adapt import Unlearning
from isthmus.engine import Engine
from isthmus.graph import INPUT, OUTPUT
from isthmus.model import load_model
from isthmus.record.types import Choice, Step
from isthmus.run import Session, connect_engine, processors_awake, serve
from isthmus.run.awake import LATENCY
from isthmus.run.sockets import connected, unpace

TARGET_MS = 1.0
_ASKED, _TOOK = struct.Struct("<II"), struct.Struct("<d")
_ROOM_BYTES = 32 << 20
_PATIENCE_S = 5.0


class Told(Unlearning):
    """A chooser that does as it is told."""

    def __init__(self) -> None:
        self.choice = Choice(cut=INPUT)

    def choose(self, now_s: float, batch: int = 1) -> Choice:
        return self.choice


def pin(core: int) -> None:
    """This process on one core, where the machine has as many. A process it starts afterwards knows only that core, so
    the server is started first."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})


def echo_for_ever(plain: socket.socket) -> None:
    """Takes a length and so many bytes, and says done."""
    while True:
        peer, _ = plain.accept()
        with peer:
            while size := int.from_bytes(peer.recv(4, socket.MSG_WAITALL), "little"):
                peer.recv(size, socket.MSG_WAITALL)
                peer.sendall(b"done")


def tails_for_ever(engine: Engine, plain: socket.socket) -> None:
    """Takes the place of a cut in `engine.cuts`, the size of its tensor and the tensor; says how many seconds the tail
    took, and the first output."""
    room = memoryview(bytearray(_ROOM_BYTES))
    while True:
        peer, _ = plain.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with peer:
            while asked := peer.recv(_ASKED.size, socket.MSG_WAITALL):
                place, size = _ASKED.unpack(asked)
                cut = engine.cuts[place]
                tensor = engine.graph.tensors[cut.crossing[0]]
                peer.recv_into(room[:size], size, socket.MSG_WAITALL)
                crossing = np.frombuffer(room[:size], tensor.dtype).reshape(tensor.shape)
                begun = time.perf_counter()
                made = engine.tail(cut.id, {tensor.name: crossing})
                took = time.perf_counter() - begun
                peer.sendmsg([_TOOK.pack(took), next(iter(made.values())).data.cast("B")])


def least_s(engine: Engine, place: int, port: int, rounds: int) -> float:
    """Median seconds of a split request beyond head and tail, by `tails_for_ever` and as little on this side."""
    cut, inputs = engine.cuts[place], engine.model.random_inputs()
    over: list[float] = []
    output = engine.graph.tensors[engine.graph.outputs[0]]
    answer = bytearray(_TOOK.size + output.bytes)
    with connected("127.0.0.1", port, _PATIENCE_S) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(rounds + 3):
            made = engine.head(cut.id, inputs)
            begun = time.perf_counter()
            payload = made[cut.crossing[0]].data.cast("B")
            peer.sendall(_ASKED.pack(place, len(payload)))
            peer.sendall(payload)
            peer.recv_into(answer, len(answer), socket.MSG_WAITALL)
            (tail_s,) = _TOOK.unpack_from(answer)
            np.frombuffer(answer, output.dtype, offset=_TOOK.size)
            over.append(time.perf_counter() - begun - tail_s)
    return statistics.median(over[3:])


def serve_until_killed(model: str, core: int) -> None:
    """The server's process. Prints its port, that of a plain socket and that of the least Python."""
    pin(core)
    engine = Engine.open(load_model(model))
    plain, least = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    unpace(plain)
    unpace(least)
    print(serve(engine).port, *(s.getsockname()[1] for s in (plain, least)), flush=True)
    threading.Thread(target=tails_for_ever, args=(engine, least), daemon=True).start()
    echo_for_ever(plain)


@contextmanager
def other_process(model: str, core: int) -> Iterator[tuple[int, int, int]]:
    """The server in a process of its own on that core, this one on the first from now on; its ports."""
    command = [sys.executable, __file__, "--model", model, "--serve", str(core)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            served, plain, least = map(int, process.stdout.readline().split())
            pin(0)
            yield served, plain, least
        finally:
            process.kill()


def floor_s(port: int, size: int, rounds: int, before: Callable[[], object] = lambda: None) -> float:
    """Median seconds of `size` bytes through a bare socket, and four bytes back; `before` runs before each, untimed."""
    payload, taken = bytes(size), []
    with connected("127.0.0.1", port, _PATIENCE_S) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(rounds):
            before()
            begun = time.perf_counter()
            peer.sendall(size.to_bytes(4, "little"))
            peer.sendall(payload)
            peer.recv(4, socket.MSG_WAITALL)
            taken.append(time.perf_counter() - begun)
        peer.sendall(bytes(4))
    return statistics.median(taken)


def beyond_s(step: Step) -> float:
    """Of a request, what its head and tail did not take."""
    return step.seconds.total - step.seconds.head - step.seconds.tail


def measure(
    engine: Engine, session: Session, told: Told, choice: Choice, ports: Sequence[int], rounds: int
) -> dict[str, object]:
    """One row: a cut and a codec. `ports`: of the plain socket, and of the least Python."""
    plain_port, least_port = ports
    told.choice = choice
    inputs = engine.model.random_inputs()
    for _ in range(3):
        session.infer(inputs)
    apart, alone, call, steps = [], [], [], []
    for _ in range(rounds):
        called = time.perf_counter()
        steps.append(session.infer(inputs).step)
        call.append(time.perf_counter() - called - steps[-1].seconds.head - steps[-1].seconds.tail)
    own = [beyond_s(step) for step in steps]
    for _ in range(rounds):
        step = session.infer(inputs).step
        begun = time.perf_counter()
        engine.tail(choice.cut, engine.head(choice.cut, inputs))
        alone.append(step.seconds.total - (time.perf_counter() - begun))
        apart.append(beyond_s(step))

    def head() -> None:
        engine.head(choice.cut, inputs)

    def median_ms(values: list[float]) -> float:
        return round(1e3 * statistics.median(values), 3)

    place = next(k for k, cut in enumerate(engine.cuts) if cut.id == choice.cut)
    alike = choice.codec == "float32" and len(engine.cuts[place].crossing) == 1
    return {
        "cut": choice.cut,
        "codec": choice.codec,
        "bytes": steps[-1].up_bytes,
        "split": sum(s.ran != "device" for s in steps),
        "total_ms": median_ms([s.seconds.total for s in steps]),
        "over_own_ms": median_ms(own),
        "over_own_p10_ms": round(1e3 * statistics.quantiles(own, n=10)[0], 3),
        "over_call_ms": median_ms(call),
        "over_apart_ms": median_ms(apart),
        "over_alone_ms": median_ms(alone),
        "floor_ms": round(1e3 * floor_s(plain_port, steps[-1].up_bytes, rounds), 3),
        "cold_floor_ms": round(1e3 * floor_s(plain_port, steps[-1].up_bytes, rounds, head), 3),
        "least_ms": round(1e3 * least_s(engine, place, least_port, rounds), 3) if alike else None,
        **{
            f"{cause}_ms": median_ms([getattr(s.seconds, cause) for s in steps])
            for cause in ("encode", "up", "queue", "decode", "down")
        },
    }


def chosen_cuts(engine: Engine) -> list[str]:
    """The input, and the ready cuts nearest to 3.2 MB, 1.6 MB, 800, 400 and 8 kB, as far as the network has them."""
    tensors = engine.graph.tensors
    ready = [c for c in engine.cuts if c.id not in (INPUT, OUTPUT)]
    picked = [INPUT]
    for wanted in (3_211_264, 1_605_632, 802_816, 401_408, 8_192):
        picked.append(min(ready, key=lambda c: abs(sum(tensors[t].bytes for t in c.crossing) - wanted)).id)
    return list(dict.fromkeys(picked))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="zoo:resnet50")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one-core", action="store_true", help="client and server share a core")
    parser.add_argument("--serve", type=int, metavar="CORE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve_until_killed(options.model, options.serve)
        return
    engine, told, rows = Engine.open(load_model(options.model)), Told(), []
    moods = [False, True] if os.access(LATENCY, os.W_OK) else [False]
    with (
        other_process(options.model, 0 if options.one_core else 1) as (port, *plain),
        connect_engine(engine, f"127.0.0.1:{port}", chooser=told, deadline_s=30.0) as session,
    ):
        for cut in chosen_cuts(engine):
            for codec, awake in product(("float32", "int8", "int4"), moods):
                choice = Choice(cut=cut, codec=codec)
                with processors_awake() if awake else nullcontext():
                    row = measure(engine, session, told, choice, plain, options.rounds)
                rows.append({"awake": awake, **row})
                if not options.json:
                    print(" ".join(f"{k}={v}" for k, v in rows[-1].items()), flush=True)
    if options.json:
        cores = 1 if options.one_core else 2
        print(json.dumps({"model": options.model, "target_ms": TARGET_MS, "cores": cores, "rows": rows}))


if __name__ == "__main__":
    main()

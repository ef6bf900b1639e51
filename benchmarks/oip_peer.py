"""How does our fast path compare with a unary call of the Open Inference Protocol, as any other client would make it?

Client and server are two processes on different cores. The model only sums its input, so nearly all of the time is
transport. In turn, round by round, on the server's one port: `ModelInfer` with raw contents, our frames on a gRPC
stream, our frames on a bare socket; the floor is the same bytes through a plain socket with nothing around them.
Ratios are of medians, to the unary call.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from split_loopback import echo_for_ever, floor_s, pin

from isthmus.engine import Engine
from isthmus.graph import INPUT
from isthmus.model import load_model
from isthmus.run import PROTOCOL, Bounds, Server, serve
from isthmus.run.codecs import Codecs
from isthmus.run.connection import Connection
from isthmus.run.oip_client import OipClient
from isthmus.run.split_pb2 import Hello
from isthmus.run.transport import GrpcTransport, TcpTransport, Transport

SIZES = (1_024, 102_400, 409_600, 1_638_400)
FAST_BPS = 5e9


def engine_of(size_bytes: int, folder: Path) -> Engine:
    """A model that sums a row of float32: as little compute as a payload can have."""
    node = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=1)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, size_bytes // 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])
    graph = helper.make_graph([node], "row_sum", [x], [y])
    path = folder / f"row_sum_{size_bytes}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return Engine.open(load_model(path), cache_dir=folder)


@contextmanager
def other_process(size_bytes: int) -> Iterator[list[int]]:
    """The server in a process of its own; its port and the plain one's."""
    command = [sys.executable, __file__, "--serve", str(size_bytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield [int(port) for port in process.stdout.readline().split()]
        finally:
            process.kill()


def serve_until_killed(size_bytes: int) -> None:
    """The server's process."""
    pin(1)
    with tempfile.TemporaryDirectory() as folder:
        server: Server = serve(engine_of(size_bytes, Path(folder)), "row_sum")
        plain = socket.create_server(("127.0.0.1", 0))
        print(server.port, plain.getsockname()[1], flush=True)
        echo_for_ever(plain)


def asker(transport: Transport, fingerprint: str, x: NDArray[np.float32]) -> Callable[[], object]:
    """One request over our frames, as a session makes it."""
    connection, codecs = Connection(transport, clock=time.perf_counter), Codecs()
    connection.greet(Hello(protocol=PROTOCOL, model="row_sum", fingerprint=fingerprint), 5.0)

    def ask() -> object:
        heads, payloads = codecs.dump("float32", {"x": x})
        return connection.ask(INPUT, 1, heads, payloads, FAST_BPS).wait(10.0)

    return ask


def measure(size_bytes: int, rounds: int) -> dict[str, Any]:
    """One row: a payload size."""
    x = np.ones((1, size_bytes // 4), np.float32)
    longest = Bounds().message_bytes
    with tempfile.TemporaryDirectory() as folder, other_process(size_bytes) as (port, plain_port):
        fingerprint = engine_of(size_bytes, Path(folder)).model.fingerprint
        unary = OipClient(f"127.0.0.1:{port}")
        calls: dict[str, Callable[[], object]] = {
            "unary": lambda: unary.infer("row_sum", {"x": x}),
            "stream": asker(GrpcTransport(f"127.0.0.1:{port}", longest), fingerprint, x),
            "socket": asker(TcpTransport("127.0.0.1", port, longest, 5.0), fingerprint, x),
            "floor": lambda: floor_s(plain_port, size_bytes, 1),
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds + 5):
            for name, call in calls.items():
                begun = time.perf_counter()
                told = call()
                times[name].append(told if isinstance(told, float) else time.perf_counter() - begun)
        medians = {name: statistics.median(taken[5:]) for name, taken in times.items()}
    row: dict[str, Any] = {"bytes": size_bytes, **{f"{n}_ms": round(1e3 * t, 3) for n, t in medians.items()}}
    return row | {f"{n}_ratio": round(medians[n] / medians["unary"], 3) for n in ("stream", "socket", "floor")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve_until_killed(options.serve)
        return
    pin(0)
    rows = [measure(size, options.rounds) for size in SIZES]
    if options.json:
        print(json.dumps({"rows": rows}))
        return
    for row in rows:
        print(" ".join(f"{k}={v}" for k, v in row.items()))


if __name__ == "__main__":
    main()

"""How long does a crossing tensor take to write and read, against a copy of it and onnxruntime's own operators?

One float32 tensor of 401,408 bytes (2048 x 7 x 7, or 512 x 14 x 14), half-normal as after a rectifier. Floor: copying
its floats once into warm memory. Peer: onnxruntime's QuantizeLinear and DequantizeLinear, one thread, per tensor for
the measured range (which it is given for nothing) and per channel for the calibrated clip. All are timed in turn, round
by round, in one process; the ratios compare minima. Aim: int8 written in at most 0.15 ms and read in at most 0.15 ms.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from isthmus.codec import PlanarClip, codec_names, make_codec
from isthmus.quant import Calibrator, ChannelClip

AIM_MS = 0.15
Timed = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--shape", default="1x2048x7x7", help="for example 1x512x14x14")
    asked = parser.parse_args()
    shape = tuple(int(d) for d in asked.shape.split("x"))
    answer = measure(shape, asked.rounds)
    print(json.dumps(answer) if asked.json else table(answer))


def measure(shape: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """Milliseconds of every codec both ways, with ratios."""
    rng = np.random.default_rng(0)
    scales = rng.uniform(0.2, 3, (1, shape[1], *(1,) * (len(shape) - 2)))
    x = np.maximum(rng.standard_normal(shape) * scales, 0).astype(np.float32)
    seen = Calibrator()
    seen.update(x)
    calls: dict[str, Timed] = {"floor": floor(x)}
    sizes: dict[str, int] = {}
    for label, codec in codecs(seen.get()).items():
        payload = memoryview(codec.dump(x))
        sizes[label] = payload.nbytes
        calls[f"{label} encode"] = lambda codec=codec: codec.dump(x)  # type: ignore[misc]
        calls[f"{label} decode"] = lambda codec=codec, p=payload: codec.load(p, x.shape, "float32")  # type: ignore[misc]
    for kind, clip in (("tensor", None), ("channel", seen.get())):
        calls[f"peer {kind} encode"], calls[f"peer {kind} decode"] = peer(x, clip)
    times = in_turn(calls, rounds)
    rows = [row(label, sizes[label], times) for label in sizes]
    met = all(r[f"{way}_ms"] <= AIM_MS for r in rows if r["codec"].startswith("int8") for way in ("encode", "decode"))
    return {
        "shape": list(shape),
        "bytes": x.nbytes,
        "rounds": rounds,
        "floor_ms": times["floor"][0],
        "peer_ms": {name[5:]: value[0] for name, value in times.items() if name.startswith("peer")},
        "codecs": rows,
        "aim_ms": AIM_MS,
        "int8_meets_aim": met,
    }


def codecs(clip: ChannelClip) -> dict[str, Any]:
    """Every codec for float tensors; the integer ones with measured range and with calibrated clip."""
    made: dict[str, Any] = {name: make_codec(name) for name in codec_names()}
    made |= {f"{name} calibrated": make_codec(name, clip) for name in codec_names() if name.startswith("int")}
    return made


def floor(x: NDArray[np.float32]) -> Timed:
    target = np.empty_like(x)
    return lambda: np.copyto(target, x)


def peer(x: NDArray[np.float32], clip: ChannelClip | None) -> tuple[Timed, Timed]:
    """QuantizeLinear and DequantizeLinear with the scale our int8 uses, as two sessions of one thread."""
    grid = PlanarClip(8, clip or whole(x))
    low, high = grid.clip.limits(8)
    scale = np.maximum((high - low) / 255, 1e-9).astype(np.float32)
    zero = np.clip(np.round(-low / scale), 0, 255).astype(np.uint8)
    if clip is None:
        scale, zero = scale.reshape(()), zero.reshape(())
    write = session("QuantizeLinear", TensorProto.FLOAT, TensorProto.UINT8, x.shape, scale, zero)
    read = session("DequantizeLinear", TensorProto.UINT8, TensorProto.FLOAT, x.shape, scale, zero)
    symbols = write.run(None, {"x": x})[0]
    return (lambda: write.run(None, {"x": x})), (lambda: read.run(None, {"x": symbols}))


def whole(x: NDArray[np.float32]) -> ChannelClip:
    seen = Calibrator(per_channel=False)
    seen.update(x)
    return seen.get()


def session(op: str, kind: int, result: int, shape: tuple[int, ...], scale: Any, zero: Any) -> Any:
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "scale", "zero"], ["y"], axis=1)],
        "peer",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", result, shape)],
        [numpy_helper.from_array(scale, "scale"), numpy_helper.from_array(zero, "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def in_turn(calls: dict[str, Timed], rounds: int) -> dict[str, tuple[float, float]]:
    """(minimum, median) in ms of each, all called once a round so that noise falls on all alike. Each call is made
    twice in a row and the second is timed: the tensor is then where a head would have left it, in the cache."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()
            start = time.perf_counter()
            call()
            samples[name].append(1e3 * (time.perf_counter() - start))
    return {name: (min(times), statistics.median(times)) for name, times in samples.items()}


def row(label: str, size: int, times: dict[str, tuple[float, float]]) -> dict[str, Any]:
    kind = "channel" if "calibrated" in label else "tensor"
    found: dict[str, Any] = {"codec": label, "payload_bytes": size}
    for way in ("encode", "decode"):
        low, median = times[f"{label} {way}"]
        found |= {
            f"{way}_ms": low,
            f"{way}_median_ms": median,
            f"{way}_over_floor": low / times["floor"][0],
            f"{way}_over_peer": low / times[f"peer {kind} {way}"][0],
        }
    return found


def table(answer: dict[str, Any]) -> str:
    lines = [
        f"{'x'.join(map(str, answer['shape']))} float32, {answer['bytes']} bytes, {answer['rounds']} rounds",
        f"floor (one copy) {answer['floor_ms']:.3f} ms; onnxruntime "
        + ", ".join(f"{name} {ms:.3f} ms" for name, ms in answer["peer_ms"].items()),
        "",
        f"{'codec':<18}{'bytes':>8}  {'encode ms min / median':>24}{'/peer':>7}"
        f"  {'decode ms min / median':>24}{'/peer':>7}",
    ]
    for r in answer["codecs"]:
        encode, decode = (f"{r[f'{way}_ms']:.3f} / {r[f'{way}_median_ms']:.3f}" for way in ("encode", "decode"))
        lines.append(
            f"{r['codec']:<18}{r['payload_bytes']:>8}  {encode:>24}{r['encode_over_peer']:>7.2f}"
            f"  {decode:>24}{r['decode_over_peer']:>7.2f}"
        )
    verdict = "meets" if answer["int8_meets_aim"] else "misses"
    return "\n".join([*lines, "", f"int8 {verdict} the aim of {answer['aim_ms']} ms each way"])


if __name__ == "__main__":
    main()

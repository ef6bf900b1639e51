"""The network run as a camera and a server would share it, in one process: any cut, any widths, any way to write.

`Way` says how; `Pipeline.answer` runs one picture that way and tells what crossed. Used to measure what a solution of
the planner loses, on labelled pictures. The very same ways run over a real link in `plate_live`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from plate_pictures import Scene, network_input, scenes
from plate_scores import Reading, Score, readings, score

from isthmus.codec import Codec, PictureScale, codec_for
from isthmus.codec.huffman import SUFFIX
from isthmus.engine import Engine
from isthmus.graph import cut_at
from isthmus.model import Model, fused, load_model
from isthmus.plan.solution import Solution
from isthmus.profile.distortion import Widths, measure_distortions
from isthmus.profile.samples import Samples
from isthmus.quant import BitPlan, Distortions, QuantisedHead, quantised_head

NETWORK = Path(__file__).with_name("plates.onnx")
BITS = (2, 3, 4, 6, 8)
PICTURE = PictureScale((0.0,) * 3, (1.0,) * 3)
"""The network takes pixels from 0 to 1."""
CALIBRATION_SEED, VALIDATION_SEED, TEST_SEED = 500_000, 600_000, 0
"""Pictures that the training never saw: to calibrate ranges, to choose by, and to report."""
Array = NDArray[Any]


@dataclass(frozen=True)
class Way:
    """Where the network is cut, how what crosses is written, and the device's widths (None: floating point)."""

    cut: str
    codec: str = "float32"
    bits: BitPlan | None = None

    @classmethod
    def of(cls, solution: Solution) -> Way:
        """As a solution of the planner has it."""
        return cls(solution.cut, solution.codec, solution.bits)


@dataclass(frozen=True)
class Answered:
    """The readings of some pictures, in order, how good they are, and the bytes that crossed for one (mean)."""

    found: tuple[tuple[Reading, ...], ...]
    score: Score
    sent_bytes: float


@dataclass
class Pipeline:
    """The network, ready on this machine, and what its tensors lose at few bits. `loaded` keeps quantised heads."""

    net: Model
    engine: Engine
    tables: Distortions
    loaded: dict[str, tuple[Engine, QuantisedHead]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path = NETWORK, *, calibration: int = 32) -> Pipeline:
        """The trained network, its distortions measured on generated pictures."""
        net = fused(load_model(str(path)))
        tables = measure_distortions(
            net, samples(scenes(calibration, CALIBRATION_SEED)), Widths(BITS), source="plates", picture=PICTURE
        )
        return cls(net, Engine.open(net), tables)

    def judged(self, way: Way, pictures: Iterable[Scene]) -> Answered:
        """All of these pictures, one after the other."""
        found, true, sent = [], [], []
        for taken in pictures:
            made, crossed = self.answer(way, taken)
            found.append(tuple(next(readings(made))))
            true.append(taken.plates)
            sent.append(crossed)
        return Answered(tuple(found), score(found, true), float(np.mean(sent)))

    def answer(self, way: Way, taken: Scene) -> tuple[dict[str, Array], int]:
        """The network's outputs for one picture, and the bytes that crossed."""
        inputs = {"image": network_input(taken.pixels)}
        if way.bits is None:
            head, made = None, dict(self.engine.head(way.cut, inputs))
        else:
            runner, head = self.few_bits(way.cut, way.bits)
            made = head.restored(runner.whole(inputs))
        crossing = cut_at(self.engine.graph, way.cut).crossing
        sent = 0
        for name in crossing:
            codec = codec_of(way.codec, name, made[name], head)
            payload = memoryview(codec.dump(made[name])).cast("B")
            sent += payload.nbytes
            made[name] = codec.load(payload, made[name].shape, made[name].dtype.name)
        return {**made, **self.engine.tail(way.cut, {name: made[name] for name in crossing})}, sent

    def crossing(self, way: Way, taken: Scene) -> Array:
        """The one tensor that crosses for a picture where the camera has few bits, as the server reads it."""
        assert way.bits is not None
        runner, head = self.few_bits(way.cut, way.bits)
        made = head.restored(runner.whole({"image": network_input(taken.pixels)}))
        (name,) = cut_at(self.engine.graph, way.cut).crossing
        return made[name]

    def few_bits(self, cut: str, bits: BitPlan) -> tuple[Engine, QuantisedHead]:
        """The device's part at these widths, and what its levels stand for."""
        key = f"{cut} {bits.model_dump_json()}"
        if key not in self.loaded:
            graph = self.engine.graph
            place = cut_at(graph, cut)
            early = [name for name in graph.outputs if graph.producer[name] in place.head]
            head = quantised_head(self.net, place.crossing, bits, self.tables, early=early)
            self.loaded[key] = Engine.open(head.model, cuts="none"), head
        return self.loaded[key]


def codec_of(name: str, tensor: str, value: Array, head: QuantisedHead | None) -> Codec:
    """How a tensor is written: the levels of a quantised head as they are (Huffman-coded where the codec is), all else
    by its codec."""
    if head is not None and tensor in head.steps:
        steps = head.steps[tensor]
        coded = SUFFIX if name.endswith(SUFFIX) else ""
        return codec_for(f"int{steps.bits}{coded}", "float32", steps.clip)
    return codec_for(name, value.dtype.name, None, PICTURE)


def as_sent(codec: str, taken: Scene) -> Scene:
    """A picture as the server sees it that was sent with a picture codec."""
    value = network_input(taken.pixels)
    sender = codec_for(codec, "float32", None, PICTURE)
    back = sender.load(memoryview(sender.dump(value)).cast("B"), value.shape, "float32")
    pixels = np.rint(255 * np.asarray(back, np.float32)[0].transpose(1, 2, 0)).astype(np.uint8)
    return Scene(pixels, taken.plates)


def samples(pictures: Iterable[Scene]) -> Samples:
    """Pictures as the network's input."""
    return Samples({"image": np.concatenate([network_input(taken.pixels) for taken in pictures])})

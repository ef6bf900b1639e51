"""Real accuracy, small enough for a demo: the trained digits network, cut, with fewer and fewer bits sent."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from isthmus.codec import Codec, make_codec
from isthmus.engine import Engine
from isthmus.graph import bottlenecks
from isthmus.model import load_model
from isthmus.model.zoo import digits_test
from isthmus.profile.accuracy import measure_accuracy
from isthmus.profile.calibrate import calibrate
from isthmus.profile.samples import Samples

_CODECS = ("float32", "int8", "int4", "int3", "int2")


class DigitsRow(BaseModel):
    """One codec at one cut: what crosses for one picture, and how many test pictures are still right."""

    model_config = ConfigDict(frozen=True)

    cut: str
    codec: str
    bytes: int
    accuracy: float
    loss: float


def digits_rows() -> tuple[DigitsRow, ...]:
    """The trained network cut at its first natural bottleneck that is ready, on its own test pictures: the first half
    calibrates, the second is counted."""
    engine = Engine.open(load_model("zoo:digits"))
    images, labels = digits_test()
    samples = Samples({engine.model.inputs[0].name: images}, labels)
    half = len(samples) // 2
    cut = next(b.cut for b in bottlenecks(engine.graph) if b.natural and b.cut.id in engine.safe)
    clips = calibrate(engine, samples.part(0, half), [cut])

    def codec(_cut: str, tensor: str, name: str) -> Codec:
        return make_codec(name, clips.get(tensor))

    rows = measure_accuracy(engine, samples.part(half, len(samples)), [(cut.id, n) for n in _CODECS], codec)
    shapes = [engine.graph.tensors[t].shape for t in cut.crossing]
    return tuple(
        DigitsRow(
            cut=row.cut,
            codec=row.codec,
            bytes=sum(make_codec(row.codec, clips.get(cut.crossing[0])).payload_bytes(s, 4) for s in shapes),
            accuracy=row.score,
            loss=row.loss,
        )
        for row in rows
    )

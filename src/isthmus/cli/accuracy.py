"""Which codecs keep the accuracy where: calibrated and judged on samples, where there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from isthmus.cli.common import err, progress_bar
from isthmus.cli.machines import Machines
from isthmus.codec import Codec, PictureScale, codec_for
from isthmus.graph import INPUT, OUTPUT
from isthmus.profile import AccuracyRow
from isthmus.profile.accuracy import measure_accuracy
from isthmus.profile.calibrate import calibrate
from isthmus.profile.samples import Samples
from isthmus.quant import ChannelClip

_EXACT = "float32"


@dataclass(frozen=True)
class Judged:
    """Calibrated ranges and, cut by cut, the codecs that keep the accuracy."""

    clips: Mapping[str, ChannelClip] = field(default_factory=dict)
    codecs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rows: tuple[AccuracyRow, ...] = ()
    samples: int = 0
    scale: PictureScale | None = None


def judge(
    machines: Machines, names: Sequence[str], samples: Samples | None, loss: float, scale: PictureScale | None
) -> Judged:
    """Calibrate every ready cut and score every codec there. Half of the samples calibrate, the other half judge."""
    if samples is None:
        return Judged(scale=scale)
    engine = machines.engine
    half = max(1, len(samples) // 2)
    with progress_bar("calibrating") as progress:
        clips = calibrate(engine, samples.part(0, half), engine.cuts, progress=progress)

    def codec(_cut: str, tensor: str, name: str) -> Codec:
        dtype = engine.graph.tensors[tensor].dtype
        return codec_for(name, dtype, clips.get(tensor), scale if tensor in engine.graph.inputs else None)

    inner = [c.id for c in engine.cuts if c.id != OUTPUT]
    choices = [(c, n) for c in inner for n in names if n != _EXACT and _fits(n, c, engine.graph.inputs)]
    with progress_bar("judging codecs") as progress:
        rows = measure_accuracy(engine, samples.part(half, len(samples)), choices, codec, progress=progress)
    kept = {c: tuple(n for n in names if _keeps(c, n, rows, loss)) or (_EXACT,) for c in inner}
    _tell(rows, loss)
    return Judged(clips, kept, rows, half, scale)


def _fits(name: str, cut: str, inputs: Sequence[str]) -> bool:
    return ":" not in name or cut == INPUT


def _keeps(cut: str, name: str, rows: Sequence[AccuracyRow], loss: float) -> bool:
    return name == _EXACT or any(r.cut == cut and r.codec == name and r.loss <= loss for r in rows)


def _tell(rows: Sequence[AccuracyRow], loss: float) -> None:
    dropped = [r for r in rows if r.loss > loss]
    if dropped:
        worst = max(dropped, key=lambda r: r.loss)
        err.print(
            f"{len(dropped)} of {len(rows)} codecs at cuts lose more than {loss:.1%} and are left out "
            f"(worst: {worst.codec} after {worst.cut}, {worst.loss:.1%})"
        )

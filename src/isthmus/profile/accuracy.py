"""What a codec costs in accuracy at a cut, measured by running the tail on what the codec gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from isthmus.codec import Array, Codec, length_varies
from isthmus.engine import Engine
from isthmus.graph import cut_at
from isthmus.model.types import Progress
from isthmus.profile.judging import answers_of, classes_judged, kept
from isthmus.profile.samples import Samples
from isthmus.profile.types import AccuracyRow


def measure_accuracy(
    engine: Engine,
    samples: Samples,
    choices: Sequence[tuple[str, str]],
    codec_of: Callable[[str, str, str], Codec],
    *,
    batch: int = 32,
    progress: Progress | None = None,
) -> tuple[AccuracyRow, ...]:
    """Score every (cut id, codec name). `codec_of(cut, tensor, name)` gives the codec as it will be used there, with
    its calibrated clip. The answer judged is that of the last output (`answers_of`), compared with the label, or
    without labels with the whole model's (`kept`). Raises as `classes_judged` does where there are labels."""
    if samples.labels is not None:
        classes_judged(engine.model, samples.labels)
    step = batch if engine.model.dynamic_batch else 1
    parts = [{k: v[i : i + step] for k, v in samples.inputs.items()} for i in range(0, len(samples), step)]
    last = engine.model.outputs[-1].name
    whole = np.concatenate([answers_of(engine.whole(p)[last], len(next(iter(p.values())))) for p in parts])
    truth = whole if samples.labels is None else np.asarray(samples.labels)
    base = float(np.mean(kept(whole, truth, whole)))
    rows = []
    for done, (cut, name) in enumerate(choices):
        answers, sizes = zip(*(_through(engine, cut, name, p, last, codec_of) for p in parts), strict=True)
        right = kept(np.concatenate(answers), truth, whole)
        rows.append(
            AccuracyRow(
                cut=cut,
                codec=name,
                score=float(right.mean()),
                loss=base - float(right.mean()),
                labelled=samples.labels is not None,
                samples=len(samples),
                sample_bytes=sum(sizes) / len(samples),
            )
        )
        if progress is not None:
            progress(done + 1, len(choices), f"{cut} {name}")
    return tuple(rows)


def _through(
    engine: Engine,
    cut: str,
    name: str,
    inputs: Mapping[str, Array],
    last: str,
    codec_of: Callable[[str, str, str], Codec],
) -> tuple[Array, int]:
    """The answers, and the bytes that crossed: sample by sample where their number depends on what is written."""
    made = engine.head(cut, inputs)
    crossing, size = {}, 0
    for tensor in cut_at(engine.graph, cut).crossing:
        value = made[tensor]
        codec = codec_of(cut, tensor, name)
        parts = np.split(value, len(value)) if length_varies(name) else [value]
        payloads = [memoryview(codec.dump(part)).cast("B") for part in parts]
        size += sum(payload.nbytes for payload in payloads)
        arrived = [codec.load(p, part.shape, part.dtype.name) for p, part in zip(payloads, parts, strict=True)]
        crossing[tensor] = np.concatenate(arrived) if len(arrived) > 1 else arrived[0]
    answer = made[last] if last in made else engine.tail(cut, crossing)[last]
    return answers_of(answer, len(next(iter(inputs.values())))), size

"""Ranges of the crossing tensors, from sample inputs."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.engine import Engine
from isthmus.graph import OUTPUT, Cut
from isthmus.model.types import Progress
from isthmus.profile.samples import Samples
from isthmus.quant import Calibrator, ChannelClip


def calibrate(
    engine: Engine, samples: Samples, cuts: Sequence[Cut], *, batch: int = 16, progress: Progress | None = None
) -> dict[str, ChannelClip]:
    """Per-channel ranges of every float32 tensor that crosses at these cuts, by tensor name."""
    step = batch if engine.model.dynamic_batch else 1
    found: dict[str, ChannelClip] = {}
    for done, cut in enumerate(cuts):
        wanted = [t for t in cut.crossing if engine.graph.tensors[t].dtype == "float32" and t not in found]
        if wanted and cut.id != OUTPUT:
            watchers = {t: Calibrator() for t in wanted}
            for start in range(0, len(samples), step):
                made = engine.head(cut.id, {k: v[start : start + step] for k, v in samples.inputs.items()})
                for name, watcher in watchers.items():
                    watcher.update(made[name])
            found.update({t: w.get() for t, w in watchers.items()})
        if progress is not None:
            progress(done + 1, len(cuts), cut.id)
    return found

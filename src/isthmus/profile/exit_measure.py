"""What the exits of a model say, measured by running it. Runs the engine; imported by its own name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from isthmus.engine import Engine
from isthmus.errors import BadInput
from isthmus.profile.exit_table import Answers, early_exits, exit_table
from isthmus.profile.exits import ExitTable, Rule
from isthmus.profile.samples import Samples

_FEWEST = 20
"""Below this, half of the samples choose thresholds by chance."""


def run_exits(
    engine: Engine,
    samples: Samples,
    exits: Sequence[str],
    *,
    batch: int = 32,
    progress: Callable[[int, int, str], None] | None = None,
) -> Answers:
    """The logits of these outputs for every sample, `batch` at a time (one at a time where the model fixes that).

    Raises BadInput for samples without labels or that the model does not take.
    """
    if samples.labels is None:
        raise BadInput(f"the exits of {engine.model.name} can be judged only on labelled samples")
    step = batch if engine.model.dynamic_batch else 1
    parts = []
    for start in range(0, len(samples), step):
        made = engine.whole({k: v[start : start + step] for k, v in samples.inputs.items()})
        parts.append({name: made[name] for name in exits})
        if progress is not None:
            progress(min(start + step, len(samples)), len(samples), "samples")
    logits = {name: np.concatenate([part[name] for part in parts]) for name in exits}
    return Answers(logits, np.asarray(samples.labels, np.int64))


def measure_exits(
    engine: Engine,
    samples: Samples,
    *,
    data: str,
    calibration: Samples | None = None,
    rule: Rule = "entropy",
    allowed_loss: float = 0.005,
    batch: int = 32,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> ExitTable:
    """The exits of a model that has them as outputs, on labelled samples.

    `calibration` are other samples, which choose temperatures and thresholds; where there are none, half of `samples`,
    drawn by `seed`, does that and the other half is reported. Raises BadModel for a model without early exits and
    BadInput for too few samples.
    """
    exits = early_exits(engine.graph)
    if calibration is None:
        calibration, samples = _halves(samples, seed)
    return exit_table(
        engine.graph,
        run_exits(engine, calibration, exits, batch=batch, progress=progress),
        run_exits(engine, samples, exits, batch=batch, progress=progress),
        data=data,
        fingerprint=engine.model.fingerprint,
        rule=rule,
        allowed_loss=allowed_loss,
    )


def _halves(samples: Samples, seed: int) -> tuple[Samples, Samples]:
    if len(samples) < _FEWEST:
        raise BadInput(f"{len(samples)} samples are too few to choose thresholds and judge them; give {_FEWEST}")
    order = np.random.default_rng(seed).permutation(len(samples))
    half = len(order) // 2
    return samples.pick(np.sort(order[:half])), samples.pick(np.sort(order[half:]))

"""From measured layers to the laws of a device: a part of the shapes is fitted, the rest judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import BadInput
from isthmus.profile.regression.shapes import LayerShape, variables_of
from isthmus.profile.regression.solve import relative_fit
from isthmus.profile.regression.types import (
    LAYER_TYPES,
    MODEL_BYTES,
    ONE,
    VARIABLE_SETS,
    Law,
    LayerType,
    TypeLaws,
    VariableSet,
)

HELD_OUT = 0.25
_FEWEST = 6
"""Shapes of a type below which nothing can be said about it."""
_LEAST_S = 1e-7
"""A layer that takes less than this counts as this: clocks of kernels tick in microseconds."""


@dataclass(frozen=True)
class Sample:
    """One layer and the seconds it took."""

    shape: LayerShape
    seconds: float

    def __post_init__(self) -> None:
        if not 0 <= self.seconds < float("inf"):
            raise BadInput(f"a {self.shape.type} cannot take {self.seconds} s")


def fit_types(samples: Sequence[Sample], *, seed: int = 0) -> dict[LayerType, TypeLaws]:
    """The laws of every layer type in `samples`, in the order of LAYER_TYPES.

    A quarter of the shapes of each type, chosen by the seed, is not fitted; R² and error are of those. A type of which
    most layers took no time at all was not seen by the clock, and gets no law: that of the nearest type stands in.
    Raises BadInput where a type has too few shapes.
    """
    by_type: dict[LayerType, list[Sample]] = {}
    for sample in samples:
        by_type.setdefault(sample.shape.type, []).append(sample)
    seen = [k for k in LAYER_TYPES if k in by_type and np.median([s.seconds for s in by_type[k]]) > 0]
    return {kind: _fit_type(kind, by_type[kind], seed) for kind in seen}


def fit_law(samples: Sequence[Sample], judged: Sequence[Sample], which: VariableSet) -> Law:
    """The law of one variable set fitted to `samples`, with its quality on `judged`. All are of one type."""
    names = tuple(dict.fromkeys(v for s in samples for v in variables_of(s.shape, which)))
    x, y = _table(samples, names, which)
    solved = relative_fit(np.column_stack([x, np.ones(len(y))]), y, signed=which == "paper")
    law = Law(
        coefficients=dict(zip((*names, ONE), (float(c) for c in solved), strict=True)),
        ranges={v: (float(x[:, k].min()), float(x[:, k].max())) for k, v in enumerate(names)},
    )
    if not judged:
        return law
    r2, error = quality(law, judged, which)
    return law.model_copy(update={"r2": r2, "median_error": error})


def fit_loading(loaded: Sequence[tuple[float, float]], *, seed: int = 0) -> Law | None:
    """The law of loading a model from (its bytes, seconds); None where there are too few."""
    if len(loaded) < _FEWEST:
        return None
    order = np.random.default_rng(seed).permutation(len(loaded))
    held = order[: round(HELD_OUT * len(loaded))]
    fitted = np.setdiff1d(order, held)
    sizes, seconds = np.array(loaded, dtype=np.float64).T
    solved = relative_fit(np.column_stack([sizes, np.ones(len(sizes))])[fitted], seconds[fitted], signed=False)
    said = solved[0] * sizes[held] + solved[1]
    spread = float(((seconds[held] - seconds[held].mean()) ** 2).sum())
    return Law(
        coefficients={MODEL_BYTES: float(solved[0]), ONE: float(solved[1])},
        ranges={MODEL_BYTES: (float(sizes[fitted].min()), float(sizes[fitted].max()))},
        r2=1.0 - float(((said - seconds[held]) ** 2).sum()) / spread if spread > 0 else 1.0,
        median_error=float(np.median(np.abs(said / seconds[held] - 1.0))),
    )


def quality(law: Law, samples: Sequence[Sample], which: VariableSet) -> tuple[float, float]:
    """(R², median relative error) of a law on these samples."""
    said = np.array([law.seconds(variables_of(s.shape, which)) for s in samples])
    true = np.array([max(s.seconds, _LEAST_S) for s in samples])
    spread = float(((true - true.mean()) ** 2).sum())
    r2 = 1.0 - float(((said - true) ** 2).sum()) / spread if spread > 0 else 1.0
    return r2, float(np.median(np.abs(said / true - 1.0)))


def judged_in_turn(samples: Sequence[Sample], which: VariableSet, *, seed: int = 0, parts: int = 4) -> float:
    """Median relative error over all samples of one type, each judged by a law fitted without its part.

    What one quarter says of a type hangs on a dozen shapes; so every quarter is left out once (cross-validation).
    """
    order = np.random.default_rng(seed).permutation(len(samples))
    errors: list[float] = []
    for part in range(parts):
        held = set(order[part::parts].tolist())
        law = fit_law([s for i, s in enumerate(samples) if i not in held], [], which)
        for s in (samples[i] for i in sorted(held)):
            errors.append(abs(law.seconds(variables_of(s.shape, which)) / max(s.seconds, _LEAST_S) - 1.0))
    return float(np.median(errors))


def split(samples: Sequence[Sample], seed: int) -> tuple[list[Sample], list[Sample]]:
    """(to fit, to judge by), at random."""
    order = np.random.default_rng(seed).permutation(len(samples))
    held = set(order[: round(HELD_OUT * len(samples))].tolist())
    return [s for i, s in enumerate(samples) if i not in held], [s for i, s in enumerate(samples) if i in held]


def _fit_type(kind: LayerType, samples: Sequence[Sample], seed: int) -> TypeLaws:
    if len(samples) < _FEWEST:
        raise BadInput(f"{len(samples)} shapes of {kind} are too few for a law; measure at least {_FEWEST}")
    fitted, judged = split(samples, seed)
    laws = {which: fit_law(fitted, judged, which) for which in VARIABLE_SETS}
    return TypeLaws(laws=laws, fitted=len(fitted), held_out=len(judged))


def _table(
    samples: Sequence[Sample], names: Sequence[str], which: VariableSet
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = [variables_of(s.shape, which) for s in samples]
    x = np.array([[v[n] for n in names] for v in values], dtype=np.float64).reshape(len(samples), len(names))
    return x, np.array([max(s.seconds, _LEAST_S) for s in samples])

"""Are these the tensors that were asked for? Names, element types, shapes, and one batch size throughout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isthmus.codec.lengths import native_name
from isthmus.errors import BadInput
from isthmus.graph.from_onnx import graph_of
from isthmus.graph.types import Graph
from isthmus.model.types import Array, Model

_KEPT = 64


@dataclass(frozen=True)
class Shapes:
    """Every activation's element type and shape at any batch: `shape(b) = first + (b − 1)·growth`, axis by axis."""

    first: Mapping[str, tuple[int, ...]]
    growth: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    _seen: dict[tuple[Any, ...], int | None] = field(default_factory=dict, compare=False, repr=False)
    """What was found right, and its batch: a session gives the same shapes again and again."""

    def at(self, name: str, batch: int) -> tuple[int, ...]:
        return tuple(f + (batch - 1) * g for f, g in zip(self.first[name], self.growth[name], strict=True))

    def axes(self, name: str) -> list[int | str]:
        """The shape at any batch, as onnx writes it: lengths, and a name for each that grows; the same name is the same
        length."""
        lengths = zip(self.first[name], self.growth[name], strict=True)
        return [f"{f - g}+{g}*batch" if g else f for f, g in lengths]

    def check(self, what: str, wanted: Sequence[str], given: Mapping[str, Array]) -> int | None:
        """The batch size, None where no shape tells. Raise BadInput, one sentence, unless `given` is exactly the
        tensors `wanted`, fit to be run."""
        try:
            items = given.items()
        except AttributeError:
            raise BadInput(
                f"{what} takes its tensors by name, as {{name: array}}, not {type(given).__name__}"
            ) from None
        key = (tuple(wanted), *[(n, type(a), getattr(a, "dtype", 0), getattr(a, "shape", 0)) for n, a in items])
        try:
            return self._seen[key]  # in one step: another thread may empty it
        except (KeyError, TypeError):  # not seen yet; or no array, and nothing that can be looked up
            pass
        batch = self._checked(what, wanted, given)
        if len(self._seen) >= _KEPT:
            self._seen.clear()
        self._seen[key] = batch
        return batch

    def _checked(self, what: str, wanted: Sequence[str], given: Mapping[str, Array]) -> int | None:
        if set(given) != set(wanted):
            extra, missing = sorted(set(given) - set(wanted)), sorted(set(wanted) - set(given))
            wrong = f"no {missing[0]}" if missing else f"{extra[0]}, which it does not take"
            raise BadInput(f"{what} takes {', '.join(wanted)}; it was given {wrong}")
        batch: int | None = None
        for name in wanted:
            array = given[name]
            if type(array) is not np.ndarray:
                _vet_kind(what, name, array)
            if (found := native_name(array.dtype)) != self.dtypes[name]:
                raise BadInput(f"{what}: {name} must be {self.dtypes[name]}, not {found}")
            batch = self._batch(what, name, array.shape, batch)
        return batch

    def batch_told(self, name: str, shape: tuple[int, ...]) -> int | None:
        """The batch a shape is for; None where it does not tell, or there is no such tensor."""
        growth = self.growth.get(name, ())
        if not any(growth) or len(shape) != len(growth):
            return None
        axis = next(i for i, g in enumerate(growth) if g)
        return 1 + (shape[axis] - self.first[name][axis]) // growth[axis]

    def _batch(self, what: str, name: str, shape: tuple[int, ...], batch: int | None) -> int | None:
        """The batch a shape is for. With `batch` given it must be that one."""
        if batch is None:
            batch = self.batch_told(name, shape)
        wanted = self.at(name, max(batch or 1, 1))
        if shape != wanted:
            raise BadInput(f"{what}: {name} must be {_shown(wanted)}, not {_shown(shape)}")
        return batch


def shapes_of(model: Model, graph: Graph) -> Shapes:
    """Shapes by comparing the graphs at batch 1 and 2; a model that fixes its batch has shapes that do not grow."""
    first = {t: graph.tensors[t].shape for t in graph.tensors}
    dtypes = {t: graph.tensors[t].dtype for t in graph.tensors}
    second = first
    if model.dynamic_batch and graph.batch == 1:
        try:
            twice = graph_of(model, 2)
        except BadInput:  # the network itself holds a batch of one, in a Reshape for example
            twice = graph
        second = {t: twice.tensors[t].shape for t in first}
    growth = {t: tuple(b - a for a, b in zip(first[t], second[t], strict=True)) for t in first}
    return Shapes(first, growth, dtypes)


def _shown(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "a scalar"


def _vet_kind(what: str, name: str, array: object) -> None:
    """Raise BadInput for what is no array, or one with a mask, which nothing here reads."""
    if not isinstance(array, np.ndarray):
        raise BadInput(f"{what}: {name} must be a numpy array, not {type(array).__name__}")
    if isinstance(array, np.ma.MaskedArray):
        raise BadInput(f"{what}: {name} must not be masked, for a network knows no mask; give {name}.filled(value)")

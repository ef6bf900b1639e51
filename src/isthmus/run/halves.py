"""The two halves of a model around one cut, and what may be put into the first: the same for client and server."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.engine.check import shapes_of
from isthmus.engine.engine import Finish
from isthmus.errors import BadFrame, BadInput
from isthmus.graph import INPUT, Cut, Tensor, cut_at
from isthmus.run.apart import Seam, apart
from isthmus.run.types import Array, Arrays, Runner

_KEPT = 256
"""Cuts remembered beside the ready ones; a wide graph has more than anyone can keep."""


class Halves:
    """An engine seen by cut id: which tensors cross at which batch size, and running what stands on either side."""

    def __init__(self, engine: Runner, part_of: Halves | None = None) -> None:
        self._engine, self._part_of = engine, part_of
        self._cuts = {cut.id: cut for cut in engine.cuts}
        self.ready = tuple(self._cuts)
        self._others: dict[str, Cut] = {}
        self._later: dict[str, tuple[str, ...]] = {}
        self._shapes = shapes_of(engine.model, engine.graph)
        self._grows = any(map(self.grows, self._shapes.growth))
        self._outputs = engine.graph.outputs
        self._due: dict[tuple[str, int], tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self._exits: dict[tuple[str, ...], Halves] = {}
        self._lock = threading.Lock()

    @property
    def engine(self) -> Runner:
        return self._engine

    @cached_property
    def apart(self) -> bool:
        """Whether samples of one batch leave one another alone (`isthmus.run.apart`). Found out when first asked for,
        by running the network on 14 samples; parts of it are as the whole."""
        return apart(self._engine, self.seam) if self._part_of is None else self._part_of.apart

    @property
    def finishes(self) -> Finish:
        """How a request that the server did not answer ends here."""
        return self._engine.finishes

    def at_exits(self, outputs: Sequence[str]) -> Halves:
        """The same for the part of the network that these outputs need; nothing else of it is run. Raises BadInput for
        an output that is none."""
        wanted = tuple(outputs)
        if wanted == self._engine.graph.outputs:
            return self
        found = self._exits.get(wanted)
        if found is None:
            made = Halves(self._engine.at_exits(wanted), self._part_of or self)
            with self._lock:
                found = self._exits.setdefault(wanted, made)
        return found

    def cut(self, cut_id: str) -> Cut:
        """The cut an id names. Raises BadInput when it names none."""
        found = self._cuts.get(cut_id) or self._others.get(cut_id)
        if found is None:
            found = cut_at(self._engine.graph, cut_id)
            if found.id != cut_id:
                raise BadInput(f"the cut '{cut_id[:80]}' is called '{found.id[:80]}'")
            with self._lock:
                if len(self._others) >= _KEPT:
                    self._others.clear()
                self._others[cut_id] = found
        return found

    def crossing(self, cut_id: str, batch: int) -> tuple[Tensor, ...]:
        """Name, shape and dtype of what crosses. Raises BadInput for unknown cuts and batch sizes the model lacks."""
        return self._told(self.cut(cut_id).crossing, batch)

    def wanted(self, cut_id: str, batch: int) -> tuple[Tensor, ...]:
        """The inputs that the part before a cut reads: what a server needs to run it. Raises as `crossing`."""
        graph, head = self._engine.graph, self.cut(cut_id).head
        return self._told([t for t in graph.inputs if not head.isdisjoint(graph.consumers[t])], batch)

    def returned(self, cut_id: str, batch: int) -> tuple[Tensor, ...]:
        """What crosses from the part before a cut but is neither an input nor an answer. Raises as `crossing`."""
        graph = self._engine.graph
        here = {*graph.inputs, *graph.outputs}
        return self._told([t for t in self.cut(cut_id).crossing if t not in here and graph.consumers[t]], batch)

    def answered(self, cut_id: str, batch: int) -> tuple[Tensor, ...]:
        """The outputs made before a cut. Raises as `crossing`."""
        later = self.output_names(cut_id)
        return self._told([t for t in self._engine.graph.outputs if t not in later], batch)

    def batch_told(self, shapes: Mapping[str, tuple[int, ...]]) -> int:
        """The batch that tensors of these shapes are for, not checked; the model's own where none tells."""
        told = (self._shapes.batch_told(name, shape) for name, shape in shapes.items())
        return next((batch for batch in told if batch is not None), self._engine.graph.batch)

    def padded(self, inputs: Arrays) -> dict[str, Array]:
        """Every input of the model: zeros for those that are not there, which nothing may read."""
        graph = self._engine.graph
        batch = self._shapes.check(graph.name, list(inputs), inputs) or graph.batch
        whole = self._told(graph.inputs, batch)
        return {t.name: inputs[t.name] if t.name in inputs else np.zeros(t.shape, t.dtype) for t in whole}

    def _told(self, names: Iterable[str], batch: int) -> tuple[Tensor, ...]:
        if batch < 1 or (not self._grows and batch != self._engine.graph.batch):
            raise BadInput(f"{self._engine.model.name} takes batches of {self._engine.graph.batch} only, not {batch}")
        tensors = self._engine.graph.tensors
        return tuple(replace(tensors[name], shape=self._shapes.at(name, batch)) for name in names)

    def sends_input(self, cut_id: str) -> bool:
        """True where a raw input of the model crosses. Raises BadInput as `cut` does."""
        return not set(self._engine.graph.inputs).isdisjoint(self.cut(cut_id).crossing)

    def head(self, cut_id: str, inputs: Arrays) -> tuple[dict[str, Array], dict[str, Array]]:
        """(crossing tensors in the cut's order, outputs made already)."""
        cut = self.cut(cut_id)
        made = dict(inputs) if cut_id == INPUT else self._engine.head(cut_id, inputs)
        already = {name: made[name] for name in self._engine.graph.outputs if name in made}
        return {name: made[name] if name in made else inputs[name] for name in cut.crossing}, already

    def tail(self, cut_id: str, tensors: Arrays) -> dict[str, Array]:
        """The outputs made after the cut."""
        return self._engine.tail(cut_id, tensors)

    def whole(self, inputs: Arrays) -> dict[str, Array]:
        """Every output, without a cut."""
        return self._engine.whole(inputs)

    def middle(self, start: Cut, end: Cut, tensors: Arrays) -> dict[str, Array]:
        """From the crossing tensors of one cut to those of a later one (all of them), and the outputs made between."""
        made = self._engine.middle(start, end, tensors)
        return {**{name: tensors[name] for name in end.crossing if name not in made}, **made}

    def grows(self, name: str) -> bool:
        """Whether the shape of a tensor changes with the batch."""
        return any(self._shapes.growth[name])

    def seam(self, name: str) -> Seam | None:
        """Where samples of a tensor are joined and parted; None where it is not in proportion to the batch."""
        first, growth = self._shapes.first[name], self._shapes.growth[name]
        axes = [axis for axis, length in enumerate(growth) if length]
        return (axes[0], growth[axes[0]]) if len(axes) == 1 and first[axes[0]] == growth[axes[0]] else None

    def picked(self, tensors: Arrays, keep: NDArray[np.bool_]) -> dict[str, Array] | None:
        """Some samples of a batch; None where these tensors are not in proportion to it, or samples not `apart`."""
        seams = {name: seam for name in tensors if (seam := self.seam(name)) is not None}
        if len(seams) != len(tensors) or not self.apart:
            return None
        return {
            name: np.compress(np.repeat(keep, length), tensors[name], axis) for name, (axis, length) in seams.items()
        }

    def shape(self, name: str, batch: int) -> tuple[int, ...]:
        """The shape of an activation."""
        return self._shapes.at(name, batch)

    def check(self, outputs: Arrays, batch: int) -> None:
        """Raises BadFrame where what a server says an output is has not the element type of the model's, or not the
        shape of this batch. What they are is remembered: a session asks for the same again and again."""
        for name, array in outputs.items():
            if self._due.get((name, batch)) != (array.dtype, array.shape):
                self._check(name, array, batch)

    def _check(self, name: str, array: Array, batch: int) -> None:
        due = np.dtype(self._engine.graph.tensors[name].dtype), self._shapes.at(name, batch)
        if due != (array.dtype, array.shape):
            raise BadFrame(f"the server's {name} is {array.dtype.name} {array.shape}, not {due[0].name} {due[1]}")
        if len(self._due) >= _KEPT:
            self._due.clear()
        self._due[name, batch] = due

    def in_order(self, outputs: Arrays) -> dict[str, Array]:
        """Outputs in the model's order. Raises KeyError when one is missing."""
        return {name: outputs[name] for name in self._outputs}

    def output_names(self, cut_id: str) -> Sequence[str]:
        """Outputs that the tail of this cut makes."""
        found = self._later.get(cut_id)
        if found is None:
            graph, head = self._engine.graph, self.cut(cut_id).head
            found = tuple(n for n in graph.outputs if graph.producer.get(n, -1) not in head or cut_id == INPUT)
            if cut_id in self._cuts:
                self._later[cut_id] = found
        return found

    def batch_of(self, inputs: Arrays) -> int:
        """The batch size of a whole request. Raises BadInput in one sentence for anything the model does not take."""
        graph = self._engine.graph
        return self._shapes.check(graph.name, graph.inputs, inputs) or graph.batch

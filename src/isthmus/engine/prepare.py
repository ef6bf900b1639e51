"""From a model to what the engine keeps of it: the optimised core with its weights, and the model itself, on disk.

Both stand in one cache entry: `core.onnx` + `weights.bin` (for every fusion-safe cut) and `source.onnx` + `source.bin`
(for the cuts built on demand, and so that nobody has to hold the model's weights in memory).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from isthmus.engine.check import Shapes, shapes_of
from isthmus.engine.core import Core
from isthmus.engine.ends import Ends, ends_of
from isthmus.engine.fusion import keep_safe, optimiser
from isthmus.engine.lent import lend
from isthmus.engine.runtime import ort
from isthmus.engine.sessions import RUNTIME, save_prepacked
from isthmus.engine.store import cpu, entry, key_of
from isthmus.engine.weights import externalise, without_defaults
from isthmus.graph.cuts import narrow_cuts
from isthmus.graph.exits import at_exits
from isthmus.graph.types import INPUT, OUTPUT, Cut, Graph
from isthmus.model.types import Model

_CORE = "core.onnx"
_WEIGHTS = "weights.bin"
_SOURCE = "source.onnx"
SOURCE_WEIGHTS = "source.bin"
"""Read only when a cut is built on demand, and checked only then."""


@dataclass(frozen=True)
class Prepared:
    """A model made ready on this machine. `model` is the one given, its large weights in files under `folder`;
    `cuts` are INPUT, the fusion-safe cuts and OUTPUT, in running order."""

    model: Model
    graph: Graph
    folder: Path
    core: Core
    cuts: tuple[Cut, ...]
    lent: Mapping[str, ort.OrtValue] = field(repr=False)
    """The core's weights for all sessions that use them as they are, by name."""

    def ends(self, cut: Cut) -> Ends:
        """What goes in and out of both halves."""
        return ends_of(self.graph, cut)

    def at_exits(self, outputs: Sequence[str]) -> Prepared:
        """The same core, for the part of the network that some outputs need. Ready are the narrow places of that part
        whose tensor the core kept. Raises BadInput for an output that is none."""
        graph = at_exits(self.graph, outputs)
        model = replace(self.model, outputs=tuple(o for o in self.model.outputs if o.name in outputs))
        model.__dict__["fingerprint"] = self.model.fingerprint
        first, *inner, last = narrow_cuts(graph)
        ready = _can_be_cut(self.core, graph, [c for c in inner if c.id in self.core.producer])
        return replace(self, model=model, graph=graph, cuts=(first, *ready, last))

    @cached_property
    def shapes(self) -> Shapes:
        """Of every activation, at any batch."""
        return shapes_of(self.model, self.graph)

    def kind(self, tensor: str) -> int:
        """onnx element type of an activation."""
        return element_type(self.graph, tensor)

    def info(self, tensor: str) -> onnx.ValueInfoProto:
        """What a part that takes this activation is told of it: element type and shape."""
        return helper.make_tensor_value_info(tensor, self.kind(tensor), self.shapes.axes(tensor))


def prepare(
    model: Model, graph: Graph, root: Path, *, level: str, progress: Callable[[int, int, str], None] | None
) -> Prepared:
    """Optimise a model, or find it in the cache. `progress(done, of, what)` is told when it must be made.

    Raises BadModel when onnxruntime cannot take it, BadInput when the cache cannot be written.
    """
    model.need_weights()
    narrow = narrow_cuts(graph)
    key = key_of({"model": model.fingerprint, "runtime": RUNTIME, "cpu": cpu(), "level": level})

    def make(folder: Path) -> dict[str, Any]:
        if progress is not None:
            progress(0, 1, f"optimising {model.name} for this machine")
        onnx.save_model(externalise(model.proto, folder / SOURCE_WEIGHTS), folder / _SOURCE)
        safe = _make_core(model, graph, narrow, folder, level)
        if progress is not None:
            progress(1, 1, f"optimised {model.name}: {len(safe)} cuts are fusion-safe")
        return {"safe": safe}

    folder, notes = entry(root, key, make, later=(SOURCE_WEIGHTS,))
    safe = {INPUT, OUTPUT, *notes["safe"]}
    core = Core(onnx.load(folder / _CORE, load_external_data=False))
    light = replace(model, proto=onnx.load(folder / _SOURCE, load_external_data=False))
    light.__dict__["fingerprint"] = model.fingerprint  # of the whole model, not of what is left of it in memory
    # kernels that repack their weights are given them by the runtime, which finds the packed form in the file
    lent = lend(core.proto.graph.initializer, folder / _WEIGHTS) if core.packing == "none" else {}
    return Prepared(light, graph, folder, core, tuple(c for c in narrow if c.id in safe), lent)


def element_type(graph: Graph, tensor: str) -> int:
    """onnx element type of an activation."""
    return helper.np_dtype_to_tensor_dtype(np.dtype(graph.tensors[tensor].dtype))


def _make_core(model: Model, graph: Graph, narrow: tuple[Cut, ...], folder: Path, level: str) -> list[str]:
    """Write the optimised core and its weights; the ids of the cuts it can be cut at."""
    cuts = {c.id: c for c in narrow if c.id in graph.producer and c.id not in graph.outputs}
    kinds = {t: element_type(graph, t) for t in graph.tensors}
    with tempfile.TemporaryDirectory(prefix=".optimising-", dir=folder.parent) as scratch:
        beside = Path(scratch)
        best = keep_safe(list(cuts), optimiser(model.proto, kinds, beside), level)
        core = Core(without_defaults(externalise(best.core.proto, folder / _WEIGHTS, beside)))
        if core.packing == "shared":
            core = _prepacked(core, folder, beside)
    onnx.save_model(core.proto, folder / _CORE)
    return [c.id for c in _can_be_cut(core, graph, [cuts[t] for t in best.safe])]


def _prepacked(core: Core, folder: Path, scratch: Path) -> Core:
    """The same core with the repacked weights in its file."""
    path = scratch / "packed.onnx"
    save_prepacked(core.proto.SerializeToString(), folder, path, _WEIGHTS)
    (scratch / _WEIGHTS).replace(folder / _WEIGHTS)
    return Core(onnx.load(path, load_external_data=False))


def _can_be_cut(core: Core, graph: Graph, cuts: Sequence[Cut]) -> list[Cut]:
    """Those of `cuts`, which are in running order, whose tail closes and finds its way back into the blocked layout."""
    ends = [ends_of(graph, cut) for cut in reversed(cuts)]
    begins = core.can_begin((e.crossing, e.late) for e in ends)
    return [cut for cut, good in zip(reversed(cuts), begins, strict=True) if good][::-1]

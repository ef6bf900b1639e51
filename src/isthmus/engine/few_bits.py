"""The device's side of a network whose part there computes with few bits: the quantised head of one cut, and a whole
network of few bits where the device has room for one.

No floating-point weight of the network is loaded. A part is loaded when it is first used; where both do not fit the
device's memory at once, one makes way for the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from isthmus.codec.head_file import read_head
from isthmus.engine.check import Shapes, shapes_of
from isthmus.engine.engine import Engine, Finish
from isthmus.engine.heap import give_back
from isthmus.engine.instructions import has_vnni
from isthmus.engine.sessions import RUNTIME, Part, finished_session, optimise
from isthmus.engine.slow import SlowDown, wait_s, work_clock
from isthmus.engine.store import cpu, default_folder, entry, key_of
from isthmus.engine.weights import externalise
from isthmus.errors import BadInput
from isthmus.files import sha256_of
from isthmus.graph.cuts import cut_at
from isthmus.graph.from_onnx import graph_of
from isthmus.graph.types import INPUT, OUTPUT, Cut, Graph
from isthmus.model.types import Array, Model
from isthmus.quant import QuantisedHead, Steps
from isthmus.units import thread_count

_CORE = "core.onnx"
_GIVEN = "given.bin"


@dataclass(frozen=True)
class PackedParts:
    """What a device has of a network: files of `write_head` by cut id (OUTPUT: the whole network). `together`: all of
    it fits the memory at once."""

    parts: Mapping[str, Path]
    together: bool = True


class FewBits:
    """Runs on the device what a plan gave few bits; a `Runner` as `Engine` is one. May be called from any thread.

    `model` is the network (fused, the one that is cut) without its weights. `behind`, an engine with the weights, goes
    on from a cut where answers are to be recomputed; without one nothing behind a cut can be computed here. Parts are
    optimised for this CPU once and kept in `cache_dir` (as `Engine.open` does). `slowdown`, `wait`: as there.
    """

    def __init__(
        self,
        model: Model,
        kept: PackedParts,
        *,
        threads: int = 1,
        slowdown: float = 1.0,
        behind: Engine | None = None,
        cache_dir: Path | None = None,
        wait: Callable[[float], None] = wait_s,
    ) -> None:
        self._cache = Path(cache_dir) if cache_dir is not None else default_folder()
        self.model, self.threads, self.behind = model, thread_count(threads), behind
        self.graph: Graph = graph_of(model, 1)
        self._slow = SlowDown(slowdown, wait, work_clock(threads))
        self._kept = kept
        self._shapes: Shapes = shapes_of(model, self.graph)
        inner = [cut_at(self.graph, name) for name in kept.parts if name != OUTPUT]
        ends = [cut_at(self.graph, OUTPUT)] if OUTPUT in kept.parts else []
        self.cuts: tuple[Cut, ...] = (cut_at(self.graph, INPUT), *inner, *ends)
        self._loaded: dict[str, ReadyPart] = {}
        self._lock = threading.RLock()

    @property
    def finishes(self) -> Finish:
        """How a request that the server did not answer ends here."""
        return "anew" if OUTPUT in self._kept.parts else "never"

    @property
    def slowdown(self) -> float:
        """The declared factor, 1 for the machine as it is."""
        return self._slow.factor

    def whole(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs, at few bits. Raises BadInput for wrong inputs, and where the device holds no whole network."""
        self.check_inputs(inputs)
        if OUTPUT not in self._kept.parts:
            raise BadInput(
                f"this device's memory holds no whole {self.model.name}: only a server finishes a request; pack it "
                "with a larger --memory to have one"
            )
        made = self._run(OUTPUT, inputs)
        return {name: made[name] for name in self.graph.outputs}

    def head(self, cut_id: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What crosses at the cut that was packed, as the float32 numbers that its levels stand for, and the outputs
        made on the way; the inputs at INPUT, all outputs at OUTPUT. Raises BadInput for another cut."""
        self.check_inputs(inputs)
        if cut_id == INPUT:
            return dict(inputs)
        if cut_id == OUTPUT:
            return self.whole(inputs)
        made = self._run(self._known(cut_id), inputs)
        return {**{t: inputs[t] for t in cut_at(self.graph, cut_id).crossing if t not in made}, **made}

    def tail(self, cut_id: str, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs behind a cut, in floating point. Raises BadInput where no engine stands behind this one."""
        if self.behind is None:
            raise BadInput(f"what lies behind {cut_id} of {self.model.name} is not on this device")
        return self.behind.tail(cut_id, tensors)

    def at_exits(self, outputs: Sequence[str]) -> FewBits:
        """This, where all outputs are asked for. Raises BadInput for fewer: heads of few bits are packed whole."""
        if tuple(outputs) == self.graph.outputs:
            return self
        raise BadInput(
            f"{self.model.name} was packed with few bits for all its outputs; exits cannot be run alone: pack it "
            "without bits"
        )

    def middle(self, start: Cut, end: Cut, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """Raises BadInput: stages between exits are not kept at few bits."""
        raise BadInput(f"{self.model.name} was packed with few bits; it does not run in stages: pack it without bits")

    def check_inputs(self, inputs: Mapping[str, Array]) -> None:
        """Raise BadInput unless these are the model's inputs: names, element types, shapes, one batch."""
        self._shapes.check(self.model.name, self.graph.inputs, inputs)

    def warm(self, cut_id: str) -> None:
        """Load a part now. Raises BadInput for one that is not here."""
        self._part(self._known(cut_id))

    def _known(self, cut_id: str) -> str:
        if cut_id not in self._kept.parts:
            known = ", ".join(self._kept.parts) or "none"
            raise BadInput(f"{self.model.name} was packed with few bits up to {known}, not up to '{cut_id[:80]}'")
        return cut_id

    def _run(self, cut_id: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._slow.run(lambda: self._part(cut_id).run(inputs))

    def _part(self, cut_id: str) -> ReadyPart:
        found = self._loaded.get(cut_id)
        if found is not None:
            return found
        with self._lock:
            if cut_id not in self._loaded:
                if not self._kept.together:
                    self._loaded.clear()
                self._loaded[cut_id] = ready_part(self._kept.parts[cut_id], self._cache, self.threads)
            return self._loaded[cut_id]


@dataclass(frozen=True)
class ReadyPart:
    """A quantised part that can run. `ends`: what its outputs mean; its model is an empty one."""

    ends: QuantisedHead
    part: Part

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self.ends.restored(self.part.run(inputs))


def ready_part(file: Path, cache: Path, threads: int) -> ReadyPart:
    """A part from its file, optimised for this CPU when it is not in the cache yet."""
    key = key_of({"part": sha256_of(file), "runtime": RUNTIME, "cpu": cpu(), "order": "late"})
    folder, notes = entry(cache, key, lambda folder: _optimised(file, folder))
    session = finished_session((folder / _CORE).read_bytes(), folder, threads, prepack=True, in_order=True)
    give_back()
    steps = {name: Steps(*row) for name, row in notes["steps"].items()}
    nothing = Model("", onnx.ModelProto(), (), ())
    ends = QuantisedHead(nothing, notes["levels"], steps, tuple(notes["plain"]), {})
    return ReadyPart(ends, Part(tuple(notes["takes"]), tuple(notes["gives"]), session))


def _optimised(file: Path, folder: Path) -> dict[str, Any]:
    """Optimise a part into `folder`; notes about its ends. Its weights stand in a file meanwhile, so that they are in
    memory once and not four times."""
    head = read_head(file, signed=has_vnni())
    notes = _notes(head)
    model = externalise(head.model.proto, folder / _GIVEN).SerializeToString()
    del head
    give_back()
    optimise(model, folder / _CORE, part=True)
    core = onnx.load(folder / _CORE, load_external_data=False)
    made_late(core.graph)
    onnx.save_model(core, folder / _CORE)
    (folder / _GIVEN).unlink()
    return notes


def made_late(graph: onnx.GraphProto) -> None:
    """Put what is made of constants alone (weights that a layer in floating point widens) right before its first
    reader. Where the optimiser leaves it is at the start, and all widened weights stand in memory together: 59 MB for
    ResNet-18 with weights of 8 bits and tensors in floating point, 30 with this."""
    if any(attribute.HasField("g") for node in graph.node for attribute in node.attribute):
        return  # graphs within nodes read what no input names
    known = {t.name for t in graph.initializer}
    early: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        if all(name in known for name in node.input if name):
            early.update(dict.fromkeys(node.output, node))
            known.update(node.output)
    ordered: list[onnx.NodeProto] = []
    placed: set[str] = set()

    def place(node: onnx.NodeProto) -> None:
        if node.output[0] in placed:
            return
        placed.add(node.output[0])
        for name in node.input:
            if name in early:
                place(early[name])
        ordered.append(node)

    for node in graph.node:
        if node.output[0] not in early:
            place(node)
    for node in early.values():  # an output of the graph that is made of constants has no reader
        place(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del graph.node[:]
    graph.node.extend(copies)


def _notes(head: QuantisedHead) -> dict[str, Any]:
    return {
        "takes": [s.name for s in head.model.inputs],
        "gives": [s.name for s in head.model.outputs],
        "levels": dict(head.levels),
        "steps": {name: (s.scale, s.zero_point, s.bits) for name, s in head.steps.items()},
        "plain": list(head.plain),
    }

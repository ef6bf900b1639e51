"""One model on this machine, whole and in halves, with every fusion-safe cut ready."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

from isthmus.engine.core import Core
from isthmus.engine.halves import Halves, Maker, run_part
from isthmus.engine.middles import Middles
from isthmus.engine.prepare import Prepared, prepare
from isthmus.engine.sessions import RUNTIME, Part
from isthmus.engine.slow import SlowDown, wait_s, work_clock
from isthmus.engine.store import default_folder
from isthmus.errors import BadInput
from isthmus.graph.cuts import cut_at
from isthmus.graph.from_onnx import graph_of
from isthmus.graph.types import INPUT, OUTPUT, Cut, Graph
from isthmus.model.types import Array, Model, Progress
from isthmus.units import thread_count

Finish = Literal["on", "anew", "never"]
"""How a machine ends a request that the server did not answer: it goes on from what was to cross, begins with the input
anew, or cannot."""
_KEPT_ON_DEMAND = 4
"""Pairs of halves built on demand that stay in memory: each holds the weights once more, or maps them where there is no
room for that."""
_KEPT_PREPACKED = 2
"""The same for pairs from a core whose kernels need repacked weights (quantised networks)."""


class Engine:
    """Runs one model on this machine: whole, up to a cut, from a cut on.

    Made by `Engine.open`. All methods may be called from several threads. Weights stand in memory once, as pages of a
    file, however many cuts are ready.
    """

    def __init__(self, prepared: Prepared, *, threads: int, slow: SlowDown, ready: Sequence[str]) -> None:
        self.threads = threads
        self._prepared = prepared
        self._slow = slow
        self._shapes = prepared.shapes
        self._maker = Maker(prepared, threads)
        self._ready = {c.id: c for c in prepared.cuts}
        self._pairs: dict[str, Halves] = {}
        self._rare: OrderedDict[str, Halves] = OrderedDict()
        self._middles = Middles(prepared, self._maker)
        self._exits: dict[tuple[str, ...], Engine] = {}
        self._lock = threading.RLock()
        self._whole = self._maker.whole()
        self._make_ready(ready)

    @classmethod
    def open(
        cls,
        model: Model,
        *,
        threads: int = 1,
        slowdown: float = 1.0,
        cuts: Literal["safe", "none"] | Collection[str] = "safe",
        cache_dir: Path | None = None,
        progress: Progress | None = None,
        level: Literal["all", "extended"] = "all",
        wait: Callable[[float], None] = wait_s,
    ) -> Engine:
        """Make a model ready on this machine.

        The first time it is optimised for this CPU and kept in `cache_dir` (default `$ISTHMUS_CACHE` or
        `~/.cache/isthmus`); later that is found there. Pairs of halves are made at once for all fusion-safe cuts (of
        very large networks for as many as 50,000 kernels make), for those with the ids in `cuts`, or for none; others
        when they are first used. `slowdown` ≥ 1 declares a slower
        machine: every run takes that many times as long, waiting by `wait(seconds)`. `level="extended"` does without
        the CPU's blocked memory layout. The model need not be held by the caller afterwards. Raises BadModel (no
        weights, or onnxruntime cannot take it) and BadInput.
        """
        threads = thread_count(threads)
        if not (cuts in ("safe", "none") if isinstance(cuts, str) else _names(cuts)):
            raise BadInput(f"the cuts to make ready are 'safe', 'none' or a list of their ids, not {cuts!r}")
        slow = SlowDown(slowdown, wait, work_clock(threads))
        root = Path(cache_dir) if cache_dir is not None else default_folder()
        prepared = prepare(model, graph_of(model, 1), root, level=level, progress=progress)
        known = {"safe": [c.id for c in prepared.cuts], "none": []}
        return cls(prepared, threads=threads, slow=slow, ready=known[cuts] if isinstance(cuts, str) else list(cuts))

    @property
    def model(self) -> Model:
        """The model, without its large weights (they stand in the cache); same signature, same fingerprint."""
        return self._prepared.model

    @property
    def graph(self) -> Graph:
        """The model's graph at batch 1 (or the batch it fixes)."""
        return self._prepared.graph

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """The cuts that are ready, in running order: INPUT, the fusion-safe ones, OUTPUT. Others work, more slowly."""
        return self._prepared.cuts

    @property
    def safe(self) -> frozenset[str]:
        """Ids of the fusion-safe cuts (INPUT and OUTPUT are not among them)."""
        return frozenset(self._ready) - {INPUT, OUTPUT}

    @property
    def runtime(self) -> str:
        """What computes: `onnxruntime 1.x.y`."""
        return RUNTIME

    @property
    def finishes(self) -> Finish:
        """How a request that the server did not answer ends here: with the whole network at hand, from the cut on."""
        return "on"

    @property
    def slowdown(self) -> float:
        """The declared factor, 1 for the machine as it is."""
        return self._slow.factor

    def whole(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs for these inputs. Raises BadInput for wrong names, element types or shapes."""
        self.check_inputs(inputs)
        return self._slow.run(lambda: self._whole.run(inputs))

    def head(self, cut_id: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The crossing tensors of a cut and the outputs that are already made before it (early exits).

        At INPUT these are the inputs themselves, at OUTPUT all outputs. Raises BadInput for an unknown cut, one that
        does not cut the network in two, and for wrong inputs.
        """
        self.check_inputs(inputs)
        if cut_id == INPUT:
            return dict(inputs)
        if cut_id == OUTPUT:
            return self._slow.run(lambda: self._whole.run(inputs))
        halves = self.halves(cut_id)
        made = self._slow.run(lambda: run_part(halves.head, dict(inputs)))
        return {t: made[t] if t in made else inputs[t] for t in halves.ends.head_gives}

    def tail(self, cut_id: str, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs that the head of this cut has not made, from its crossing tensors.

        `tensors` are the crossing tensors; outputs that the head gave may stand among them and are left alone. At
        INPUT this is the whole network, at OUTPUT nothing is left. Raises BadInput as `head` does.
        """
        if cut_id == OUTPUT:
            return {}
        if cut_id == INPUT:
            return self.whole(tensors)
        halves = self.halves(cut_id)
        early = set(halves.ends.early) - set(halves.ends.crossing)
        crossing = {t: a for t, a in tensors.items() if t not in early}
        self._shapes.check(f"the tail of {self.model.name} at {cut_id}", halves.ends.crossing, crossing)
        return self._slow.run(lambda: run_part(halves.tail, crossing))

    def at_exit(self, output: str) -> Engine:
        """This engine for the part of the network that one output (an early exit) needs: same weights in memory, its
        own cuts, their pairs made when they are first used. Right-sizing: nothing else of the network is run. Raises
        BadInput for an output that is none."""
        return self.at_exits((output,))

    def at_exits(self, outputs: Sequence[str]) -> Engine:
        """This engine for the part of the network that some outputs need; otherwise as `at_exit`."""
        wanted = tuple(name for name in self.graph.outputs if name in outputs)
        with self._lock:
            if self.graph.outputs == wanted == tuple(outputs):
                return self
            if wanted not in self._exits or len(wanted) != len(outputs):
                prepared = self._prepared.at_exits(outputs)
                self._exits[wanted] = Engine(prepared, threads=self.threads, slow=self._slow, ready=())
            return self._exits[wanted]

    def middle(self, start: Cut, end: Cut, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """What lies between two cuts, from the crossing tensors of the first: the crossing tensors of the second that
        did not cross before, and the outputs made on the way. Made when first used, from the shared weights wherever
        that is possible. Raises BadInput for wrong tensors and for cuts that do not follow one another."""
        with self._lock:
            part = self._middles.between(start, end)
        self._shapes.check(f"{self.model.name} from {start.id} on", start.crossing, tensors)
        return self._slow.run(lambda: part.run(tensors))

    def check_inputs(self, inputs: Mapping[str, Array]) -> None:
        """Raise BadInput unless these are the model's inputs: names, element types, shapes, one batch."""
        self._shapes.check(self.model.name, self.graph.inputs, inputs)

    @property
    def core(self) -> Core:
        """The optimised network that runs, for looking at."""
        return self._prepared.core

    def profiled(self, prefix: Path) -> Part:
        """The whole network as a part that times every kernel into a file beginning with `prefix`."""
        return self._maker.profiled(prefix)

    def halves(self, cut_id: str) -> Halves:
        """Both halves of a cut, made now if they are not there yet. Raises BadInput."""
        found = self._pairs.get(cut_id)
        if found is not None:
            return found
        with self._lock:
            if cut_id in self._pairs:  # another thread was quicker
                return self._pairs[cut_id]
            if cut_id in self._ready and self._prepared.core.packing != "own" and self._maker.room():
                self._rare.pop(cut_id, None)
                return self._pairs.setdefault(cut_id, self._maker.ready(self._ready[cut_id]))
            return self._rarely(cut_id)

    def _rarely(self, cut_id: str) -> Halves:
        """A pair that cannot be kept for good: the last few stay."""
        if cut_id in self._rare:
            self._rare.move_to_end(cut_id)
            return self._rare[cut_id]
        ready = self._ready.get(cut_id)
        made = self._maker.ready(ready) if ready is not None else self._maker.on_demand(cut_at(self.graph, cut_id))
        self._rare[cut_id] = made
        own = ready is not None and self._prepared.core.packing == "own"
        while len(self._rare) > (_KEPT_PREPACKED if own else _KEPT_ON_DEMAND):
            self._rare.popitem(last=False)
        return made

    def _make_ready(self, wanted: Sequence[str]) -> None:
        """Make pairs in advance, as far as that is cheap and they stay."""
        ids = [i for i in wanted if i not in (INPUT, OUTPUT)]
        most = self._maker.in_advance()
        for cut_id in ids[: min(most, _KEPT_PREPACKED) if self._prepared.core.packing == "own" else most]:
            if not self._maker.room():
                break
            self.halves(cut_id)


def _names(cuts: object) -> bool:
    return isinstance(cuts, Collection) and all(isinstance(cut, str) for cut in cuts)

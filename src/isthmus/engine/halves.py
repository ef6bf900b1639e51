"""The two halves of a cut as things that can run: cut out of the optimised core, or out of the model on demand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import helper

from isthmus.engine.budget import KERNELS, MAPPINGS
from isthmus.engine.ends import Ends
from isthmus.engine.prepare import SOURCE_WEIGHTS, Prepared
from isthmus.engine.sessions import Part, finished_session, plain_session
from isthmus.engine.store import check_file
from isthmus.errors import BadInput
from isthmus.graph.types import Cut
from isthmus.model.types import Array

_IN_ADVANCE = 50_000
"""Kernels that an engine makes when it is opened: each pair has all of the network's. Some 2 s and 0.4 GB."""
_REPACKED_BYTES = 1 << 28
"""Where sessions repack their weights, each pair does so with all of them: a second or so for a gigabyte."""


@dataclass(frozen=True)
class Halves:
    """Head and tail of one cut; None where that side has nothing to compute."""

    ends: Ends
    head: Part | None
    tail: Part | None


class Maker:
    """Makes sessions from what was prepared, all with the same number of threads."""

    def __init__(self, prepared: Prepared, threads: int) -> None:
        self._prepared = prepared
        self._threads = threads
        self._source_checked = False
        self._inputs = tuple(prepared.graph.inputs)
        self._kernels = len(prepared.core.proto.graph.node)
        files = [t for t in prepared.core.proto.graph.initializer if t.external_data]
        self._mapped = frozenset(t.name for t in files if t.name not in prepared.lent)
        self._weights_bytes = sum(4 * math.prod(t.dims) for t in files)

    def whole(self) -> Part:
        """The whole network, from the optimised core."""
        outputs = tuple(o.name for o in self._prepared.model.outputs)
        return self.from_core(self._inputs, outputs)

    def ready(self, cut: Cut) -> Halves:
        """Both halves of a fusion-safe cut, sharing the core's weights: a few milliseconds."""
        ends = self._prepared.ends(cut)
        head = tuple(t for t in ends.head_gives if t not in self._inputs)
        return Halves(
            ends,
            self.from_core(self._inputs, head) if head else None,
            self.from_core(ends.crossing, ends.late) if ends.late else None,
        )

    def on_demand(self, cut: Cut) -> Halves:
        """Both halves of any other cut, each optimised by itself with weights of its own: slow to make and large.

        Raises BadInput when the crossing tensors do not bound the tail.
        """
        ends = self._prepared.ends(cut)
        head = tuple(t for t in ends.head_gives if t not in self._inputs)
        return Halves(
            ends,
            self.from_source(self._inputs, head) if head else None,
            self.from_source(ends.crossing, ends.late) if ends.late else None,
        )

    def profiled(self, prefix: Path) -> Part:
        """The whole network, timing itself node by node into a file whose name begins with `prefix`."""
        outputs = tuple(o.name for o in self._prepared.model.outputs)
        return self.from_core(self._inputs, outputs, profile=prefix)

    def in_advance(self) -> int:
        """How many pairs may be made in advance: until memory, or time spent on repacking weights, is used up."""
        most = _IN_ADVANCE // max(1, self._kernels)
        if self._prepared.core.packing == "none":
            return most
        return min(most, _REPACKED_BYTES // max(1, self._weights_bytes))

    def room(self) -> bool:
        """Whether this process can have every kernel of the network once more and keep it."""
        return KERNELS.has(self._kernels) and MAPPINGS.has(len(self._mapped))

    def from_core(self, takes: Sequence[str], gives: Sequence[str], profile: Path | None = None) -> Part:
        """A piece of the optimised core, sharing its weights. Raises BadInput where the core has no such piece."""
        at = self._prepared
        proto = at.core.part([at.info(t) for t in takes], [(t, at.kind(t)) for t in gives])
        weights = [t.name for t in proto.graph.initializer]
        lent = {name: at.lent[name] for name in weights if name in at.lent}
        session = finished_session(
            proto.SerializeToString(),
            at.folder,
            self._threads,
            lent=lent,
            prepack=at.core.packing != "none",
            profile=profile,
        )
        part = Part(tuple(takes), tuple(gives), session, lent)
        KERNELS.hold(part, len(proto.graph.node))
        MAPPINGS.hold(part, len(self._mapped.intersection(weights)))
        return part

    def from_source(self, takes: Sequence[str], gives: Sequence[str]) -> Part:
        """A piece of the model as it was given, optimised by itself. Raises BadInput where `takes` do not suffice."""
        if not self._source_checked:
            check_file(self._prepared.folder, SOURCE_WEIGHTS)
            self._source_checked = True
        import onnx_ir as ir  # with sympy behind it, half a second of every start
        from onnx_ir.convenience import extract

        proto = self._prepared.model.proto
        whole = ir.from_proto(proto)
        try:
            graph = extract(whole.graph, list(takes), list(gives))
        except ValueError as error:
            raise BadInput(f"{', '.join(takes)} alone do not lead to {', '.join(gives)}: {error}") from error
        made = ir.to_proto(ir.Model(graph, ir_version=proto.ir_version))
        for info in made.graph.input:  # the source says nothing about tensors in its middle
            info.CopyFrom(self._prepared.info(info.name))
        for info in made.graph.output:
            info.CopyFrom(helper.make_tensor_value_info(info.name, self._prepared.kind(info.name), None))
        session = plain_session(made.SerializeToString(), self._prepared.folder, self._threads)
        return Part(tuple(takes), tuple(gives), session)


def run_part(part: Part | None, values: dict[str, Array]) -> dict[str, Array]:
    """What a half computes; nothing where there is no such half."""
    return part.run(values) if part is not None else {}

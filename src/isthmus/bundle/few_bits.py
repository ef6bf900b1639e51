"""What the device has instead of the model where its part was given few bits: made, tried out, written.

Runs the engine; imported by its own name, as `isthmus.bundle.pack` is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from isthmus.bundle.types import HEAD_FILE, SHAPES_FILE, WHOLE_FILE, FewBitsRow, PartRow
from isthmus.codec import Array, read_head, write_head
from isthmus.engine import Engine, PackedParts
from isthmus.engine import FewBits as Device
from isthmus.engine.footprint import held_bytes
from isthmus.engine.instructions import has_vnni
from isthmus.errors import BadBundle, BadInput
from isthmus.files import scratch_folder, write_whole
from isthmus.graph import INPUT, OUTPUT, Cut, Graph, cut_at, fused_graph, graph_of
from isthmus.model import Model
from isthmus.model.initializers import is_large
from isthmus.model.types import Progress
from isthmus.plan import Plan
from isthmus.plan.held import held
from isthmus.plan.needs import needs
from isthmus.plan.solution import MemoryOf
from isthmus.profile import Profile
from isthmus.profile.judging import answers_of, kept
from isthmus.profile.measure import time_in_turns
from isthmus.profile.samples import Samples
from isthmus.profile.types import RuntimeMemory
from isthmus.quant import BitPlan, ChannelClip, Distortions, QuantisedHead, Steps, quantised_head

Footprint = Callable[[Path, Path, int], int | None]
_ROUNDS = 15
WORST = 0.1
"""A whole network that stands in for the plan while the server is away gives at most so many other answers than the one
in floating point: on the samples, and where there are none by its expected loss. A worse one is no answer at all."""
_INPUT_BITS = 8


@dataclass(frozen=True)
class FewBits:
    """The device's parts, made and tried out. `cuts`: where requests may be cut; `clips`: of what crosses there."""

    row: FewBitsRow
    heads: Mapping[str, QuantisedHead]
    cuts: tuple[str, ...]
    clips: Mapping[str, ChannelClip]

    def write(self, folder: Path, model: Model) -> None:
        """The parts' files, and the network without its weights."""
        for name, head in self.heads.items():
            write_head(folder / name, head)
        write_whole(folder / SHAPES_FILE, bare(model).SerializeToString(deterministic=True))


@dataclass(frozen=True)
class Wanted:
    """What is to be made: the plan, the tables its widths were chosen by, the widths of the whole network for the
    device (None: it has no room for one), its memory limit, whether the input may leave it, and how long its parts
    take beside floating point (None: timed here)."""

    plan: Plan
    tables: Distortions
    whole: BitPlan | None
    memory_bytes: int | None = None
    input_leaves: bool = True
    narrow: float | None = None
    whole_loss: float | None = None
    """what the whole network is expected to lose, where it stands in for the plan"""
    memory_of: MemoryOf = "accelerator"
    """whose memory the limit is"""
    runtime: RuntimeMemory | None = None
    """what the device's runtime keeps besides; None: what is usual on a machine as this"""
    profile: Profile | None = None
    """the device's; parts are timed as it was taken, after rests or without any (None)"""


def few_bits(
    engine: Engine,
    model: Model,
    wanted: Wanted,
    samples: Samples | None = None,
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
    footprint: Footprint = held_bytes,
    progress: Progress | None = None,
) -> FewBits:
    """Quantised parts for a plan of the fused network `model`, which `engine` runs here: each written, read again, and
    compared with the network on `samples` (seeded noise without any). `footprint(part, shapes, threads)` tells memory.

    Raises BadInput for a plan of another network or with bits for layers it does not have, for tables of another
    network, and BadBundle where a part does not come back from its file as it was.
    """
    plan, graph = wanted.plan, graph_of(model)
    _check(plan, wanted.tables, model, graph)
    cut = cut_at(graph, plan.cuts[0])
    heads: dict[str, tuple[Cut, BitPlan]] = {}
    if plan.bits is not None and cut.id not in (INPUT, OUTPUT):
        heads[HEAD_FILE] = (cut, plan.bits)
    if wanted.whole is not None:
        heads[WHOLE_FILE] = (cut_at(graph, OUTPUT), wanted.whole)
    made = {name: _made(model, at, bits, wanted.tables) for name, (at, bits) in heads.items()}
    given = samples.inputs if samples is not None else model.random_inputs(4 if model.dynamic_batch else 1)
    rows: dict[str, PartRow] = {}
    with scratch_folder() as folder:
        _written(made, model, folder)
        trial = _Trial(engine, model, wanted, folder, given, clock, sleep, footprint)
        for done, (name, (at, bits)) in enumerate(heads.items()):
            row = trial.row(name, at, bits)
            if name == HEAD_FILE or _worth_having(row, wanted, judged=samples is not None):
                rows[name] = row
            if progress is not None:
                progress(done + 1, len(heads), f"the part up to {at.id}")
    head, whole = rows.get(HEAD_FILE), rows.get(WHOLE_FILE)
    limit = wanted.memory_bytes
    together = limit is None or sum(part.need_bytes(wanted.memory_of) for part in rows.values()) <= limit
    written, clips = _crossing(plan, graph, cut, made.get(HEAD_FILE), wanted.tables)
    made = {name: made[name] for name in rows}
    told = FewBitsRow(
        head=head, whole=whole, memory_bytes=limit, memory_of=wanted.memory_of, together=together, written=written
    )
    ends = ((INPUT,) if wanted.input_leaves else (), (cut.id,) if head else (), (OUTPUT,) if whole else ())
    return FewBits(told, made, tuple(name for end in ends for name in end), clips)


def _worth_having(whole: PartRow, wanted: Wanted, *, judged: bool) -> bool:
    if wanted.plan.cuts[0] == OUTPUT:
        return True  # it is the plan
    return whole.agrees >= 1 - WORST if judged else (wanted.whole_loss or 0.0) <= WORST


def _check(plan: Plan, tables: Distortions, model: Model, graph: Graph) -> None:
    if plan.fingerprint and plan.fingerprint != model.fingerprint:
        raise BadInput(f"the plan is for {plan.model}, another network than {model.name}; make it anew")
    if tables.fingerprint != model.fingerprint:
        raise BadInput(f"the distortions of {tables.model} are of another network than {model.name}; measure them anew")
    layers = {node.name for node in (*graph.nodes, *fused_graph(graph).nodes)}
    bits = plan.bits or BitPlan()
    for what, names, known in (("layer", bits.weights, layers), ("tensor", bits.outputs, graph.tensors)):
        if unknown := [name for name in names if name not in known]:
            raise BadInput(
                f"the plan gives bits to the {what} '{unknown[0][:80]}', which {model.name} does not have; plan anew"
            )


def _made(model: Model, cut: Cut, bits: BitPlan, tables: Distortions) -> QuantisedHead:
    outputs = tuple(s.name for s in model.outputs)
    if cut.id == OUTPUT:
        return quantised_head(model, (), bits, tables, early=outputs)
    graph = graph_of(model)
    early = [name for name in outputs if graph.producer.get(name, -1) in cut.head]
    return quantised_head(model, cut.crossing, bits, tables, early=early)


def _written(made: Mapping[str, QuantisedHead], model: Model, folder: Path) -> None:
    write_whole(folder / SHAPES_FILE, bare(model).SerializeToString())
    for name, head in made.items():
        write_head(folder / name, head)
        again = read_head(folder / name).model.proto.graph
        if [t.SerializeToString() for t in again.initializer] != [
            t.SerializeToString() for t in head.model.proto.graph.initializer
        ]:
            raise BadBundle(f"{name} does not come back from its file as it was written; this should not happen")


@dataclass(frozen=True)
class _Trial:
    """Parts in a folder, tried out on `inputs`."""

    engine: Engine
    model: Model
    wanted: Wanted
    folder: Path
    inputs: Mapping[str, Array]
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    footprint: Footprint

    @property
    def runtime(self) -> RuntimeMemory:
        return self.wanted.runtime or RuntimeMemory(signed=has_vnni())

    def row(self, name: str, cut: Cut, bits: BitPlan) -> PartRow:
        device = Device(
            self.model, PackedParts({cut.id: self.folder / name}), threads=self.engine.threads, behind=self.engine
        )
        error, agrees = self._compared(device, cut)
        count = needs(self.engine.graph, self.wanted.tables, cut, bits)
        return PartRow(
            file=name,
            cut=cut.id,
            bits=bits,
            weight_bytes=count.weight_bytes,
            activation_bytes=count.activation_bytes,
            container_bytes=count.container_bytes,
            planned_file_bytes=count.file_bytes,
            planned_held_bytes=held(self.engine.graph, cut, bits, self.runtime).total_bytes,
            held_bytes=self.footprint(self.folder / name, self.folder / SHAPES_FILE, self.engine.threads),
            ratio=self.wanted.narrow or self._ratio(device, cut),
            error=error,
            agrees=agrees,
            samples=len(next(iter(self.inputs.values()))),
        )

    def _compared(self, device: Device, cut: Cut) -> tuple[float, float]:
        """(the answers' relative distance from the whole network's, the share that keep their greatest output, or
        where there is one number only stay near it)."""
        lost: dict[str, float] = {}
        power: dict[str, float] = {}
        last, answers = self.engine.graph.outputs[-1], []
        for part in _batches(self.inputs, 16 if self.model.dynamic_batch else 1):
            whole = self.engine.whole(part)
            made = device.head(cut.id, part)
            answer = {**made, **device.tail(cut.id, {t: made[t] for t in cut.crossing})} if cut.id != OUTPUT else made
            for key, wanted in whole.items():
                x, y = np.asarray(wanted, np.float64), np.asarray(answer[key], np.float64)
                lost[key] = lost.get(key, 0.0) + float(np.square(x - y).sum())
                power[key] = power.get(key, 0.0) + float(np.square(x).sum())
            rows = len(next(iter(part.values())))
            answers.append([answers_of(np.asarray(v[last]).reshape(rows, -1), rows) for v in (whole, answer)])
        worst = np.max([lost[key] / power[key] if power[key] else float(lost[key] > 0) for key in lost])
        if not np.isfinite(worst):
            raise BadBundle(f"the part up to {cut.id} makes answers that are no numbers; plan with more bits")
        expected, found = (np.concatenate(each) for each in zip(*answers, strict=True))
        return float(np.sqrt(worst)), float(kept(found, expected, expected).mean())

    def _ratio(self, device: Device, cut: Cut) -> float:
        """How long the part takes beside the same in floating point, in turns and as the profile was taken: of parts
        that follow upon each other the fastest runs count, of those that come after a rest, as in use, the usual."""
        inputs = self.model.random_inputs(1)
        calls = (partial(device.head, cut.id, inputs), partial(self.engine.head, cut.id, inputs))
        profile = self.wanted.profile
        rest_s = 0.0 if profile is None else profile.rest_s
        timings = time_in_turns(calls, _ROUNDS, self.clock, partial(self.sleep, rest_s) if rest_s else None)
        few_s, float_s = (t.low_s if profile is None else profile.typical_s(t) for t in timings)
        return max(few_s, 1e-9) / max(float_s, 1e-9)


def _crossing(
    plan: Plan, graph: Graph, cut: Cut, head: QuantisedHead | None, tables: Distortions
) -> tuple[dict[str, dict[str, str]], dict[str, ChannelClip]]:
    """(for the plan's codec, the codec of each crossing tensor that another one writes; what both sides must know of
    ranges). A tensor that has levels crosses as these very levels, one without in floating point, an input by the
    plan's codec."""
    clips = {name: step.clip for name, step in head.steps.items()} if head is not None else {}
    for name in graph.inputs:
        row = tables.tensor(name)
        if row.limits and _INPUT_BITS in tables.bits:
            clips[name] = Steps.between(*row.limits[tables.bits.index(_INPUT_BITS)], _INPUT_BITS).clip
    if head is None:
        return {}, clips
    coded = plan.codec.partition("+")[2]
    written = {}
    for name in (t for t in cut.crossing if t not in graph.inputs):
        codec = f"int{head.steps[name].bits}" if name in head.steps else "float16"
        written[name] = f"{codec}+{coded}" if coded and name in head.steps else codec
    other = {name: codec for name, codec in written.items() if codec != plan.codec}
    return {plan.codec: other} if other else {}, clips


def _batches(inputs: Mapping[str, Array], size: int) -> Sequence[dict[str, Array]]:
    count = len(next(iter(inputs.values())))
    return [{k: v[at : at + size] for k, v in inputs.items()} for at in range(0, count, size)]


def bare(model: Model) -> onnx.ModelProto:
    """The network without its large weights: their names, types and shapes only."""
    bare = onnx.ModelProto()
    graph = model.proto.graph
    bare.ir_version = model.proto.ir_version
    bare.opset_import.extend(model.proto.opset_import)
    bare.graph.name = graph.name
    bare.graph.node.extend(graph.node)
    bare.graph.input.extend(graph.input)
    bare.graph.output.extend(graph.output)
    for tensor in graph.initializer:
        if is_large(tensor):
            bare.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        else:
            bare.graph.initializer.append(tensor)
    return bare

"""What every layer of a network makes, without ever holding all of it.

The network is cut into pieces, each of which gives the tensors that are wanted from it and those that later pieces
need. Asking the whole network for all its tensors at once would hold them all (ResNet-50: 44 MB an input), and asking
for them one by one would run it as often.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from onnx import helper

from isthmus.engine.core import Core
from isthmus.engine.prepare import element_type
from isthmus.engine.sessions import Part, finished_session
from isthmus.engine.weights import externalise
from isthmus.errors import BadInput
from isthmus.files import scratch_folder
from isthmus.graph.from_onnx import graph_of
from isthmus.graph.types import Graph
from isthmus.model.types import Array, Model

_LEAST_BYTES, _MOST_BYTES = 1 << 22, 1 << 26
"""A piece gives about an eighth of the bytes that the model takes, within these bounds."""
_MOST_BATCH = 64


@dataclass(frozen=True)
class Taps:
    """A network in pieces. `batch` is the largest batch at which a piece still keeps to its share of memory."""

    inputs: tuple[str, ...]
    wanted: frozenset[str]
    parts: tuple[Part, ...]
    batch: int

    def run(self, inputs: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
        """(name, value) of every tensor that is wanted, in running order, for one batch of inputs.

        A value is let go when the next piece has run and nothing needs it any more. Raises BadInput where onnxruntime
        refuses the inputs.
        """
        held = {name: inputs[name] for name in self.inputs}
        yield from ((name, value) for name, value in held.items() if name in self.wanted)
        for place, part in enumerate(self.parts):
            made = part.run(held)
            yield from ((name, value) for name, value in made.items() if name in self.wanted)
            later = {name for rest in self.parts[place + 1 :] for name in rest.takes}
            held = {name: value for name, value in (held | made).items() if name in later}
            del made


@contextmanager
def tapped(model: Model, tensors: Sequence[str], *, threads: int = 1) -> Iterator[Taps]:
    """The network in pieces that give `tensors` (inputs may be among them); its weights stand in a file meanwhile.

    Raises BadInput for an unknown tensor and BadModel where the model has no weights or onnxruntime cannot take it.
    """
    model.need_weights()
    graph = graph_of(model, 1)
    if unknown := sorted(set(tensors) - graph.tensors.keys()):
        raise BadInput(f"{model.name} has no tensor {unknown[0]!r}")
    stored = sum(len(t.raw_data) for t in model.proto.graph.initializer)
    share = min(max(stored // 8, _LEAST_BYTES), _MOST_BYTES)
    pieces = _pieces(graph, frozenset(tensors), share)
    heaviest = max((sum(graph.tensors[t].bytes for t in gives) for _, gives in pieces), default=1)
    with scratch_folder() as folder:
        core = Core(externalise(model.proto, folder / "weights.bin"))
        parts = tuple(_part(core, graph, takes, gives, folder, threads) for takes, gives in pieces)
        batch = min(_MOST_BATCH, max(1, share // max(1, heaviest))) if model.dynamic_batch else 1
        yield Taps(graph.inputs, frozenset(tensors), parts, batch)


def _pieces(graph: Graph, wanted: frozenset[str], share: int) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(takes, gives) of every piece: runs of neighbouring nodes whose wanted tensors take about `share` bytes."""
    runs: list[list[int]] = []
    left = 0
    for i, node in enumerate(graph.nodes):
        size = sum(graph.tensors[t].bytes for t in node.outputs if t in wanted)
        if not runs or size > left:
            runs.append([])
            left = share
        runs[-1].append(i)
        left -= size
    found = []
    for run in runs:
        made = {t: None for i in run for t in graph.nodes[i].outputs}
        takes = dict.fromkeys(t for i in run for t in graph.nodes[i].inputs if t not in made)
        gives = [t for t in made if t in wanted or any(reader > run[-1] for reader in graph.consumers[t])]
        if gives:
            found.append((tuple(takes), tuple(gives)))
    return found


def _part(
    core: Core,
    graph: Graph,
    takes: tuple[str, ...],
    gives: tuple[str, ...],
    folder: Path,
    threads: int,
) -> Part:
    kinds = {name: element_type(graph, name) for name in (*takes, *gives)}
    known = {info.name: info for info in core.proto.graph.input}
    taken = [known.get(t) or helper.make_tensor_value_info(t, kinds[t], None) for t in takes]
    proto = core.part(taken, [(t, kinds[t]) for t in gives])
    return Part(takes, gives, finished_session(proto.SerializeToString(), folder, threads))

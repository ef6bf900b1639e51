"""The one cost function: seconds, by cause, of running a graph across machines at given cuts.

Between machines j and j+1, with head S (the nodes on machines 0..j) and home h:

- a tensor made in S, or an input if h ≤ j, that a node outside S reads goes forward, once however many read it;
- if h > j, an input that a node in S reads goes backward;
- answers are wanted at home: an output made in S with h > j goes forward, one made outside S with h ≤ j backward.

Away from home is `up`, towards home `down`. A tensor that travels for two reasons in one direction travels once. Where
nothing travels no half round trip is paid; `Link.fixed_s` is paid once by every link that carries anything. float32
tensors are written with the codec; answers go home raw, and so does every other dtype. Each hop encodes at its sender
and decodes at its receiver.

`price` and `CostTable` share `hop_s` and `parts`: there is no second formula.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.codec import RAW, make_codec
from isthmus.errors import BadInput
from isthmus.graph import INPUT, OUTPUT, Cut, Graph, Tensor, cut_at, cut_of
from isthmus.link.types import Link, Side
from isthmus.plan.types import Cost, CostRow, Problem
from isthmus.quant import ChannelClip

_ANY_CLIP = ChannelClip(mean=(0.0,), std=(1.0,), low=(-1.0,), high=(1.0,))
"""How many bytes are written does not hang on which limits both ends know."""

Option = tuple[tuple[Cut, ...], str]
"""One choice before it is priced: nested cuts, one a link, and the name of a codec."""


class Parcel(NamedTuple):
    """One tensor on one hop. `coded`: written with the plan's codec, else raw."""

    tensor: Tensor
    coded: bool

    def bytes(self, codec: str, *, levels: bool = False) -> int:
        """Bytes on the wire; `levels`: of a quantiser that the receiver knows, so that no range is sent."""
        count = self.written(codec, levels=levels)
        if count is None:
            raise BadInput(f"{codec} cannot write {self.tensor.name}, a tensor of shape {self.tensor.shape}")
        return count

    def written(self, codec: str, *, levels: bool = False) -> int | None:
        """The same, None where the codec cannot write the tensor."""
        if not self.coded:
            return self.tensor.bytes if self.tensor.can_cross else None
        return written_bytes(codec, self.tensor.shape, self.tensor.itemsize, levels=levels)


@dataclass(frozen=True)
class Traffic:
    """What one link carries, away from home (`up`) and towards it (`down`)."""

    up: tuple[Parcel, ...]
    down: tuple[Parcel, ...]


@dataclass(frozen=True)
class Parts:
    """A choice before rates are known: seconds of work and of coding by machine, bytes by link and direction."""

    compute_s: tuple[float, ...]
    codec_s: tuple[float, ...]
    up_bytes: tuple[int, ...]
    down_bytes: tuple[int, ...]


def price(problem: Problem, cuts: Sequence[Cut], codec: str = RAW) -> Cost:
    """What one request costs with these nested cuts (one a link, in running order) and this codec.

    Raises BadInput when the cuts are not one a link, closed and nested, or the codec is unknown.
    """
    check(problem, cuts)
    return priced(problem, cuts, codec)


def priced(problem: Problem, cuts: Sequence[Cut], codec: str) -> Cost:
    """`price` without `check`, for cuts that isthmus made itself."""
    found = parts(problem, cuts, codec)
    hops = [
        hop_s(link, up, down, int(up > 0), int(down > 0))
        for link, up, down in zip(problem.links, found.up_bytes, found.down_bytes, strict=True)
    ]
    return Cost(
        compute_s=found.compute_s,
        up_s=tuple(h[0] for h in hops),
        down_s=tuple(h[1] for h in hops),
        codec_s=sum(found.codec_s),
        fixed_s=sum(h[2] for h in hops),
        up_bytes=found.up_bytes,
        down_bytes=found.down_bytes,
        stage_s=_stage_s(problem, found),
    )


def _stage_s(problem: Problem, found: Parts) -> float:
    stages = [compute_s + codec_s for compute_s, codec_s in zip(found.compute_s, found.codec_s, strict=True)]
    for link, up, down in zip(problem.links, found.up_bytes, found.down_bytes, strict=True):
        stages += [link.busy.up_s(up), link.busy.down_s(down)]
    return max(stages)


def hop_s(link: Link, up_bytes: Any, down_bytes: Any, sends_up: Any, sends_down: Any) -> tuple[Any, Any, Any]:
    """Seconds up, down and fixed on one link, for one choice or for arrays of them. `sends_*`: 1 where bytes travel
    that way, else 0; handed in because a table knows them beforehand."""
    either = sends_up + sends_down - sends_up * sends_down
    return sends_up * link.up_s(up_bytes), sends_down * link.down_s(down_bytes), either * link.fixed_s


def parts(problem: Problem, cuts: Sequence[Cut], codec: str) -> Parts:
    """Work, coding and bytes of a choice that `check` has passed; no rate enters."""
    graph, machines = problem.graph, problem.machines
    edges = [cut_at(graph, INPUT), *cuts, cut_at(graph, OUTPUT)]
    compute = tuple(m.part_s(edges[k], edges[k + 1]) for k, m in enumerate(machines))
    coding = [0.0] * len(machines)
    up_bytes, down_bytes = [], []
    levels = problem.known_ranges
    for j, cut in enumerate(cuts):
        carried = traffic(graph, cut, forward_is_up=problem.home <= j)
        for up, load in ((True, carried.up), (False, carried.down)):
            for parcel in load:
                for machine, seconds in coding_s(problem, j, parcel, codec, up=up):
                    coding[machine] += seconds
        measured = _measured_bytes(problem, cut, codec) if carried.up and problem.home <= j else None
        made = sum(p.bytes(codec, levels=p.tensor.name in levels) for p in carried.up) if measured is None else measured
        up_bytes.append(made)
        down_bytes.append(sum(p.bytes(codec, levels=p.tensor.name in levels) for p in carried.down))
    return Parts(compute, tuple(coding), tuple(up_bytes), tuple(down_bytes))


def _measured_bytes(problem: Problem, cut: Cut, codec: str) -> int | None:
    """What crosses at a cut with this codec as it was measured on samples (codes as long as the data asks for), for a
    whole batch; None where nobody measured."""
    found = problem.sample_bytes.get((cut.id, codec))
    if found is None and cut.id == INPUT and problem.distortions is not None:
        upload = problem.distortions.uploads.get(codec)
        found = None if upload is None else upload.sample_bytes
    return None if found is None else math.ceil(found * problem.graph.batch)


def coding_s(problem: Problem, j: int, parcel: Parcel, codec: str, *, up: bool) -> tuple[tuple[int, float], ...]:
    """(machine, seconds) of writing and of reading one parcel on link j."""
    return codec_s(problem, j, codec if parcel.coded else RAW, parcel.tensor.elements, up=up)


def codec_s(problem: Problem, j: int, codec: str, elements: Any, *, up: bool) -> tuple[tuple[int, Any], ...]:
    """(machine, seconds) of writing and of reading so many elements on link j, for one tensor or an array of them."""
    far, near = (j + 1, j) if problem.home <= j else (j, j + 1)
    sender, receiver = (near, far) if up else (far, near)
    return (
        (sender, problem.machines[sender].codec_s(codec, elements, encode=True)),
        (receiver, problem.machines[receiver].codec_s(codec, elements, encode=False)),
    )


def traffic(graph: Graph, cut: Cut, *, forward_is_up: bool) -> Traffic:
    """The tensors a link carries when it is cut here. `forward_is_up`: home lies before the link (h ≤ j)."""
    crossing = [t for t in cut.crossing if graph.consumers[t]]
    made_here = [t for t in graph.outputs if graph.producer.get(t, -1) in cut.head]
    if forward_is_up:
        made_there = [t for t in graph.outputs if t in graph.producer and graph.producer[t] not in cut.head]
        return Traffic(_parcels(graph, crossing), _parcels(graph, made_there, answers=made_there))
    wanted = [t for t in graph.inputs if any(c in cut.head for c in graph.consumers[t])]
    forward = [t for t in crossing if t in graph.producer]
    return Traffic(_parcels(graph, wanted), _parcels(graph, [*made_here, *forward], answers=made_here))


def _parcels(graph: Graph, names: Iterable[str], answers: Sequence[str] = ()) -> tuple[Parcel, ...]:
    tensors = [graph.tensors[t] for t in dict.fromkeys(names)]
    return tuple(parcel_of(t, answer=t.name in answers) for t in tensors if t.bytes)


def parcel_of(tensor: Tensor, *, answer: bool = False) -> Parcel:
    """How a tensor travels: coded when it is float32 and nobody at home waits for exactly this."""
    return Parcel(tensor, coded=tensor.dtype == "float32" and not answer)


def check(problem: Problem, cuts: Sequence[Cut]) -> None:
    """Raise BadInput unless there is one cut a link, each closed under predecessors and true to its crossing tensors,
    each head inside the next."""
    if len(cuts) != len(problem.links):
        raise BadInput(f"{len(problem.links)} links need {len(problem.links)} cuts, not {len(cuts)}")
    for cut in cuts:
        known = cut_of(problem.graph, cut.head).crossing
        if set(known) != set(cut.crossing):
            raise BadInput(f"cut {cut.id} says that {cut.crossing} cross, but its head sends {known}")
    for j in range(len(cuts) - 1):
        behind = cuts[j].head - cuts[j + 1].head
        if behind:
            name = problem.graph.nodes[min(behind)].name
            raise BadInput(f"cuts must be nested: {name} runs before link {j} but after link {j + 1}")


def allowed_codecs(problem: Problem, cuts: Sequence[Cut]) -> tuple[str, ...]:
    """Codecs that keep the accuracy on every link these cuts use and can write what crosses there, in the problem's
    order; (`RAW`,) when no link is used, none where something would cross that no link carries.

    A hop is judged by its cut id; where home lies behind the link the raw input travels too, judged as INPUT is, and
    the cut only where something of it is written (answers come home raw).
    """
    asked: list[str] = []
    sent: list[Parcel] = []
    for j, cut in enumerate(cuts):
        carried = traffic(problem.graph, cut, forward_is_up=problem.home <= j)
        if carried.up or carried.down:
            back = problem.home > j
            asked += [INPUT] if back else []
            asked += [cut.id] if not back or any(p.coded for p in carried.down) else []
            sent += [*carried.up, *carried.down]
    if not asked:
        return (RAW,)
    first, *rest = [problem.codecs_at(c) for c in dict.fromkeys(asked)]
    return tuple(c for c in first if all(c in other for other in rest) and None not in [p.written(c) for p in sent])


def can_write(codec: str, tensor: Tensor) -> bool:
    """Is this a tensor the codec takes? Pictures want a picture's shape."""
    return written_bytes(codec, tensor.shape, tensor.itemsize) is not None


@lru_cache(maxsize=65_536)
def written_bytes(codec: str, shape: tuple[int, ...], itemsize: int, *, levels: bool = False) -> int | None:
    """Bytes of a tensor of this shape as this codec writes it; None where it cannot. Without a calibrated clip, unless
    they are `levels` of a quantiser that both ends know: no range stands before those. Raises BadInput for an unknown
    codec."""
    made = make_codec(codec, _ANY_CLIP if levels else None)
    try:
        return made.payload_bytes(shape, itemsize)
    except BadInput:
        return None


def asked_cut(cut: str, first: Side) -> str:
    """How a request names a cut: there OUTPUT is all on the device and INPUT all on the server, whoever runs first.

    >>> asked_cut("@output", "server"), asked_cut("@output", "device"), asked_cut("relu_3", "server")
    ('@input', '@output', 'relu_3')
    """
    return cut if first == "device" else {INPUT: OUTPUT, OUTPUT: INPUT}.get(cut, cut)


def row(cost: Cost) -> CostRow:
    """A cost as it stands in files and tables."""
    return CostRow(
        compute_s=cost.compute_s,
        up_s=cost.up_s,
        down_s=cost.down_s,
        codec_s=cost.codec_s,
        fixed_s=cost.fixed_s,
        up_bytes=cost.up_bytes,
        down_bytes=cost.down_bytes,
        total_s=cost.total_s,
    )


_ARRAYS = ("device_s", "server_s", "up_bytes", "down_bytes")
"""What a `CostTable` holds a number a choice of."""


@dataclass(frozen=True)
class CostTable:
    """Many choices of a problem with two machines, laid out so that all are re-priced in one expression.

    `cuts[i]` and `codecs[i]` name choice i; the arrays hold its `Parts`, one number a choice. The device is the machine
    at home, whichever of the two runs first (`first`).
    """

    cuts: tuple[str, ...]
    codecs: tuple[str, ...]
    device_s: NDArray[np.float64]
    server_s: NDArray[np.float64]
    up_bytes: NDArray[np.float64]
    down_bytes: NDArray[np.float64]
    link: Link
    first: Side = "device"

    @classmethod
    def of(cls, problem: Problem, candidates: Sequence[Option]) -> CostTable:
        """Lay out candidates (`candidates_for(problem)`). Raises BadInput unless there are two machines."""
        if len(problem.machines) != 2:
            raise BadInput(f"a cost table is for a device and a server, not for {len(problem.machines)} machines")
        home, away = problem.home, 1 - problem.home
        if not candidates:
            raise BadInput("a cost table needs at least one candidate")
        found = [parts(problem, cuts, codec) for cuts, codec in candidates]
        return cls(
            cuts=tuple(cuts[0].id for cuts, _ in candidates),
            codecs=tuple(codec for _, codec in candidates),
            device_s=np.array([p.compute_s[home] + p.codec_s[home] for p in found]),
            server_s=np.array([p.compute_s[away] + p.codec_s[away] for p in found]),
            up_bytes=np.array([p.up_bytes[0] for p in found], dtype=np.float64),
            down_bytes=np.array([p.down_bytes[0] for p in found], dtype=np.float64),
            link=problem.links[0],
            first="server" if home else "device",
        )

    @classmethod
    def joined(cls, tables: Sequence[CostTable]) -> CostTable:
        """Tables of one problem's link and order, at least one, as a single one: the device's times may differ."""
        first = tables[0]
        return cls(
            cuts=tuple(cut for t in tables for cut in t.cuts),
            codecs=tuple(codec for t in tables for codec in t.codecs),
            link=first.link,
            first=first.first,
            **{name: np.concatenate([getattr(t, name) for t in tables]) for name in _ARRAYS},
        )

    def only(self, kept: NDArray[np.bool_]) -> CostTable:
        """The choices marked here, in their order."""
        cuts, codecs = (tuple(compress(names, kept)) for names in (self.cuts, self.codecs))
        return replace(self, cuts=cuts, codecs=codecs, **{name: getattr(self, name)[kept] for name in _ARRAYS})

    def scaled(self, factor: float) -> CostTable:
        """The same choices, of so many times the work and the bytes."""
        return replace(self, **{name: factor * getattr(self, name) for name in _ARRAYS})

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """`cuts`, as a request names them."""
        return tuple(asked_cut(cut, self.first) for cut in self.cuts)

    def latency_s(
        self, up_bps: float, down_bps: float, rtt_s: float, load: float = 1.0, device_load: float = 1.0
    ) -> NDArray[np.float64]:
        """Seconds of every choice at these rates (bit/s) and round trip (s), the server's work × `load` and the
        device's × `device_load`; shape (len(cuts),). Equals `price` of the problem changed that way."""
        link = Link(up_bps, down_bps, rtt_s, self.link.fixed_s)
        up_s, down_s, fixed_s = hop_s(link, self.up_bytes, self.down_bytes, self.sends_up, self.sends_down)
        total: NDArray[np.float64] = device_load * self.device_s + load * self.server_s + up_s + down_s + fixed_s
        return total

    @cached_property
    def sends_up(self) -> NDArray[np.float64]:
        """1 for the choices that send anything up, else 0."""
        return (self.up_bytes > 0).astype(np.float64)

    @cached_property
    def stays(self) -> NDArray[np.bool_]:
        """Which choices send nothing at all."""
        stays: NDArray[np.bool_] = (self.up_bytes == 0) & (self.down_bytes == 0)
        return stays

    @cached_property
    def sends_down(self) -> NDArray[np.float64]:
        """1 for the choices that send anything down, else 0."""
        return (self.down_bytes > 0).astype(np.float64)

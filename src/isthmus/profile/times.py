"""Reading a profile: seconds for any part of a network, measured where it was measured, by the fit elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import BadInput
from isthmus.graph.types import INPUT, OUTPUT, Cut, Graph
from isthmus.profile.devices.widths import WidthWork
from isthmus.profile.types import BatchProfile, CodecTiming, Fit, Profile, Timing, lateness
from isthmus.quant.types import MOST_BITS, BitPlan

_MB = 1e6
_UNTIMED = CodecTiming()


@dataclass(frozen=True)
class Times:
    """One machine's times for one graph. `factor` multiplies everything (the profile's own slowdown × a load factor).

    `additive=True` ignores measured heads and tails and the fit: a part costs the sum of its node times. That is the
    cost model of the papers' graph algorithms, and what makes the minimum cut exactly optimal.

    `sure`: instead of what is typical, the seconds that this share of runs keeps (0.5 to below 1): for a measured part
    by its own spread, elsewhere by that of the whole. `late`: in use one run in ten takes at least this share longer
    than usual, whatever the profile says of its spread.

    `bits`: the widths that numbers have here; None: those of the profile. On a machine known by its figures (`work`)
    every layer is computed at its widths; on one that was measured, a part with any width of 8 or less takes `narrow`
    times what the profile says (narrower levels run in a container of 8 bits, so they are no faster).
    """

    profile: Profile
    graph: Graph
    factor: float = 1.0
    additive: bool = False
    sure: float | None = None
    late: float = 0.0
    work: WidthWork | None = None
    bits: BitPlan | None = None
    narrow: float = 1.0

    def part_s(self, first: Cut, last: Cut) -> float:
        """Seconds this machine needs for the nodes after `first` and before `last` (0 when there are none)."""
        inside = last.head - first.head
        if not inside:
            return 0.0
        if self.bits is not None and self._work is not None:
            return float(self.widths_s(inside, *self._work.row(self.bits)))
        narrow = self.narrow if self.bits is not None and self._narrowed(inside, self.bits) else 1.0
        return narrow * self._scale * (self._measured_s(first, last) or self._fitted_s(first, last, inside))

    def widths_s(self, inside: Collection[int], weights: Any, tensors: Any) -> NDArray[np.float64]:
        """Seconds of these nodes for many widths at once, as `WidthWork.node_s` takes them; shape (…). Raises BadInput
        for a machine that was measured."""
        if self._work is None:
            raise BadInput(f"{self.profile.machine.name} was measured at one width; name a device known by its figures")
        seconds = self._work.node_s(weights, tensors)[..., sorted(inside)].sum(axis=-1)
        return np.asarray(self._scale * self._late * seconds)

    def nodes_s(self) -> list[float]:
        """Seconds of every node as a share of the whole, after the fit's slope (kernel time; no fixed part)."""
        if self.bits is not None and self._work is not None:
            return list((self._scale * self._late * self._work.node_s(*self._work.row(self.bits))).tolist())
        scale = self._scale * self._late * (1.0 if self.additive else self._batch.head_fit.a)
        time_of = self._batch.nodes.get
        return [
            scale * (sum([time_of(part, 0.0) for part in node.parts]) if node.parts else time_of(node.name, 0.0))
            for node in self.graph.nodes
        ]

    def codec_s(self, codec: str, elements: Any, *, encode: bool) -> Any:
        """Seconds to write (or read) `elements` with a codec, for one number or an array of them; 0 where this profile
        has not timed it."""
        timing = self.profile.codecs.get(codec, _UNTIMED)
        per = timing.encode_s_per_element if encode else timing.decode_s_per_element
        return self._scale * self._late * (timing.fixed_s + per * elements)

    @cached_property
    def _work(self) -> WidthWork | None:
        """The work of this graph, which may be another than the one it was first asked of."""
        if self.work is None or self.work.graph is self.graph:
            return self.work
        return WidthWork(self.work.device, self.graph)

    def _narrowed(self, inside: Collection[int], bits: BitPlan) -> bool:
        nodes = [self.graph.nodes[i] for i in inside]
        widths = [bits.weights.get(n.name, MOST_BITS) for n in nodes]
        widths += [bits.outputs[t] for n in nodes for t in n.outputs if t in bits.outputs]
        return min(widths, default=MOST_BITS) < MOST_BITS

    @property
    def _scale(self) -> float:
        return self.factor * self.profile.machine.slowdown

    @cached_property
    def _late(self) -> float:
        """How many times as long the whole takes as usual, where `sure` is asked for."""
        typical_s = self.profile.typical_s(self._batch.whole)
        if self.sure is None or not typical_s:
            return 1.0
        return self._surely_s(self._batch.whole, self.sure) / typical_s

    def _surely_s(self, timing: Timing, share: float) -> float:
        seen_s = self.profile.typical_s(timing) * (1 + self.late * lateness(share))
        return max(self.profile.sure_s(timing, share), seen_s)

    @cached_property
    def _batch(self) -> BatchProfile:
        batches = self.profile.batches
        if not batches:
            raise BadInput(f"the profile of {self.profile.model} holds no batch size")
        if self.graph.batch in batches:
            return batches[self.graph.batch]
        return _between(batches, self.graph.batch)

    def _measured_s(self, first: Cut, last: Cut) -> float | None:
        if self.additive:
            return None
        timing: Timing | None = None
        if first.id == INPUT and last.id == OUTPUT:
            timing = self._batch.whole
        elif first.id == INPUT:
            timing = self._batch.heads.get(last.id)
        elif last.id == OUTPUT:
            timing = self._batch.tails.get(first.id)
        if timing is None:
            return None
        return self.profile.typical_s(timing) if self.sure is None else self._surely_s(timing, self.sure)

    def _fitted_s(self, first: Cut, last: Cut, inside: Set[int]) -> float:
        times = self._batch.nodes
        total = sum(times.get(part, 0.0) for i in inside for part in self.graph.nodes[i].whole)
        if self.additive:
            return self._late * total
        fit = self._batch.tail_fit if last.id == OUTPUT else self._batch.head_fit
        crossing = {*first.crossing, *last.crossing} - set(self.graph.inputs)
        moved = sum(self.graph.tensors[t].bytes for t in crossing)
        return self._late * max(0.0, fit.a * total + fit.b * moved / _MB + fit.c)


def _between(batches: dict[int, BatchProfile], batch: int) -> BatchProfile:
    """Times at a batch size that was not measured: linear between the two nearest, in proportion beyond the ends."""
    below = max((b for b in batches if b < batch), default=None)
    above = min((b for b in batches if b > batch), default=None)
    if below is None or above is None:
        near = min(batches) if below is None else max(batches)
        return _mix(batches[near], batches[near], 0.0, scale=batch / near)
    return _mix(batches[below], batches[above], (batch - below) / (above - below))


def _mix(low: BatchProfile, high: BatchProfile, share: float, scale: float = 1.0) -> BatchProfile:
    def number(a: float, b: float) -> float:
        return scale * (a + (b - a) * share)

    def timing(a: Timing, b: Timing) -> Timing:
        return Timing(
            low_s=number(a.low_s, b.low_s),
            median_s=number(a.median_s, b.median_s),
            high_s=number(a.high_s, b.high_s),
            runs=min(a.runs, b.runs),
        )

    def fit(a: Fit, b: Fit) -> Fit:
        return Fit(a=(a.a + b.a) / 2, b=(a.b + b.b) / 2, c=number(a.c, b.c), error=max(a.error, b.error))

    return BatchProfile(
        whole=timing(low.whole, high.whole),
        heads={k: timing(low.heads[k], high.heads[k]) for k in low.heads.keys() & high.heads.keys()},
        tails={k: timing(low.tails[k], high.tails[k]) for k in low.tails.keys() & high.tails.keys()},
        nodes={k: number(low.nodes[k], high.nodes[k]) for k in low.nodes.keys() & high.nodes.keys()},
        head_fit=fit(low.head_fit, high.head_fit),
        tail_fit=fit(low.tail_fit, high.tail_fit),
    )

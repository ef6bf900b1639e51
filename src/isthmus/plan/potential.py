"""The places where a quantised head could end (Auto-Split, Banitalebi-Dehkordi et al., KDD 2021, §4).

P = {n ∈ 0 … N : T_n ≤ T_0 and b_min·(Σ_{i≤n} s_i^w + working set of 0 … n) ≤ M}: what crosses at the lowest width
travels no longer than the input itself, and the head at the lowest width fits the device. T_n counts every tensor that
crosses there, several where there are several. The working set is that of the tensors alive at once; the paper's
formula, the largest single one, is `literal`. 0 is all on the server, N all on the device.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from isthmus.codec import codec_names
from isthmus.graph import INPUT
from isthmus.plan.held import Holding
from isthmus.plan.limits import keeps_private
from isthmus.plan.solution import Dropped
from isthmus.plan.storage import INPUT_BITS, Storage
from isthmus.plan.types import Problem
from isthmus.quant.types import BitPlan
from isthmus.units import show_bytes

_SAID = {
    "sends more": "send more than the input even at {bits} bits",
    "does not fit": "do not fit {memory} even at {bits} bits",
    "private": "send what is private",
}


@dataclass(frozen=True)
class Potential:
    """`steps`: how many layers each candidate head has, rising. `nearest`: the head that needs least memory among those
    that run anything here and are no candidates for want of it at most, and what it needs at the lowest width (None
    where there is none)."""

    steps: tuple[int, ...]
    dropped: tuple[Dropped, ...]
    nearest: tuple[str, int] | None
    bits: int

    def summary(self, memory_bytes: int | None) -> str:
        """One clause: how many are left, and what became of the others."""
        counts = Counter(d.reason for d in self.dropped)
        memory = show_bytes(memory_bytes or 0)
        said = [f"{n} {_SAID[reason].format(bits=self.bits, memory=memory)}" for reason, n in counts.items()]
        left = f"{len(self.steps)} of {len(self.steps) + len(self.dropped)} places are candidates"
        return f"{left} ({', '.join(said)})" if said else left


def wire_codec(bits: int) -> str | None:
    """The codec that sends numbers of this width; None where there is none."""
    if bits == 16:
        return "float16"
    return name if (name := f"int{bits}") in codec_names() else None


def potential(problem: Problem, storage: Storage) -> Potential:
    """The candidates among the heads of `storage` (the whole network's)."""
    bits, memory = storage.weights.bits[0], problem.limits.home_memory_bytes
    sent = [_sent_bits(storage, step, bits) for step in range(len(storage.heads))]
    raw = sum(_input_bits(problem, name) for name in problem.graph.inputs)
    peaks = np.maximum.accumulate([0, *storage.lives.alive_bits(storage.lives.uniform(bits)).tolist()])
    steps, dropped = [], []
    needs: dict[str, int] = {}
    holding = Holding.at_home(problem) if problem.limits.memory_of == "runtime" else None
    for step, cut in enumerate(storage.cuts):
        weights = int(storage.weights.sizes[storage.weights_in(step)].sum()) * bits + storage.plain_bits[step]
        need = -(-(weights + int(peaks[step])) // 8) if step else 0
        if not keeps_private(problem, [cut]):
            dropped.append(Dropped(cut=cut.id, reason="private", bytes=sent[step] // 8))
        elif sent[step] > raw and cut.id != INPUT:
            dropped.append(Dropped(cut=cut.id, reason="sends more", bytes=sent[step] // 8))
        else:
            if step and holding is not None:
                need = holding.of(cut, _least_held(storage, step)).total_bytes
            if step:
                needs[cut.id] = need
            if memory is not None and need > memory:
                dropped.append(Dropped(cut=cut.id, reason="does not fit", bytes=need))
            else:
                steps.append(step)
    nearest = min(needs.items(), key=lambda pair: pair[1], default=None)
    return Potential(tuple(steps), tuple(dropped), nearest, bits)


def _least_held(storage: Storage, step: int) -> BitPlan:
    """The widths that a runtime holds least for: narrow weights, and levels that need no holding down."""
    bits = storage.weights.bits
    born = [w if storage.lives.born[k] < step else 0 for k, w in enumerate(storage.lives.uniform(bits[-1]))]
    return storage.bit_plan(step, [bits[0]] * len(storage.weights_in(step)), born)


def _sent_bits(storage: Storage, step: int, bits: int) -> int:
    """What crosses, each tensor once, floats at this width."""
    graph = storage.graph
    crossing = [graph.tensors[t] for t in storage.cuts[step].crossing if graph.consumers[t]]
    return sum(t.elements * (bits if t.dtype == "float32" else 8 * t.itemsize) for t in crossing)


def _input_bits(problem: Problem, name: str) -> int:
    tensor = problem.graph.tensors[name]
    return tensor.elements * (INPUT_BITS if tensor.dtype == "float32" else 8 * tensor.itemsize)

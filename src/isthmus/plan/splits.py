"""Every candidate split with every widths worth having: what each takes, keeps and loses.

For each head and each width of what crosses: activations by `sweep` for some shares of the memory, weights by `assign`
for what is left and for less (fewer bits also move faster), and one width for everything, as the baselines have it.
What another choice of the same head and wire width beats in both seconds and distortion is dropped at once; the rest is
priced by the one cost function, with the device's part at its widths (`Times.bits`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike

from isthmus.codec.huffman import SUFFIX
from isthmus.graph import INPUT, Cut
from isthmus.plan.cost import priced
from isthmus.plan.held import Holding
from isthmus.plan.potential import wire_codec
from isthmus.plan.solution import Solution
from isthmus.plan.storage import INPUT_BITS, Storage
from isthmus.plan.types import Problem
from isthmus.quant.alive import Swept, sweep
from isthmus.quant.assign import assign
from isthmus.quant.types import MOST_BITS, BitPlan

MEAN_WIDTHS = (2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
"""Budgets of weights that are tried, as mean widths, besides all that the memory allows."""
MOST_LEVELS = 12
"""Budgets of activations that are tried: what all need at one width, after some layers,"""
FEWEST_SHARES, MOST_SHARES, HEADS_AND_SHARES = 8, 64, 480
"""and equal parts of the memory: as many as make so many pairs with a head, within bounds."""
WORTH = 1e-3
"""A larger budget of activations is a choice of its own where it lowers Σ D by this share."""
ROUNDING = 128
"""Budgets of weights that the memory leaves are rounded to this part of what all weights take at the highest width."""
GAP = 0.01
"""How far an assignment of weights may be from its bound,"""
BRANCHES = 24
"""and how many relaxations are solved to get there."""
NOISE_A_BIT = 4.0
"""A bit more makes the noise of a uniform quantiser so many times less: 6 dB. On digits, 3.9 to 4.2 from 2 bits on."""


@dataclass(frozen=True)
class Widths:
    """A head with its widths, before it is priced: layers in it, width of each weight and of each stored tensor (0: not
    in the head), width of what crosses, Σ D."""

    step: int
    weights: tuple[int, ...]
    tensors: tuple[int, ...]
    wire: int
    distortion: float


def at_bits(problem: Problem, bits: BitPlan | None) -> Problem:
    """The same problem with the home machine's numbers at these widths."""
    if bits is None:
        return problem
    machines = list(problem.machines)
    machines[problem.home] = replace(machines[problem.home], bits=bits)
    return replace(problem, machines=tuple(machines))


def without_memory(problem: Problem) -> Problem:
    """The same problem with all the memory there is: what numbers of few bits take is judged by their widths."""
    return replace(problem, limits=replace(problem.limits, home_memory_bytes=None))


class Splits:
    """The heads of one `Storage` (its last one alone where `whole` is false) and their widths."""

    def __init__(self, problem: Problem, storage: Storage, steps: Sequence[int]) -> None:
        self.problem, self.storage = problem, storage
        self.bits = storage.weights.bits
        limit, of_runtime = problem.limits.home_memory_bytes, problem.limits.memory_of == "runtime"
        self.memory_bits = None if limit is None or of_runtime else 8 * limit
        """what widths are chosen for; a runtime's containers are as wide whatever is chosen"""
        self._holding = Holding.at_home(problem) if of_runtime else None
        self.steps = [s for s in steps if s]
        self._assigned = lru_cache(maxsize=None)(self._assign)
        self._held_for = lru_cache(maxsize=None)(self._hold)

    def all_widths(self) -> Iterator[Widths]:
        """Every choice of every head; those of equal widths once."""
        for step in self.steps:
            seen: set[tuple[object, ...]] = set()
            for found in (*self._uniform(step), *self._mixed(step)):
                key = (found.weights, found.tensors, found.wire)
                if key not in seen:
                    seen.add(key)
                    yield found

    def uniform(self, step: int, bits: int) -> Widths:
        """One width for everything; 16 is floating point, which loses nothing."""
        weights = self.storage.weights_in(step)
        tensors = [w if self._born(k, step) else 0 for k, w in enumerate(self.storage.lives.uniform(bits))]
        return Widths(step, (bits,) * len(weights), tuple(tensors), bits, self._uniform_error(step, bits))

    def at_eight(self) -> float:
        """Σ D of the last head with everything 8 bits wide; worked out from the highest width of tables without 8."""
        widest = self.bits[-1]
        return self.uniform(len(self.storage.heads) - 1, widest).distortion * NOISE_A_BIT ** (widest - 8)

    def fits(self, found: Widths) -> bool:
        """Is the head within the memory limit?"""
        held, limit = self.held_bytes(found), self.problem.limits.home_memory_bytes
        if held is not None:
            return limit is None or held <= limit
        return self.memory_bits is None or sum(self.memory(found)) <= self.memory_bits

    def memory(self, found: Widths) -> tuple[int, int]:
        """Bits of the weights, and of the activations alive at once."""
        sizes = self.storage.weights.sizes[self.storage.weights_in(found.step)]
        weights = int((sizes * np.array(found.weights, dtype=np.int64)).sum()) + self.storage.plain_bits[found.step]
        return weights, self.storage.lives.peak_bits(found.tensors, found.step)

    def counting(self, group: Sequence[Widths]) -> Callable[[int], bool]:
        """Which of these are within the limit: all, where their widths were chosen for it."""
        return (lambda _: True) if self._holding is None else (lambda k: self.fits(group[k]))

    def held_bytes(self, found: Widths) -> int | None:
        """What a process holds that runs the head, where the limit is one of its memory."""
        if self._holding is None:
            return None
        return self._held_for(found.step, tuple(map(_container, found.weights)), tuple(map(_container, found.tensors)))

    def _hold(self, step: int, weights: tuple[int, ...], tensors: tuple[int, ...]) -> int:
        assert self._holding is not None
        return self._holding.of(self.storage.cuts[step], self.storage.bit_plan(step, weights, tensors)).total_bytes

    def sends(self, step: int) -> bool:
        """Does anything cross?"""
        return bool(self.storage.crossing(step))

    def solution(self, found: Widths, planner: str = "autosplit") -> Solution:
        """A head with its widths, priced: sent plain, or Huffman-coded where the problem allows that width so and it is
        faster."""
        made = [self._sent(found, planner, codec) for codec in self._codecs(found)]
        return min(made, key=lambda s: s.total_s)

    def _codecs(self, found: Widths) -> list[str]:
        plain = wire_codec(found.wire) if self.sends(found.step) else None
        if plain is None:
            return ["float32"]
        coded = plain + SUFFIX
        return [plain, coded] if coded in self.problem.default_codecs else [plain]

    def _sent(self, found: Widths, planner: str, codec: str) -> Solution:
        weight_bits, activation_bits = self.memory(found)
        sizes = self.storage.weights.sizes[self.storage.weights_in(found.step)]
        elements = [n if w else 0 for n, w in zip(self.storage.lives.sizes, found.tensors, strict=True)]
        return priced_solution(
            self.problem,
            planner,
            self.storage.cuts[found.step],
            codec,
            self.storage.bit_plan(found.step, found.weights, found.tensors),
            weight_bytes=-(-weight_bits // 8),
            activation_bytes=-(-activation_bits // 8),
            file_bytes=self.storage.file_bytes(found.step, -(-weight_bits // 8)),
            held_bytes=self.held_bytes(found),
            widths=(_mean(found.weights, sizes.tolist()), _mean(found.tensors, elements), float(found.wire)),
            distortion=found.distortion,
        )

    def _uniform(self, step: int) -> Iterator[Widths]:
        for bits in (*self.bits, MOST_BITS):
            if not self.sends(step) or wire_codec(bits) is not None:
                found = self.uniform(step, bits)
                if self.fits(found):
                    yield found

    def _mixed(self, step: int) -> Iterator[Widths]:
        crossing = self.storage.crossing(step)
        most = self.storage.lives.peak_bits(self.storage.lives.uniform(self.bits[-1]), step)
        places = [p for p, b in enumerate(self.bits) if wire_codec(b) is not None] if crossing else [0]
        least = dict.fromkeys(places, float("inf"))
        for swept in self._sweeps:
            for place in places:
                choice = swept.choice(step, place, crossing, below=least[place] * (1 - WORTH))
                if choice is not None:
                    least[place] = choice[0]
                    yield from self._with_weights(step, self.bits[place], *choice)
            if swept.most_bits >= most:
                break

    def _with_weights(self, step: int, wire: int, error: float, tensors: list[int]) -> Iterator[Widths]:
        """These widths of the tensors with weights for every budget. What the memory leaves is rounded down, so that
        nearly equal budgets are solved once."""
        total = int(self.storage.weights.sizes[self.storage.weights_in(step)].sum())
        most = total * self.bits[-1]
        budgets = {int(mean * total) for mean in MEAN_WIDTHS if self.bits[0] <= mean < self.bits[-1]} | {most}
        if self.memory_bits is not None:
            left = self.memory_bits - self.storage.lives.peak_bits(tensors, step) - self.storage.plain_bits[step]
            budgets = {b for b in budgets if b <= left}
            if left < most:
                budgets.add(max(total * self.bits[0], left - left % max(1, most // ROUNDING)))
            budgets = {b for b in budgets if b <= left}
        error += self.storage.input_error(wire if self._input_crosses(step) else INPUT_BITS)
        for budget in sorted(budgets):
            if budget >= total * self.bits[0]:
                chosen, lost = self._assigned(step, budget)
                yield Widths(step, chosen, tuple(tensors), wire, error + lost)

    def _assign(self, step: int, budget: int) -> tuple[tuple[int, ...], float]:
        found = assign(
            self.storage.weights, budget, self.storage.weights_in(step).tolist(), tolerance=GAP, branches=BRANCHES
        )
        return tuple(self.bits[p] for p in found.places), found.error

    @cached_property
    def _sweeps(self) -> list[Swept]:
        """For budgets of activations from the least that any head needs to what all have at the highest width."""
        lives = self.storage.lives
        levels: set[int] = set()
        for bits in self.bits:
            peaks = np.maximum.accumulate(lives.alive_bits(lives.uniform(bits)))
            levels.update(int(peaks[s - 1]) for s in self.steps)
        rising = sorted(levels)
        if self.memory_bits is not None:
            parts = min(MOST_SHARES, max(FEWEST_SHARES, HEADS_AND_SHARES // max(1, len(self.steps))))
            shares = {self.memory_bits * k // parts for k in range(1, parts + 1)}
            rising = [b for b in rising if b <= self.memory_bits]
            kept = {b for b in shares if rising and rising[0] <= b <= max(levels)}
        else:
            kept = set()
        count = min(len(rising), MOST_LEVELS)
        kept |= {rising[round(k * (len(rising) - 1) / max(1, count - 1))] for k in range(count)}
        return [sweep(lives, level) for level in sorted(kept)]

    def _born(self, item: int, step: int) -> bool:
        return self.storage.lives.born[item] < step

    def _uniform_error(self, step: int, bits: int) -> float:
        """Σ D of a head at one width: its weights, the tensors it makes, and the input."""
        if bits == MOST_BITS:
            return 0.0
        place, lives = self.bits.index(bits), self.storage.lives
        error = float(self.storage.weights.errors[self.storage.weights_in(step), place].sum())
        error += sum(
            float(lives.errors[k, place]) for k, fixed in enumerate(lives.fixed) if not fixed and self._born(k, step)
        )
        return error + self.storage.input_error(bits if self._input_crosses(step) else INPUT_BITS)

    def _input_crosses(self, step: int) -> bool:
        crossing = self.storage.crossing(step)
        return any(self.storage.at.get(name) in crossing for name in self.storage.graph.inputs)


def priced_solution(
    problem: Problem,
    planner: str,
    cut: Cut,
    codec: str,
    plan: BitPlan | None,
    *,
    weight_bytes: int = 0,
    activation_bytes: int = 0,
    file_bytes: int = 0,
    held_bytes: int | None = None,
    widths: tuple[float, float, float] = (0.0, 0.0, 0.0),
    distortion: float | None,
) -> Solution:
    """A cut, a codec and widths of the head as a row of a list, priced by the one cost function."""
    cost = priced(at_bits(problem, plan), (cut,), codec)
    sent = sum(cost.up_bytes)
    name = f"{cut.id}/w{widths[0]:.2f}/a{widths[1]:.2f}" if cut.id != INPUT else cut.id
    name += f"/{codec.removesuffix(SUFFIX)}" if sent else ""  # codes lose nothing: the same solution
    name += f"/{_digest(plan)}" if plan is not None else ""
    row = Solution(
        name=name,
        planner=planner,
        cut=cut.id,
        codec=codec,
        total_s=cost.total_s,
        device_s=cost.compute_s[problem.home],
        link_s=sum(cost.up_s) + sum(cost.down_s) + cost.fixed_s + cost.codec_s,
        server_s=sum(cost.compute_s) - cost.compute_s[problem.home],
        weight_bytes=weight_bytes,
        activation_bytes=activation_bytes,
        file_bytes=file_bytes,
        held_bytes=held_bytes,
        sent_bytes=sent,
        weight_bits=widths[0],
        activation_bits=widths[1],
        wire_bits=widths[2] if sent else 0.0,
        distortion=distortion,
        bits=plan if cut.id != INPUT else None,
    )
    return row.model_copy(update={"fits": in_memory(problem, row)})


def in_memory(problem: Problem, row: Solution) -> bool:
    """Is a solution within the problem's memory limit?"""
    limit = problem.limits.home_memory_bytes
    return limit is None or row.need_bytes(problem.limits.memory_of) <= limit


def _container(bits: int) -> int:
    """The widest number that a runtime treats as it does this one."""
    return 4 if 0 < bits < 8 else bits


def _digest(plan: BitPlan) -> str:
    """The same for the same widths, so that a loss measured once is known again."""
    return hashlib.sha256(plan.model_dump_json().encode()).hexdigest()[:8]


def worth_listing(splits: Splits, planner: str) -> list[Solution]:
    """Of each head and wire width the fastest and the truest choice, and whatever no other of these heads beats in both
    seconds and distortion.

    Within one head and wire width only the device's seconds differ: one choice of each is priced, the others follow
    from it, and those that are kept are priced themselves.
    """
    groups: dict[tuple[int, int], list[Widths]] = {}
    for found in splits.all_widths():
        groups.setdefault((found.step, found.wire), []).append(found)
    kept: list[Solution] = []
    others: list[tuple[float, float, Widths]] = []
    for (step, _), group in groups.items():
        seconds = _head_s(splits, step, group)
        rising = _undominated(seconds, [found.distortion for found in group], splits.counting(group))
        if not rising:
            continue
        ends = [splits.solution(group[k], planner) for k in dict.fromkeys((rising[0], rising[-1]))]
        kept += ends
        rest_s = ends[0].total_s - seconds[rising[0]]
        others += [(float(rest_s + seconds[k]), group[k].distortion, group[k]) for k in rising[1:-1]]
    every = [*((s.total_s, s.distortion or 0.0) for s in kept), *((s, d) for s, d, _ in others)]
    front = set(_undominated([s for s, _ in every], [d for _, d in every]))
    return kept + [splits.solution(w, planner) for k, (*_, w) in enumerate(others, len(kept)) if k in front]


def _undominated(
    seconds: ArrayLike, distortion: Sequence[float], counts: Callable[[int], bool] = lambda _: True
) -> list[int]:
    """Indices of what no other that counts beats in both, the fastest first."""
    best, found = float("inf"), []
    for k in np.lexsort((np.array(distortion), np.asarray(seconds, dtype=np.float64))).tolist():
        if distortion[k] < best and counts(k):
            best = distortion[k]
            found.append(k)
    return found


def _head_s(splits: Splits, step: int, group: Sequence[Widths]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Seconds of a head on the device at each of these widths."""
    storage, problem = splits.storage, splits.problem
    device = problem.machines[problem.home]
    head = storage.cuts[step].head
    if device.work is None:
        return np.zeros(len(group))
    work = device.work
    weights = np.full((len(group), len(problem.graph.nodes)), float(MOST_BITS))
    tensors = np.tile(work.plain_tensors, (len(group), 1))
    for k, node in enumerate(storage.weights_in(step).tolist()):
        name = storage.graph.nodes[storage.weighted[node]].name
        weights[:, work.parts[name]] = np.array([g.weights[k] for g in group], dtype=np.float64)[:, np.newaxis]
    chosen = np.array([g.tensors for g in group], dtype=np.float64)
    for name, item in storage.at.items():
        if problem.graph.tensors[name].dtype == "float32":
            tensors[:, work.tensors[name]] = np.where(chosen[:, item] > 0, chosen[:, item], float(MOST_BITS))
    return device.widths_s(head, weights, tensors)


def _mean(widths: Sequence[int], sizes: Sequence[int]) -> float:
    total = sum(sizes)
    return sum(w * n for w, n in zip(widths, sizes, strict=True)) / total if total else 0.0

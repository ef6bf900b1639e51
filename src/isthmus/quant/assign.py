"""Which width for which weights: least Σ D_i(b_i) under Σ s_i·b_i ≤ budget, with a proof of how good the answer is.

The generalised Lagrange multiplier (Shoham and Gersho, "Efficient bit allocation for an arbitrary set of quantizers",
IEEE Trans. ASSP 36(9), 1988), as Auto-Split uses it (Banitalebi-Dehkordi et al., KDD 2021): for a price λ a bit every
layer takes the width of least D_i(b) + λ·s_i·b on its own. All answers for all λ lie on the lower convex hulls of the
layers' tables, so nothing is swept: the hulls' segments, sorted by slope, are the exact breakpoints of λ, and their
running sum of bits says where the budget lies. The rest of the budget is then filled: what still fits is raised, the
steepest first. With the last segment taken in part the sum is a lower bound of every assignment (the relaxation of a
multiple-choice knapsack). Where the answer is farther from that bound than TOLERANCE, which happens when layers are
few, the layer in part is branched on, the best bound first.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import BadInput

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

TOLERANCE = 1e-3
"""An answer this close to the bound, as a share of it, is good enough."""
MOST_BRANCHES = 200
"""Relaxations solved for one answer; more are needed only where few layers have very different sizes."""


@dataclass(frozen=True)
class Assignment:
    """`places[i]`: index into the widths of layer i. `error`: Σ D. `bound`: no assignment within the budget has less.
    `used_bits`: Σ s·b. `price`: λ at the budget, error a bit (0: everything got its best width)."""

    places: Places
    error: float
    bound: float
    used_bits: int
    price: float


@dataclass(frozen=True)
class Choices:
    """What there is to choose from: `sizes` (layers,) in elements, `bits` (widths,) rising, `errors` (layers, widths).

    Raises BadInput for shapes that do not fit, widths that do not rise, or errors that are no numbers from 0 up.
    """

    sizes: NDArray[np.int64]
    bits: tuple[int, ...]
    errors: Floats

    def __post_init__(self) -> None:
        if self.errors.shape != (len(self.sizes), len(self.bits)) or not self.bits:
            raise BadInput(
                f"{len(self.sizes)} layers at {len(self.bits)} widths need as many errors, not {self.errors.shape}"
            )
        if list(self.bits) != sorted(set(self.bits)) or self.bits[0] < 1:
            raise BadInput(f"widths rise and are at least 1, unlike {self.bits}")
        if self.errors.size and not (np.isfinite(self.errors).all() and self.errors.min() >= 0):
            raise BadInput("errors are finite numbers, at least 0")

    @cached_property
    def rows(self) -> tuple[list[int], list[list[float]]]:
        """Sizes and errors as plain numbers."""
        return self.sizes.tolist(), self.errors.tolist()

    @cached_property
    def segments(self) -> _Segments:
        """The hulls' segments of all layers, the steepest first."""
        found = [s for i in range(len(self.sizes)) for s in _hull(i, int(self.sizes[i]), self.bits, self.errors[i])]
        found.sort(key=lambda s: (-s[0], s[1], s[3]))
        slope, layer, start, stop = (np.array(column) for column in zip(*found, strict=True)) if found else [[]] * 4
        layers, begin, end = (np.asarray(column, dtype=np.int64) for column in (layer, start, stop))
        widths = np.array(self.bits, dtype=np.int64)
        more = self.sizes[layers] * (widths[end] - widths[begin])
        less = self.errors[layers, begin] - self.errors[layers, end]
        return _Segments(np.asarray(slope, dtype=np.float64), layers, begin, end, more, less)


@dataclass(frozen=True)
class _Segments:
    """One entry a segment: error saved a bit, layer, places at both ends, bits it takes and error it saves."""

    slope: Floats
    layer: Places
    start: Places
    stop: Places
    more: Places
    less: Floats


def assign(
    choices: Choices,
    budget_bits: float,
    of: Sequence[int] | None = None,
    *,
    tolerance: float = TOLERANCE,
    branches: int = MOST_BRANCHES,
) -> Assignment:
    """The widths of least error for the layers `of` (all where absent) within `budget_bits`; `places` are in their
    order. Branching stops within `tolerance` of the bound or after so many `branches`; 0 is the plain Lagrangian with
    the rest of the budget filled. Raises BadInput where even the lowest widths take more."""
    chosen = np.arange(len(choices.sizes)) if of is None else np.asarray(of, dtype=np.int64)
    least = int(choices.sizes[chosen].sum()) * choices.bits[0]
    if least > budget_bits:
        raise BadInput(f"at {choices.bits[0]} bits the weights take {least} bits, more than {budget_bits:.0f}")
    open_ = np.zeros(len(choices.sizes), dtype=np.bool_)
    open_[chosen] = True
    best = _relaxed(choices, open_, {}, budget_bits)
    bound, price = best.bound, best.price
    waiting = [(best.bound, 0, best)]
    tries = 0
    while waiting and tries < branches:
        bound, _, at = heapq.heappop(waiting)
        if bound >= best.error * (1 - tolerance) or at.broken is None:
            break
        for place in range(len(choices.bits)):
            tries += 1
            goal = best.error * (1 - tolerance)
            branch = _relaxed(choices, open_, {**at.fixed, at.broken: place}, budget_bits, goal)
            best = branch if branch.error < best.error else best
            if branch.bound < goal:
                heapq.heappush(waiting, (branch.bound, tries, branch))
    left = (
        [bound, *(b for b, *_ in waiting)] if not tries else [best.error * (1 - tolerance), *(b for b, *_ in waiting)]
    )
    bound = min(left)
    places = best.places[chosen]
    used = int((choices.sizes[chosen] * np.array(choices.bits)[places]).sum())
    return Assignment(places, best.error, min(bound, best.error), used, price)


@dataclass(frozen=True)
class _Relaxed:
    """An answer with some layers fixed, its error, the relaxation's bound, and the layer that the relaxation breaks."""

    places: Places
    error: float
    bound: float
    price: float
    broken: int | None
    fixed: dict[int, int]


def _relaxed(
    choices: Choices, open_: NDArray[np.bool_], fixed: dict[int, int], budget_bits: float, goal: float = np.inf
) -> _Relaxed:
    """Breakpoints up to the budget, the last one in part for the bound, the rest filled for the answer (which is left
    out, its error infinite, where the bound is not below `goal`)."""
    free = open_.copy()
    free[list(fixed)] = False
    places = np.zeros(len(choices.sizes), dtype=np.int64)
    for layer, place in fixed.items():
        places[layer] = place
    widths = np.array(choices.bits, dtype=np.int64)
    left = budget_bits - float((choices.sizes * widths[places])[open_].sum())
    rows = np.arange(len(places))
    start = float(choices.errors[rows, places][open_].sum())
    every = choices.segments
    mine = np.flatnonzero(free[every.layer])
    if left < 0:
        return _Relaxed(places, float("inf"), float("inf"), 0.0, None, fixed)
    spent = np.cumsum(every.more[mine])
    whole = int(np.searchsorted(spent, left, side="right"))
    taken = mine[:whole]
    np.maximum.at(places, every.layer[taken], every.stop[taken])
    error = start - float(every.less[taken].sum())
    if whole == len(mine):
        return _Relaxed(places, error, error, 0.0, None, fixed)
    broken = mine[whole]
    rest = left - (float(spent[whole - 1]) if whole else 0.0)
    slope = float(every.slope[broken])
    if error - slope * rest >= goal:
        return _Relaxed(places, float("inf"), error - slope * rest, slope, None, fixed)
    filled = _filled(choices, places, every.layer[mine[whole:]], rest)
    return _Relaxed(
        filled,
        float(choices.errors[rows, filled][open_].sum()),
        error - slope * rest,
        slope,
        int(every.layer[broken]),
        fixed,
    )


def _filled(choices: Choices, places: Places, order: Places, rest: float) -> Places:
    """Layers in the order of their segments raised to the best width that still fits, hull or not."""
    filled = places.copy()
    bits, (sizes, errors) = choices.bits, choices.rows
    for layer in dict.fromkeys(order.tolist()):
        here, size = int(filled[layer]), sizes[layer]
        if here + 1 == len(bits) or size * (bits[here + 1] - bits[here]) > rest:
            continue
        reach = [p for p in range(here + 1, len(bits)) if size * (bits[p] - bits[here]) <= rest]
        best = min(reach, key=errors[layer].__getitem__)
        if errors[layer][best] < errors[layer][here]:
            rest -= size * (bits[best] - bits[here])
            filled[layer] = best
    return filled


def _hull(layer: int, size: int, bits: Sequence[int], errors: Floats) -> list[tuple[float, int, int, int]]:
    """(error saved a bit, layer, start, stop) of the lower convex hull, from the lowest width to the one of least
    error; slopes fall."""
    best = int(np.argmin(errors))
    at, found = 0, []
    while at < best:
        slopes = [(errors[at] - errors[p]) / max(size * (bits[p] - bits[at]), 1) for p in range(at + 1, best + 1)]
        step = max(range(len(slopes)), key=lambda k: (slopes[k], k))
        found.append((float(slopes[step]), layer, at, at + 1 + step))
        at += 1 + step
    return found

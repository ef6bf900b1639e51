"""Which width for which activation: least Σ D_i(b_i) where the tensors alive at once may take only so many bits.

The constraint is a maximum over the running order and not a sum, so a price a bit (`isthmus.quant.assign`) has nothing
to hold on to: a tensor that is alone costs nothing, and raising it is free. But few tensors are alive at once, and a
choice made for one that is dead no longer matters. One pass over the steps that keeps the least error for every
combination of widths of the tensors alive is therefore exact, and it answers for every place to cut at the same time:
after a step the tensors alive are those that cross there.

More than MOST_STATES combinations are not kept: tensors born into such a crowd take the one width that all could have
at once. Auto-Split's published reading, max over single tensors, is `Lives.literal`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import BadInput

Floats = NDArray[np.float64]

MOST_STATES = 4096
"""Combinations of widths that are kept after one step: six tensors alive at four widths."""


@dataclass(frozen=True)
class Lives:
    """Tensors and how long they live.

    sizes: elements; bits: the widths, rising; errors: (tensors, widths); fixed: the width of a tensor that has no
    choice, else 0; born, last: steps (0 …) at which a tensor is made and last read, both included; a tensor that is
    there from the start is born at 0, a network's answer lives to the last step. Raises BadInput for lists of different
    lengths or a life that ends before it begins.
    """

    sizes: Sequence[int]
    bits: tuple[int, ...]
    errors: Floats
    fixed: Sequence[int]
    born: Sequence[int]
    last: Sequence[int]
    steps: int
    literal: bool = False

    def __post_init__(self) -> None:
        count = len(self.sizes)
        if self.errors.shape != (count, len(self.bits)) or {len(self.fixed), len(self.born), len(self.last)} != {count}:
            raise BadInput("a tensor needs a size, errors, a fixed width or 0, a first and a last step")
        if any(not 0 <= a <= b < self.steps for a, b in zip(self.born, self.last, strict=True)):
            raise BadInput(f"a tensor lives within the {self.steps} steps and not backwards")

    def peak_bits(self, widths: Sequence[int], steps: int | None = None) -> int:
        """The most bits alive at once, each tensor at its width, over the first `steps` steps (all where absent)."""
        return int(self.alive_bits(widths)[:steps].max(initial=0))

    def alive_bits(self, widths: Sequence[int]) -> NDArray[np.int64]:
        """Bits alive at each step, each tensor at its width (the literal reading: the largest of those made there)."""
        taken = np.asarray(self.sizes, dtype=np.int64) * np.asarray(widths, dtype=np.int64)
        if not self.literal:
            return np.asarray(self._alive @ taken, dtype=np.int64)
        total = np.zeros(self.steps, dtype=np.int64)
        np.maximum.at(total, np.asarray(self.born, dtype=np.int64), taken)
        return total

    @cached_property
    def _alive(self) -> NDArray[np.int64]:
        """1 where a tensor (column) is alive at a step (row)."""
        step = np.arange(self.steps)[:, np.newaxis]
        born, last = np.asarray(self.born, dtype=np.int64), np.asarray(self.last, dtype=np.int64)
        return ((born <= step) & (step <= last)).astype(np.int64)

    def uniform(self, bits: int) -> list[int]:
        """Every tensor at one width, but those whose width is fixed."""
        return [fixed or bits for fixed in self.fixed]


@dataclass(frozen=True)
class _State:
    """The least error by the widths of the tensors `alive`, one axis each."""

    alive: tuple[int, ...]
    error: Floats


@dataclass(frozen=True)
class Swept:
    """What one pass over the steps found; `choice` answers for any place to stop."""

    lives: Lives
    most_bits: float
    _after: list[_State] = field(repr=False)
    _undo: list[list[tuple[int, int, NDArray[np.intp] | None]]] = field(repr=False)
    """for every step, in order: (tensor, its axis, None where it was born or the best place where it died)"""
    _given: dict[int, int] = field(repr=False)
    """tensors born into a crowd: the one place they have"""

    def choice(
        self, steps: int, place: int, crossing: Collection[int], below: float = np.inf
    ) -> tuple[float, list[int]] | None:
        """(Σ D, width of every tensor born so far, 0 for the others) of the best choice for the first `steps` steps in
        which the tensors `crossing` have the width of `place`; None where that does not fit, or Σ D is not `below`."""
        if not steps:
            return 0.0, [0] * len(self.lives.sizes)
        state = self._after[steps - 1]
        picked: list[slice] = []
        for axis, item in enumerate(state.alive):
            index = self._index(item, place) if item in crossing else -1
            if index is None:
                return None
            picked.append(slice(index, index + 1) if index >= 0 else slice(0, state.error.shape[axis]))
        error = state.error[tuple(picked)]
        within = np.unravel_index(int(error.argmin()), error.shape) if error.ndim else ()
        least = float(error[within])
        if not least < below:
            return None
        at = {item: one.start + int(k) for item, one, k in zip(state.alive, picked, within, strict=True)}
        return least, self._widths(steps, at, state.alive)

    def _index(self, item: int, place: int) -> int | None:
        if self.lives.fixed[item]:
            return 0
        if item in self._given:
            return 0 if self._given[item] == place else None
        return place

    def _widths(self, steps: int, index: dict[int, int], alive: tuple[int, ...]) -> list[int]:
        widths = [0] * len(self.lives.sizes)
        order = list(alive)
        for step in reversed(range(steps)):
            for item, axis, best in reversed(self._undo[step]):
                if best is not None:
                    index[item] = int(best[tuple(index[k] for k in order)])
                    order.insert(axis, item)
                else:
                    order.pop(axis)
                    widths[item] = self._width(item, index.pop(item))
        return widths

    def _width(self, item: int, at: int) -> int:
        return self.lives.fixed[item] or self.lives.bits[self._given.get(item, at)]


def sweep(lives: Lives, most_bits: float) -> Swept:
    """The best widths for every number of steps, with at most `most_bits` alive at once."""
    found = Swept(lives, most_bits, [], [], {})
    born = _by_step(lives.born, lives.steps)
    last = _by_step(lives.last, lives.steps)
    state = _State((), np.zeros(()))
    for step in range(lives.steps):
        undo: list[tuple[int, int, NDArray[np.intp] | None]] = []
        for item in born[step]:
            undo.append((item, len(state.alive), None))
            state = _State((*state.alive, item), state.error[..., np.newaxis] + _born(found, item, state))
        if born[step]:
            state = _State(state.alive, _fitting(found, state, born[step]))
        for item in last[step] if step < lives.steps - 1 else ():  # what lives to the end may cross there
            axis = state.alive.index(item)
            undo.append((item, axis, state.error.argmin(axis=axis)))
            state = _State(tuple(k for k in state.alive if k != item), state.error.min(axis=axis))
        found._after.append(state)
        found._undo.append(undo)
    return found


def _by_step(steps: Sequence[int], count: int) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in range(count)]
    for item, step in enumerate(steps):
        found[step].append(item)
    return found


def _born(found: Swept, item: int, state: _State) -> Floats:
    """Errors of the widths a tensor may have: one where it is fixed, or born into a crowd."""
    lives = found.lives
    if lives.fixed[item]:
        return np.zeros(1)
    if state.error.size * len(lives.bits) > MOST_STATES:
        found._given[item] = _shared_place(found, item)
        return np.asarray(lives.errors[item, [found._given[item]]])
    return np.asarray(lives.errors[item])


def _shared_place(found: Swept, item: int) -> int:
    """The highest width that every tensor could have at once while this one lives; the lowest where none fits."""
    lives = found.lives
    when = slice(lives.born[item], lives.last[item] + 1)
    peaks = [int(lives.alive_bits(lives.uniform(b))[when].max()) for b in lives.bits]
    fits = [p for p, peak in enumerate(peaks) if peak <= found.most_bits]
    return max(fits, default=0)


def _fitting(found: Swept, state: _State, new: Sequence[int]) -> Floats:
    """The errors, infinite where what is alive (in the literal reading: one of those just born) takes too much."""
    taken = list(_taken(found, state))
    if found.lives.literal:
        over = np.zeros(state.error.shape, dtype=np.bool_)
        for item, bits in zip(state.alive, taken, strict=True):
            over = over | (bits > found.most_bits) if item in new else over
    else:
        over = sum(taken, start=np.zeros(())) > found.most_bits
    return np.asarray(np.where(over, np.inf, state.error))


def _taken(found: Swept, state: _State) -> Iterator[Floats]:
    """Bits of every tensor alive at each of its widths, along its own axis."""
    lives = found.lives
    for axis, item in enumerate(state.alive):
        count = state.error.shape[axis]
        widths = [found._width(item, k) for k in range(count)]
        shape = [1] * len(state.alive)
        shape[axis] = count
        yield np.array([lives.sizes[item] * float(w) for w in widths]).reshape(shape)

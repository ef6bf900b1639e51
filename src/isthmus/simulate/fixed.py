"""Every choice that never changes, each played in a world of its own, all in lockstep: what "the best static plan" is
found by. The same as `play` with a `Fixed` chooser, a hundred times as fast (a test compares them)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.adapt import Fixed
from isthmus.errors import BadInput
from isthmus.record import Choice
from isthmus.record.patience import FIRST_PAUSE_S, LONGEST_PAUSE_S, pause_s
from isthmus.simulate.play import PING_BYTES, play
from isthmus.simulate.requests import Requests
from isthmus.simulate.world import Floats, World

Name = tuple[str, str]
"""A cut id and a codec."""


@dataclass(frozen=True)
class Statics:
    """How every fixed choice did: means in seconds over the requests that were answered (inf where none was), how many
    those were, and how many were lost."""

    names: tuple[Name, ...]
    mean_s: Floats
    answered: NDArray[np.int64]
    lost: NDArray[np.int64]

    @property
    def best(self) -> int:
        """Which is the best static plan: the least lost, then the least mean, then the first in running order."""
        fewest = np.flatnonzero(self.lost == self.lost.min())
        return int(fewest[np.argmin(self.mean_s[fewest])])


def names_of(world: World, requests: Requests) -> tuple[Name, ...]:
    """The choices that every batch size among the requests has, in running order."""
    sizes = [world.sizes.at(batch) for batch in requests.sizes]
    return tuple(name for name in sizes[0].row if all(name in s.row for s in sizes[1:]))


def statics(world: World, requests: Requests, names: Sequence[Name] | None = None) -> Statics:
    """Play every fixed choice (or those named) through the requests.

    Raises BadInput when batch sizes have no choice in common.
    """
    chosen = tuple(names_of(world, requests) if names is None else names)
    if not chosen:
        raise BadInput(f"the batch sizes {requests.sizes} have no choice in common")
    if requests.rule is not None:  # batches form differently for each, so each goes alone
        return _alone(world, requests, chosen)
    runs = _Lockstep(world, requests, chosen)
    while runs.step():
        pass
    return runs.result()


def _alone(world: World, requests: Requests, names: tuple[Name, ...]) -> Statics:
    played = [play(world, Fixed(Choice(cut=cut, codec=codec)), requests) for cut, codec in names]
    means = [float(np.mean([s.seconds.total for s in p.steps])) if p.steps else math.inf for p in played]
    return Statics(names, np.array(means), np.array([len(p.steps) for p in played]), np.array([p.lost for p in played]))


class _Lockstep:
    """Request k of every choice, then request k + 1: each choice has its own clock."""

    def __init__(self, world: World, requests: Requests, names: tuple[Name, ...]) -> None:
        self._world, self._requests, self._names = world, requests, names
        self._number = 0
        self._free_s = np.zeros(len(names))
        self._blocked_s = np.full(len(names), -math.inf)
        self._strikes = np.zeros(len(names), np.int64)
        self._going = np.ones(len(names), bool)
        self._total_s = np.zeros(len(names))
        self._answered = np.zeros(len(names), np.int64)
        self._lost = np.zeros(len(names), np.int64)
        self._rows: dict[int, NDArray[np.intp]] = {}

    def step(self) -> bool:
        """One request more of each; False when all are through."""
        asked, number = self._requests, self._number
        if asked.count is not None and number >= asked.count:
            return False
        start_s = np.maximum(self._free_s, asked.due_s(number))
        self._going &= start_s < (math.inf if asked.until_s is None else asked.until_s)
        if not self._going.any():
            return False
        start_s = np.where(self._going, start_s, 0.0)  # what is through is played on for nothing
        self._run(start_s, asked.batches[number % len(asked.batches)])
        self._number += 1
        return True

    def result(self) -> Statics:
        """How they did."""
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(self._answered > 0, self._total_s / self._answered, math.inf)
        return Statics(self._names, means, self._answered, self._lost)

    def _run(self, start_s: Floats, batch: int) -> None:
        world = self._world
        noise = world.draws.at(self._number)
        off = start_s < self._blocked_s
        went = world.go(self._rows_at(batch), start_s, batch, noise=noise, cut_off=off)
        answered = self._going & np.isfinite(went.ended_s)
        lost = self._going & ~answered
        ended_s = np.where(answered, went.ended_s, start_s + (world.deadline_s or math.inf))
        self._total_s += np.where(answered, ended_s, start_s) - start_s
        self._answered += answered
        self._lost += lost
        struck = self._going & (went.late | lost)
        self._strikes = np.where(struck, self._strikes + 1, np.where(went.off, self._strikes, 0))
        if struck.any() and world.deadline_s is not None:
            late_s = np.where(lost, ended_s, ended_s - went.rest_s)
            both = world.sizes.least.table.first == "device"  # then the answer is good until the device is done
            self._block(struck, late_s, ended_s if both else late_s)
        self._free_s = np.where(self._going, ended_s, math.inf)

    def _block(self, struck: NDArray[np.bool_], late_s: Floats, gave_up_s: Floats) -> None:
        world = self._world
        pauses_s = np.array([pause_s(n, FIRST_PAUSE_S, LONGEST_PAUSE_S) for n in self._strikes.tolist()])
        due_s = np.where(struck, np.maximum(gave_up_s, late_s + pauses_s), math.inf)
        tried_s = np.array([world.away.back_s(t) for t in due_s.tolist()])
        back_s = world.up.finish_many(tried_s, np.array(8.0 * PING_BYTES)) + world.round_trip_s
        self._blocked_s = np.where(struck, back_s, self._blocked_s)

    def _rows_at(self, batch: int) -> NDArray[np.intp]:
        if batch not in self._rows:
            row = self._world.sizes.at(batch).row
            self._rows[batch] = np.array([row[name] for name in self._names])
        return self._rows[batch]

"""Batch sizes and their cost tables: what a chooser prices a request of N samples by."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from isthmus.adapt.hindsight import Hindsight
from isthmus.adapt.lateness import late_after_s
from isthmus.errors import BadInput
from isthmus.plan.cost import CostTable

SPEAKS = 0.05
"""A part that takes less than this share of the most that a machine may be given says nothing of its load: writing a
picture in 0.25 ms where the profile says 0.77 does not make a device of 71 ms three times as fast."""
_KEPT = 64
"""Tables made for batch sizes that have none; they are forgotten all at once when there are more."""


class Size:
    """One batch size: its table, how to find a row in it, and which one was chosen last."""

    def __init__(self, table: CostTable) -> None:
        self.table = table
        self.row = {name: at for at, name in enumerate(zip(table.asked, table.codecs, strict=True))}
        self.every = np.arange(len(table.cuts))
        local = np.flatnonzero(table.up_bytes + table.down_bytes == 0)
        self.whole = int(local[np.argmin(table.device_s[local])]) if local.size else None
        """the row that needs no server"""
        self.heads_s = _heads(table)
        """the device's seconds before it sends anything: the least of all codecs there, for coding is no part of the
        network; none where the server runs first"""
        self.device_speaks = table.device_s >= SPEAKS * table.device_s.max()
        self.server_speaks = table.server_s >= SPEAKS * table.server_s.max()
        """whether the work of a row says how loaded the machine is that does it"""
        self.current: int | None = None
        """the row chosen last at this batch size: a margin compares with that, for the best cut moves with the batch"""
        self.forgone = 0.0
        """what staying there has cost since, in requests of the best choice: 0.1 is a tenth of one"""
        self.hindsight = Hindsight(len(table.cuts))

    def rest_s(self, latency: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the device would have to do behind every choice, at the load that `latency` was priced with; zero where
        it may not do all."""
        if self.whole is None:
            return np.zeros(len(latency))
        slower = float(latency[self.whole]) / max(float(self.table.device_s[self.whole]), 1e-12)
        rest_s: NDArray[np.float64] = slower * (self.table.device_s[self.whole] - self.heads_s)
        return rest_s

    def raced_s(self, latency: NDArray[np.float64]) -> NDArray[np.float64]:
        """What every choice takes at most: when its answer is late, the device begins too. inf for what is sent where
        the device may not."""
        sent = self.table.sends_up > 0
        if self.whole is None:
            return np.where(sent, np.inf, latency)
        rest_s = self.rest_s(latency)
        return np.where(sent, late_after_s(latency, rest_s) + rest_s, latency)

    def give_up_s(self, latency: NDArray[np.float64], at: int) -> float | None:
        """How long after its beginning such a request is late and the device begins too; None where it never does."""
        if self.whole is None or at == self.whole:
            return None
        return float(late_after_s(latency, self.rest_s(latency))[at])


class Sizes:
    """Tables by batch size. One that is not there is the nearest below (else the least) with work and bytes in
    proportion: dear where a batch saves per sample, so a table for every size in use is better."""

    def __init__(self, tables: Mapping[int, CostTable]) -> None:
        if not tables or min(tables) < 1:
            raise BadInput(f"a chooser needs a cost table for at least one batch size from 1 up, not for {[*tables]}")
        self._given = {batch: Size(table) for batch, table in sorted(tables.items())}
        self._made: dict[int, Size] = {}

    @property
    def least(self) -> Size:
        """The smallest batch size that has a table."""
        return next(iter(self._given.values()))

    def at(self, batch: int) -> Size:
        """The table for a batch of this many samples. Raises BadInput for less than one."""
        found = self._given.get(batch) or self._made.get(batch)
        if found is None:
            if batch < 1:
                raise BadInput(f"a batch has at least 1 sample, not {batch}")
            if len(self._made) >= _KEPT:
                self._made.clear()
            near = max((b for b in self._given if b < batch), default=min(self._given))
            found = self._made[batch] = Size(self._given[near].table.scaled(batch / near))
        return found


def _heads(table: CostTable) -> NDArray[np.float64]:
    if table.first == "server":
        return np.zeros(len(table.cuts))
    least: dict[str, float] = {}
    for cut, seconds in zip(table.cuts, table.device_s.tolist(), strict=True):
        least[cut] = min(seconds, least.get(cut, math.inf))
    return np.array([least[cut] for cut in table.cuts])

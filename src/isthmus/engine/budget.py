"""What sessions take of this process beside the weights they share: two budgets that all its engines share."""

from __future__ import annotations

import itertools
import weakref


class Budget:
    """So much there is of something, and so much of it is held by objects that are still there."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._held: dict[int, int] = {}
        self._serial = itertools.count()

    def hold(self, owner: object, count: int) -> None:
        """Count what lasts as long as `owner` does."""
        serial = next(self._serial)
        self._held[serial] = count
        # one step of the dictionary each, without a lock: whoever lets go may be collected in the middle of anything
        weakref.finalize(owner, self._held.pop, serial, None).atexit = False

    @property
    def held(self) -> int:
        """How much of it is taken; more than there is where somebody took it regardless."""
        return sum(self._held.copy().values())

    def has(self, count: int) -> bool:
        """Whether so much is left. Nothing always is."""
        return count <= max(0, self.most - self.held)


KERNELS = Budget(100_000)
"""Operators in sessions: 6 to 9 kB each, so less than a gigabyte."""
MAPPINGS = Budget(50_000)
"""Pieces of weight files that onnxruntime mapped. Linux allows a process 65,530 mappings; code, heap and whoever we run
beside need some."""

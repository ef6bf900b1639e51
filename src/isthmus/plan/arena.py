"""What an arena that hands out the best-fitting free block takes of a machine's memory, allocation by allocation.

onnxruntime's arena (a best-fit allocator with coalescing) keeps free blocks by address and takes the smallest that
holds what is asked for, the lowest of equals; blocks that are given back grow together with free neighbours. Where all
of it is one region, memory counts from when it was first handed out, and is never given back: what matters is the
highest address that was ever in use, which lies above the sum of what is alive wherever gaps are left.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, field

GRAIN_BYTES = 256
"""Blocks are multiples of this."""


@dataclass
class Arena:
    """One region without an end. `high_bytes`: how much of it was ever in use.

    `joined` false: a region of its own for every block that no free one holds, which never grow together, and blocks
    are split only where at least half is left; `high_bytes` is the sum of the regions."""

    joined: bool = True

    high_bytes: int = 0
    _starts: list[int] = field(default_factory=list)
    _free: dict[int, int] = field(default_factory=dict)
    """free blocks below `high`: start → size; `_starts` are their starts, rising"""
    _taken: dict[str, tuple[int, int]] = field(default_factory=dict)

    def take(self, name: str, size_bytes: int) -> None:
        """Hand out a block under a name of its own; nothing for a size of zero."""
        if size_bytes <= 0:
            return
        size = -(-size_bytes // GRAIN_BYTES) * GRAIN_BYTES
        fitting = [(have, start) for start, have in self._free.items() if have >= size]
        if fitting:
            have, start = min(fitting)
            self._drop(start)
            size = size if self.joined or have >= 2 * size else have
            if have > size:
                self._add(start + size, have - size)
        elif not self.joined:
            start = 2 * self.high_bytes  # no region begins where another ends
            self.high_bytes += size
        else:
            start = self.high_bytes
            if self._starts and self._starts[-1] + self._free[self._starts[-1]] == start:
                start = self._starts[-1]  # the last gap reaches to the end: the block begins there
                self._drop(start)
            self.high_bytes = start + size
        self._taken[name] = (start, size)

    def give(self, names: Iterable[str]) -> None:
        """Take blocks back; names that have none are passed over."""
        for name in names:
            start, size = self._taken.pop(name, (0, 0))
            if not size:
                continue
            at = bisect_left(self._starts, start)
            if at < len(self._starts) and self._starts[at] == start + size:
                size += self._drop(self._starts[at])
            if at and self._starts[at - 1] + self._free[self._starts[at - 1]] == start:
                before = self._starts[at - 1]
                start, size = before, size + self._drop(before)
            self._add(start, size)

    def holds(self, name: str) -> bool:
        """Is a block of this name handed out?"""
        return name in self._taken

    def rename(self, name: str, to: str) -> None:
        """Call a block that is handed out by another name; nothing where there is none."""
        if name in self._taken:
            self._taken[to] = self._taken.pop(name)

    def _add(self, start: int, size: int) -> None:
        insort(self._starts, start)
        self._free[start] = size

    def _drop(self, start: int) -> int:
        self._starts.pop(bisect_left(self._starts, start))
        return self._free.pop(start)

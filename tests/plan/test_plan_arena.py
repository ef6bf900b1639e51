"""The arena against a naive twin that looks at every cell, on random sequences."""

from __future__ import annotations

import random

from plan_worlds import used_bytes

from isthmus.plan.arena import GRAIN_BYTES, Arena


class _Cells:
    """The same by cells: who holds each, and the run of free ones that fits best found by looking at all."""

    def __init__(self) -> None:
        self.cells: list[str | None] = []

    def take(self, name: str, size_bytes: int) -> None:
        count = -(-size_bytes // GRAIN_BYTES)
        runs = [(length, start) for start, length in self._runs() if length >= count]
        start = min(runs)[1] if runs else self._tail()
        self.cells += [None] * (start + count - len(self.cells))
        self.cells[start : start + count] = [name] * count

    def give(self, name: str) -> None:
        self.cells = [None if holder == name else holder for holder in self.cells]

    def _runs(self) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        for at, holder in enumerate(self.cells):
            if holder is not None:
                continue
            if found and sum(found[-1]) == at:
                found[-1] = (found[-1][0], found[-1][1] + 1)
            else:
                found.append((at, 1))
        return found

    def _tail(self) -> int:
        """Where the free cells at the end begin."""
        end = len(self.cells)
        while end and self.cells[end - 1] is None:
            end -= 1
        return end


def test_as_a_naive_twin_on_random_sequences() -> None:
    gaps = 0
    for seed in range(60):
        rng = random.Random(seed)
        arena, twin, alive = Arena(), _Cells(), list[str]()
        most = 0
        for k in range(80):
            if alive and rng.random() < 0.45:
                name = alive.pop(rng.randrange(len(alive)))
                arena.give([name])
                twin.give(name)
            else:
                size = rng.choice([1, 100, 256, 700, 2000, rng.randint(1, 6000)])
                arena.take(f"b{k}", size)
                twin.take(f"b{k}", size)
                alive.append(f"b{k}")
            used = sum(holder is not None for holder in twin.cells) * GRAIN_BYTES
            most = max(most, used)
            assert (arena.high_bytes, used_bytes(arena)) == (len(twin.cells) * GRAIN_BYTES, used)
        assert arena.high_bytes >= most
        gaps += arena.high_bytes > most
    assert gaps > 20, "sequences that leave gaps are what makes this hard"


def test_blocks_that_are_given_back_grow_together() -> None:
    arena = Arena()
    for name in "abc":
        arena.take(name, 1000)
    arena.give("ab")
    arena.take("d", 2048)
    assert arena.high_bytes == 3 * 1024
    arena.give(["d", "c", "never handed out"])
    assert (used_bytes(arena), arena.high_bytes) == (0, 3 * 1024)
    arena.take("e", 4000)
    assert arena.high_bytes == 4096, "a gap at the end is where a larger block begins"


def test_regions_of_their_own_are_never_joined() -> None:
    arena = Arena(joined=False)
    for name in "abc":
        arena.take(name, 1024)
    arena.give("abc")
    arena.take("d", 2048)
    assert arena.high_bytes == 3 * 1024 + 2048
    arena.take("e", 768)  # more than half of a free region: all of it
    assert used_bytes(arena) == 2048 + 1024
    arena.take("f", 512)
    arena.take("g", 512)  # the other half
    assert (used_bytes(arena), arena.high_bytes) == (2048 + 2 * 1024, 3 * 1024 + 2048)


def test_a_block_keeps_its_place_under_another_name() -> None:
    arena = Arena()
    arena.take("a", 512)
    arena.rename("a", "b")
    arena.rename("nothing", "c")
    assert (arena.holds("a"), arena.holds("b"), arena.holds("c")) == (False, True, False)
    arena.give(["a"])
    assert used_bytes(arena) == 512
    arena.give(["b"])
    assert used_bytes(arena) == 0
    arena.take("nothing at all", 0)
    assert arena.high_bytes == 512

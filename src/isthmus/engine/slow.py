"""A declared slow-down: a machine that pretends to be a slower one of the same kind.

After computing for t seconds it waits (factor − 1)·t more; being interrupted for a while is no computing and is not
multiplied. Good for showing, without root, how a plan follows a slow device; it is no measurement of any real one, and
whoever reports its times must say so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from isthmus.units import slow_down

_SPIN_S = 2e-4
_FINE_S = 1e-6
T = TypeVar("T")


def wait_s(duration_s: float) -> None:
    """Wait this long, to within microseconds: sleep, and spin the last stretch (sleeping overshoots by 0.1 ms)."""
    end = time.perf_counter() + duration_s
    if duration_s > _SPIN_S:
        time.sleep(duration_s - _SPIN_S)
    while time.perf_counter() < end:
        pass


def work_clock(threads: int) -> Callable[[], float]:
    """What tells how long a run computed: the processor's time of the thread that computes, where it is the only one
    and that is known to a microsecond; else the time that passed."""
    fine = time.get_clock_info("thread_time").resolution <= _FINE_S
    return time.thread_time if threads == 1 and fine else time.perf_counter


def profile_clock(slowdown: float, threads: int) -> Callable[[], float]:
    """What a machine is profiled by: the time that passes; where it is declared slower, what that multiplies."""
    return time.perf_counter if slowdown == 1.0 else work_clock(threads)


@dataclass(frozen=True)
class SlowDown:
    """`factor` ≥ 1; 1 is this machine as it is. `clock` and `wait` are arguments so that a test needs no time.

    Raises BadInput for a factor below 1 or above MOST_SLOWER."""

    factor: float = 1.0
    wait: Callable[[float], None] = wait_s
    clock: Callable[[], float] = time.perf_counter

    def __post_init__(self) -> None:
        slow_down(self.factor, least=1.0)

    def run(self, compute: Callable[[], T]) -> T:
        """What `compute` returns, `factor` times as late."""
        if self.factor == 1.0:
            return compute()
        start = self.clock()
        made = compute()
        self.wait((self.factor - 1.0) * (self.clock() - start))
        return made

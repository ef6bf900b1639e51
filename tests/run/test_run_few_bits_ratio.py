"""How long a part of few bits takes beside floating point: judged as the device's profile was taken."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from few_bits_rig import Rig

from isthmus.bundle.few_bits import Wanted, few_bits
from isthmus.profile import Profile

COLD = 12
"""Of fifteen runs; the others found the caches warm."""


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig()


def uneven_clock() -> Callable[[], float]:
    """Floating point takes 1 s every time, the part as long when its caches are warm, and 4 s when they are cold."""
    now = 0.0
    reads = itertools.count()

    def clock() -> float:
        nonlocal now
        turn, which = divmod(next(reads), 4)
        if which == 1:
            now += 4.0 if turn < COLD else 1.0
        elif which == 3:
            now += 1.0
        return now

    return clock


def ratio(rig: Rig, profile: Profile | None, sleep: Callable[[float], None]) -> float:
    wanted = Wanted(rig.plan("relu_2", "int4", rig.bits(relu_2=4)), rig.tables, None, profile=profile)
    made = few_bits(
        rig.engine, rig.net, wanted, rig.samples, clock=uneven_clock(), sleep=sleep, footprint=lambda *_: None
    )
    assert made.row.head is not None
    return made.row.head.ratio


def test_parts_of_a_machine_that_rested_are_timed_after_rests_as_usual(rig: Rig) -> None:
    rests: list[float] = []
    rested = rig.profile.model_copy(update={"rest_s": 0.03})
    assert ratio(rig, rested, rests.append) == pytest.approx(4.0)
    assert rests == [0.03] * 30


@pytest.mark.parametrize("known", [True, False])
def test_without_rests_the_fastest_count(rig: Rig, known: bool) -> None:
    rests: list[float] = []
    assert ratio(rig, rig.profile if known else None, rests.append) == pytest.approx(1.0)
    assert not rests

"""When a batch leaves: against a clock that is stepped, and the limits of the rule."""

from __future__ import annotations

import doctest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import BadInput
from isthmus.record import Batching, batching

TICK_S = 1.0


def stepped(rule: Batching, arrivals: list[float], samples: list[int], free_s: float) -> tuple[float, int]:
    """The same in the plainest words: a clock goes on by one until the batch may leave."""
    now = 0.0
    while True:
        here = [n for t, n in zip(arrivals, samples, strict=True) if t <= now]
        count = total = 0
        for n in here:
            if total + n > rule.max_batch:
                break
            count, total = count + 1, total + n
        full = total == rule.max_batch or count < len(here)
        if here and now >= free_s and (full or now >= arrivals[0] + rule.max_delay_s):
            return now, count
        now += TICK_S


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4)), min_size=1, max_size=12),
    st.integers(4, 8),
    st.integers(0, 8),
    st.integers(0, 30),
)
def test_the_rule_agrees_with_a_stepped_clock(gaps: list[tuple[int, int]], most: int, delay: int, free: int) -> None:
    arrivals, t = [], 0.0
    for gap, _ in gaps:
        arrivals.append(t := t + gap)
    samples = [n for _, n in gaps]
    rule = Batching(most, float(delay))
    assert rule.next_batch(arrivals, samples, float(free)) == stepped(rule, arrivals, samples, float(free))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(0, 8), st.integers(0, 40))
def test_what_is_yet_to_come_never_changes_what_was_seen_to_leave(gaps: list[int], delay: int, free: int) -> None:
    """Live, only what has come is known; asked at the moment the rule names, it says the same."""
    arrivals, t = [], 0.0
    for gap in gaps:
        arrivals.append(t := t + gap)
    rule = Batching(4, float(delay))
    start_s, count = rule.next_batch(arrivals, [1] * len(arrivals), float(free))
    come = [a for a in arrivals if a <= start_s]
    assert rule.next_batch(come, [1] * len(come), start_s) == (start_s, count)


def test_a_delay_of_zero_takes_whatever_is_there() -> None:
    rule = Batching(8, 0.0)
    assert rule.next_batch([1.0, 1.0, 2.0], [1, 1, 1], 0.0) == (1.0, 2)
    assert rule.next_batch([1.0, 1.0, 2.0], [1, 1, 1], 5.0) == (5.0, 3)


def test_what_cannot_be_meant_is_refused() -> None:
    for size in (2.5, "8", None, True):
        wrong: Any = size
        with pytest.raises(BadInput, match=rf"1 to 65536 samples, not {size!r}"):
            Batching(max_batch=wrong)
    with pytest.raises(BadInput, match=r"1 to 65536 samples, not 0"):
        Batching(0)
    for delay in (-1.0, float("nan"), float("inf")):
        with pytest.raises(BadInput, match=r"between 0 and 3600 s"):
            Batching(4, delay)
    for first in (5, 0):
        with pytest.raises(BadInput, match=rf"1 to 4 samples here, not {first}"):
            Batching(4).next_batch([0.0], [first], 0.0)
    with pytest.raises(BadInput, match=r"1 to 4"):
        Batching(4).next_batch([], [], 0.0)


def test_the_examples_are_true() -> None:
    told = doctest.testmod(batching)
    assert told.failed == 0
    assert told.attempted > 4

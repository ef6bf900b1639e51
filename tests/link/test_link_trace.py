"""Traces: exact integrals and their inverse, against a slow twin; what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isthmus.errors import BadInput
from isthmus.link import Trace

rates = st.one_of(st.just(0.0), st.floats(1e3, 1e9))
pieces = st.lists(st.tuples(st.floats(0.01, 10), rates), min_size=1, max_size=8)


def trace_of(parts: list[tuple[float, float]], *, loop: bool) -> Trace:
    ends = np.cumsum([length for length, _ in parts])
    return Trace.of([0.0, *ends[:-1]], [rate for _, rate in parts], duration_s=float(ends[-1]), loop=loop)


def slow_bits(trace: Trace, t0: float, t1: float) -> float:
    """Walk from one change of rate to the next."""
    bits, t = 0.0, t0
    while t < t1:
        rounds = math.floor((t + 1e-9) / trace.duration_s) if trace.loop else 0  # three rounds of 2.72… may lack 1e-15
        base = rounds * trace.duration_s
        edges = [base + float(x) for x in [*trace.times_s, *([trace.duration_s] if trace.loop else [])]]
        until = min([e for e in edges if e > t + 1e-9] + [t1])
        bits += trace.rate_at((t + until) / 2) * (until - t)
        t = until
    return bits


@example([(1.0, 0.0), (1.7216550370085661, 1000.0)], True, 0.0, 10.0)
@given(pieces, st.booleans(), st.floats(0, 30), st.floats(0, 30))
def test_bits_equal_the_slow_walk(parts: list[tuple[float, float]], loop: bool, start: float, length: float) -> None:
    trace = trace_of(parts, loop=loop)
    expected = slow_bits(trace, start, start + length)
    assert trace.bits_between(start, start + length) == pytest.approx(expected, rel=1e-6, abs=1e9 * 1e-7)


@given(pieces, st.booleans(), st.floats(0, 30), st.floats(1, 1e8))
def test_finish_is_the_inverse_of_bits(parts: list[tuple[float, float]], loop: bool, start: float, bits: float) -> None:
    trace = trace_of(parts, loop=loop)
    end = trace.finish_s(start, bits)
    if math.isinf(end):
        assert not loop or not trace.rates_bps.any()
        assert trace.bits_between(start, start + 1e4) < bits
        return
    assert end > start or math.isclose(end, start)
    assert trace.bits_between(start, end) == pytest.approx(bits, rel=1e-6, abs=10)


def test_a_trace_that_ends_keeps_its_last_rate_and_a_loop_starts_again() -> None:
    once = Trace.of([0, 2], [8e6, 1e6], duration_s=4)
    assert once.rate_at(100) == 1e6
    assert once.looped().rate_at(100) == 8e6
    assert once.looped().bits_between(0, 8) == 2 * once.bits_between(0, 4)


def test_an_outage_is_waited_for() -> None:
    trace = Trace.of([0, 1, 3], [8e6, 0, 8e6], duration_s=5)
    assert trace.finish_s(1.5, 8e6) == pytest.approx(4.0)
    assert Trace.of([0, 1], [8e6, 0]).finish_s(0.5, 8e6) == math.inf


def test_changed_values_are_new_values() -> None:
    trace = Trace.of([0, 1], [0, 8e6])
    assert trace.scaled(0.5).rate_at(1) == 4e6
    assert trace.clipped(1e5, 1e6).rates_bps.tolist() == [1e5, 1e6]
    assert trace.part(0.5, 1.5).bits_between(0, 1) == trace.bits_between(0.5, 1.5)
    assert Trace.from_row(trace.row()).summary() == trace.summary()
    with pytest.raises(ValueError, match="read-only"):
        trace.rates_bps[0] = 1


def test_a_part_may_begin_and_end_where_the_rate_changes() -> None:
    trace = Trace.of([0, 1, 3], [8e6, 2e6, 4e6], duration_s=5)
    middle = trace.part(1, 3)
    assert (middle.times_s.tolist(), middle.rates_bps.tolist(), middle.duration_s) == ([0], [2e6], 2)
    last = trace.part(3, 5)
    assert (last.times_s.tolist(), last.rates_bps.tolist(), last.duration_s) == ([0], [4e6], 2)


def test_summary_is_time_weighted() -> None:
    told = Trace.of([0, 9], [0, 10e6], duration_s=10).summary()
    assert told["mean_bps"] == pytest.approx(1e6)
    assert told["outage_share"] == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("times", "values", "words"),
    [
        ([], [], "at least one"),
        ([0, 1], [1.0], "as many"),
        ([1, 2], [1.0, 1.0], "start at 0"),
        ([0, 2, 1], [1.0, 1.0, 1.0], "must increase"),
        ([0, 1], [1.0, -1.0], "sample 1 is -1"),
        ([0, 1], [1.0, math.nan], "sample 1 is nan"),
        ([0], [1e15], "1e\\+13"),
    ],
)
def test_nonsense_is_refused_in_words(times: list[float], values: list[float], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Trace.of(times, values)


def test_absurd_changes_are_refused() -> None:
    trace = Trace.of([0], [1e6])
    with pytest.raises(BadInput):
        trace.scaled(0)
    with pytest.raises(BadInput):
        trace.clipped(2, 1)
    with pytest.raises(BadInput):
        trace.part(0, 9)


@given(pieces, st.booleans(), st.lists(st.tuples(st.floats(0, 40), st.floats(0, 1e9)), min_size=1, max_size=6))
def test_many_finishes_are_each_finish(
    parts: list[tuple[float, float]], loop: bool, asked: list[tuple[float, float]]
) -> None:
    """Both walk the same totals; where a trace carries nothing for a while, a rounding error may move either across."""
    trace = trace_of(parts, loop=loop)
    found = trace.finish_many(np.array([s for s, _ in asked]), np.array([b for _, b in asked]))
    for (start, bits), many in zip(asked, found.tolist(), strict=True):
        one = trace.finish_s(start, bits)
        if many != pytest.approx(one, rel=1e-9, abs=1e-9):
            low, high = sorted((one, many))
            assert trace.bits_between(start, min(high, 1e6)) == pytest.approx(
                trace.bits_between(start, low), rel=1e-6, abs=10
            )


def test_many_finishes_broadcast_and_never_start_from_never() -> None:
    trace = Trace.of([0, 1, 3], [8e6, 0, 8e6], loop=True, duration_s=4)
    ends = trace.finish_many(np.array([[0.5], [2.0], [math.inf]]), np.array([0.0, 8e6, 80e6]))
    assert ends.shape == (3, 3)
    for start, row in ((0.5, ends[0]), (2.0, ends[1])):
        assert [trace.finish_s(start, b) for b in (0.0, 8e6, 80e6)] == pytest.approx(row.tolist())
    assert np.isinf(ends[2]).all()


@pytest.mark.parametrize(
    ("parts", "rounds"),
    [
        ([(0.7, 1e6), (0.1, 0.0)], (3, 7)),
        ([(0.7, 0.1e6), (0.1, 0.0)], (3, 11)),
        ([(0.1, 0.0), (0.7, 1.1e6)], (3, 7)),
        ([(0.3, 0.0), (0.1, 0.7e6), (0.3, 0.0)], (1, 9)),
    ],
)
def test_a_loop_with_an_outage_at_its_end_or_start_finishes_what_ends_there(
    parts: list[tuple[float, float]], rounds: tuple[int, int]
) -> None:
    trace = trace_of(parts, loop=True)
    whole = trace.bits_between(0, trace.duration_s)
    for start in np.arange(0, 40) * trace.duration_s / 8:
        for count in range(*rounds):
            ends = trace.finish_s(float(start), count * whole)
            assert ends <= start + (count + 1) * trace.duration_s
            assert trace.bits_between(float(start), ends) == pytest.approx(count * whole)
            assert trace.finish_many(np.array([start]), np.array([count * whole]))[0] == pytest.approx(ends)

"""Dispersion: the rate of the link from arrival times, or nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from isthmus.link import Trace, dispersion_bps


@given(
    st.floats(1e5, 1e9),
    st.lists(st.integers(4_000, 16_000), min_size=4, max_size=20),
    st.floats(0, 1e5),
)
def test_a_constant_link_is_read_exactly(bps: float, sizes: list[int], start_s: float) -> None:
    assume(sum(sizes[1:]) * 8 / bps > 3.1e-4)
    link, now, arrivals = Trace.of([0], [bps]), 0.0, []
    for size in sizes:
        now = link.finish_s(now, size * 8)
        arrivals.append(now)
    assert dispersion_bps(arrivals, sizes) == pytest.approx(bps, rel=1e-6)
    moved = [a + start_s for a in arrivals]
    told = dispersion_bps(moved, sizes)
    assert told is None or told == pytest.approx(bps, rel=1e-9 * max(1.0, start_s) / (moved[-1] - moved[0]) + 1e-6)


@pytest.mark.parametrize(
    ("arrivals", "sizes"),
    [
        ([], []),
        ([1.0], [50_000]),
        ([0.0, 1.0], [50_000, 3_999]),
        ([0.0, 1.0], [4_096, 7_999]),
        ([0.0, 1.0], [8_096, 3_999]),
        ([0.0, 1.0], [0, 7_999]),
        ([0.0, 0.00029], [50_000, 50_000]),
        ([1.0, 1.0], [8_192, 8_192]),
        ([2.0, 1.0], [8_192, 8_192]),
        ([0.0, 1e-9], [8_192, 8_192]),
        ([0.0, math.nan], [8_192, 8_192]),
        ([0.0, 1.0], [8_192]),
    ],
)
def test_too_little_tells_nothing(arrivals: list[float], sizes: list[int]) -> None:
    assert dispersion_bps(arrivals, sizes) is None


@pytest.mark.parametrize("first", [4_096, 6_000, 8_096])
def test_what_was_here_with_the_first_chunk_is_not_counted_after_it(first: int) -> None:
    assert dispersion_bps([0.0, 0.01], [first, 12_500 - first]) == pytest.approx((12_500 - first) * 8 / 0.01)

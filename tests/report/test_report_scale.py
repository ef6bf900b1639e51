"""Scales and ticks: round numbers inside the axis, and no value that cannot be placed."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.report.chart import HALF, duration_axis_below
from isthmus.report.distribution import LEFT, RIGHT
from isthmus.report.scale import Scale, drawn_limit, label_time, linear_ticks, log_range, log_ticks, time_ticks

sizes = st.floats(1e-9, 1e12)
anything = st.floats(allow_nan=True, allow_infinity=True)


@given(sizes)
def test_linear_ticks_are_even_round_and_inside(high: float) -> None:
    ticks = linear_ticks(high)
    steps = {round((b - a) / ticks[1], 6) for a, b in pairwise(ticks)}
    assert ticks[0] == 0
    assert 2 <= len(ticks) <= 6
    assert ticks[-1] <= high * (1 + 1e-9)
    assert ticks[-1] > high * 0.5
    assert steps == {1.0}
    assert f"{ticks[1]:e}"[0] in "125"


@given(sizes, st.floats(4.0, 1e15))
def test_log_ticks_are_few_sorted_and_inside(low: float, ratio: float) -> None:
    ticks = log_ticks(low, low * ratio)
    assert 1 <= len(ticks) <= 7
    assert list(ticks) == sorted(set(ticks))
    assert low * (1 - 1e-6) <= ticks[0] <= ticks[-1] <= low * ratio * (1 + 1e-6)


@given(st.floats(0, 1e8), st.floats(1e-3, 1e8))
def test_time_ticks_are_few_and_inside(low: float, width: float) -> None:
    ticks = time_ticks(low, low + width)
    assert 1 <= len(ticks) <= 11
    assert all(low - width * 1e-6 - 1e-6 <= t <= low + width * (1 + 1e-6) + 1e-6 for t in ticks)


@pytest.mark.parametrize(
    ("value", "label"),
    [(0, "0 s"), (0.005, "5 ms"), (1.5, "1.5 s"), (59, "59 s"), (60, "1 min"), (3661, "1 h 1 min 1 s"), (-5, "-5 s")],
)
def test_times_read_well(value: float, label: str) -> None:
    assert label_time(value) == label


@given(anything, st.booleans())
def test_every_value_has_a_place_on_the_axis(value: float, log: bool) -> None:
    assert 10 <= Scale(1.0, 100.0, 300, 10, log=log).one(value) <= 300


def test_places_on_both_kinds_of_axis() -> None:
    assert Scale(0, 10, 100, 200).one(5) == 150
    assert Scale(1, 100, 200, 100, log=True).one(10) == pytest.approx(150)


@pytest.mark.parametrize(("low", "high", "log"), [(1, 1, False), (2, 1, False), (0, 1, True), (math.nan, 1, False)])
def test_an_axis_without_width_is_refused(low: float, high: float, log: bool) -> None:
    with pytest.raises(ValueError, match="no scale"):
        Scale(low, high, 0, 1, log=log)


@given(st.lists(anything, max_size=30))
def test_axis_ends_can_always_be_drawn(values: list[float]) -> None:
    Scale(*log_range([abs(v) for v in values if abs(v) < 1e15]), 0, 1, log=True)
    limit = drawn_limit([min(abs(v), 1e15) for v in values])
    assert 0 < limit < math.inf


def test_one_huge_value_does_not_flatten_the_rest() -> None:
    assert drawn_limit([1.0] * 99 + [1000.0]) == 4.0
    assert drawn_limit([1.0] * 50 + [1000.0] * 50) == 1000.0
    assert drawn_limit([0.0, 0.0, 0.0, 5.0]) <= 5.0
    assert drawn_limit([0.0] * 99 + [5.0]) == 5.0
    assert log_range([1.0] * 9 + [1e30])[1] < 1e5


@pytest.mark.parametrize("low", [1e-6, 2e-3, 5e-2, 0.5])
def test_no_duration_below_an_axis_is_cut_off(low: float) -> None:
    """The last stands in the middle of the axis's end; a letter of 12 pixels takes 7.2 at most."""
    drawn = str(duration_axis_below(Scale(low / 10, low * 10, LEFT, RIGHT, log=True), 0.0, 100.0))
    labels = re.findall(r'<text x="([\d.]+)"[^>]*>([^<]+)</text>', drawn)
    assert len(labels) >= 2
    assert all(float(x) + 7.2 * len(label) / 2 <= HALF for x, label in labels)

"""How far apart answers are: NaN and infinities are neither lost nor held against both."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.engine.difference import difference, magnitude, relative

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize(
    ("got", "wanted", "apart"),
    [
        ([1.0, 2.0], [1.5, 2.0], 0.5),
        ([NAN, INF, -INF, 1.0], [NAN, INF, -INF, 1.25], 0.25),
        ([NAN, 1.0], [0.0, 1.0], INF),
        ([0.0, 1.0], [NAN, 1.0], INF),
        ([INF], [-INF], INF),
        ([INF], [1.0], INF),
        ([1.0], [1.0, 1.0], INF),
        ([], [], 0.0),
        (2.0, 5.0, 3.0),
        (NAN, NAN, 0.0),
    ],
)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_greatest_difference(got: object, wanted: object, apart: float, dtype: str) -> None:
    assert difference(np.array(got, dtype), np.array(wanted, dtype)) == apart


def test_whole_numbers_and_truths_too() -> None:
    assert difference(np.array([3, -4]), np.array([3, 5])) == 9
    assert difference(np.array([True, False]), np.array([True, True])) == 1
    assert magnitude(np.array([3, -4])) == 4
    assert magnitude(np.array([False, True])) == 1


def test_the_greatest_number() -> None:
    assert magnitude(np.array([1.0, -2.0, NAN, -INF], np.float32)) == 2
    assert magnitude(np.array([NAN])) == magnitude(np.array([])) == 0


def test_a_difference_over_the_greatest_number() -> None:
    assert relative(np.array([1.0, 2.5]), np.array([1.0, 2.0])) == 0.25
    assert relative(np.zeros(2), np.zeros(2)) == 0
    assert relative(np.array([NAN]), np.array([1.0])) == INF

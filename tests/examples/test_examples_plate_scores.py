"""Average precision and characters, against cases worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import camera_rig  # noqa: F401 - makes the example importable
import numpy as np
import pytest
from numpy.typing import NDArray
from plate_pictures import ALPHABET, Plate
from plate_scores import Reading, Score, average_precision, overlap, paired, readings, score


def plate(text: str, x: float, y: float = 50.0, width: float = 40.0) -> Plate:
    return Plate(text, (x, y), (width, 0.0), (0.0, 10.0))


def test_overlap_is_shared_over_joint_area() -> None:
    assert overlap((0, 0, 4, 2), (0, 0, 4, 2)) == 1.0
    assert overlap((0, 0, 4, 2), (2, 1, 6, 3)) == pytest.approx(2 / 14)
    assert overlap((0, 0, 4, 2), (4, 0, 8, 2)) == 0.0
    assert overlap((0, 0, 4, 4), (1, 1, 2, 2)) == pytest.approx(1 / 16)


def test_average_precision_worked_out_by_hand() -> None:
    """Five plates; in order of score: hit, miss, hit, hit, miss, hit. Precision at the hits 1, 2/3, 3/4, 4/6; made to
    fall only: 1, 3/4, 3/4, 2/3; each is worth a fifth of the recall, and the fifth plate is never found."""
    judged = [(0.5, True), (0.9, False), (0.95, True), (0.6, False), (0.8, True), (0.7, True)]
    assert average_precision(judged, 5) == pytest.approx((1 + 3 / 4 + 3 / 4 + 2 / 3) / 5)
    assert average_precision([(0.3, True), (0.2, True)], 2) == 1.0
    assert average_precision([(0.3, False)], 2) == 0.0
    assert average_precision([], 2) == 0.0


def test_a_plate_is_found_once_and_by_the_surest() -> None:
    true = [plate("AAAAAA", 50), plate("CCCCCC", 120)]
    found = [Reading(plate("1AAAAA", 54), 0.6), Reading(plate("AAAAAA", 52), 0.9), Reading(plate("CCCCCC", 150), 0.8)]
    assert [(r.score, p) for r, p in paired(found, true)] == [(0.9, true[0]), (0.8, None), (0.6, None)]


def test_characters_of_plates_that_nobody_found_are_wrong() -> None:
    true = [[plate("AAAAAA", 50), plate("CCCCCC", 120)], [plate("EEEEEE", 60)]]
    found = [
        [Reading(plate("AAAAAA", 50), 0.9)],
        [Reading(plate("EEE111", 61), 0.8), Reading(plate("FFFFFF", 140), 0.7)],
    ]
    judged = score(found, true)
    assert judged.characters == pytest.approx((6 + 3) / 18)
    assert judged.plates == pytest.approx(1 / 3)
    assert judged.average_precision == pytest.approx(2 / 3)


def test_what_is_hardly_sure_counts_for_boxes_alone() -> None:
    judged = score([[Reading(plate("AAAAAA", 50), 0.1)]], [[plate("AAAAAA", 50)]])
    assert judged == Score(1.0, 0.0, 0.0)


def test_the_greater_loss_counts() -> None:
    whole = Score(0.9, 0.95, 0.8)
    assert replace(whole, average_precision=0.88).lost(whole) == pytest.approx(0.02)
    assert replace(whole, average_precision=0.88, characters=0.9).lost(whole) == pytest.approx(0.05)
    assert replace(whole, plates=0.1).lost(whole) == 0.0


def test_outputs_become_readings() -> None:
    letters = np.zeros((1, 3, 6), np.int64)
    letters[0, 1] = [ALPHABET.index(letter) for letter in "P1ATE7"]
    outputs: dict[str, NDArray[np.generic]] = {
        "scores": np.array([[0.9, 0.8, 0.0]], np.float32),
        "places": np.array([[[10, 20, 30, 1, 2, 8], [60, 70, 40, 0, 0, 10], [0] * 6]], np.float32),
        "letters": letters,
    }
    first, second = next(readings(outputs))
    assert first.plate == Plate("000000", (10, 20), (30, 1), (2, 8))
    assert second.plate == Plate("P1ATE7", (60, 70), (40, 0), (0, 10))
    assert second.score == pytest.approx(0.8)

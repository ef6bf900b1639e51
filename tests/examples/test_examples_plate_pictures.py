"""The generated pictures: the same for the same seed, and labels that are where the plates are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from camera_rig import EXAMPLE
from plate_pictures import ALPHABET, LENGTH, MOST_PLATES, SIDE, Plate, laid, network_input, scene, scenes
from plate_samples import write_samples

from isthmus.model import load_model
from isthmus.profile.samples import load_samples


def test_a_seed_is_a_picture() -> None:
    assert np.array_equal(scene(7).pixels, scene(7).pixels)
    assert scene(7).plates == scene(7).plates
    assert [s.plates for s in scenes(3, 7)] == [scene(k).plates for k in (7, 8, 9)]
    assert not np.array_equal(scene(7).pixels, scene(8).pixels)


def test_pictures_hold_one_to_three_plates_that_lie_apart() -> None:
    counts = set()
    for taken in scenes(60, 0):
        assert taken.pixels.shape == (SIDE, SIDE, 3)
        assert taken.pixels.dtype == np.uint8
        counts.add(len(taken.plates))
        for k, plate in enumerate(taken.plates):
            assert len(plate.text) == LENGTH
            assert set(plate.text) <= set(ALPHABET)
            left, top, right, bottom = plate.box
            assert min(left, top) >= 0
            assert max(right, bottom) <= SIDE
            for other in taken.plates[:k]:
                a, b = plate.box, other.box
                assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]
    assert counts == set(range(1, MOST_PLATES + 1))


@pytest.mark.parametrize(
    ("along", "down"), [((96.0, 0.0), (0.0, 24.0)), ((90.0, 18.0), (-4.0, 22.0)), ((100.0, -15.0), (7.0, 26.0))]
)
def test_the_label_is_where_the_plate_was_laid(along: tuple[float, float], down: tuple[float, float]) -> None:
    plate = Plate("A1C3E5", (95.3, 70.8), along, down)
    _, corner, mask = laid(np.random.default_rng(0), plate)
    there = np.asarray(mask, np.float64) / 255
    rows, columns = np.mgrid[: there.shape[0], : there.shape[1]] + 0.5
    area = abs(along[0] * down[1] - along[1] * down[0])
    assert there.sum() == pytest.approx(area, rel=0.01)
    middle = ((columns * there).sum() / there.sum() + corner[0], (rows * there).sum() / there.sum() + corner[1])
    assert middle == pytest.approx(plate.centre, abs=0.25)  # edges fall on half pixels
    seen = np.argwhere(there > 0.5)
    upright = (*(seen.min(0)[::-1] + corner), *(seen.max(0)[::-1] + corner + 1))
    assert upright == pytest.approx(plate.box, abs=1.0)
    assert plate.box == pytest.approx(
        (*np.min(plate.corners, axis=0), *np.max(plate.corners, axis=0)),
    )


def test_the_writing_goes_along_the_plate() -> None:
    """The left half of a plate does not change with what is written on the right."""
    plates = [Plate(text, (96.0, 96.0), (100.0, 0.0), (0.0, 25.0)) for text in ("AAAAAA", "AAAWWW")]
    first, second = (np.asarray(laid(np.random.default_rng(3), plate)[0], np.int16) for plate in plates)
    apart = np.abs(first - second).sum(axis=(0, 2))
    assert apart[:45].sum() == 0
    assert apart[55:].sum() > 0


def test_the_network_takes_pixels_from_0_to_1() -> None:
    made = network_input(np.full((SIDE, SIDE, 3), (255, 0, 51), np.uint8))
    assert made.shape == (1, 3, SIDE, SIDE)
    assert made.dtype == np.float32
    assert made[0, :, 5, 5] == pytest.approx((1.0, 0.0, 0.2))


def test_samples_for_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    write_samples(path, 3, seed=500_000)
    found = load_samples(path, load_model(str(EXAMPLE / "plates.onnx")))
    assert len(found) == 3
    assert np.array_equal(found.inputs["image"][1:2], network_input(scene(500_001).pixels))

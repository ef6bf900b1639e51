"""Zip files that list their pictures' classes: what is read, how pictures are fitted, what is refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from isthmus.errors import BadInput
from isthmus.profile.datasets import judged_pictures
from isthmus.profile.datasets.listed import is_listed, listed
from isthmus.profile.datasets.reading import fitted

pillow = pytest.importorskip("PIL.Image", reason="pillow is not installed")


def archive(path: Path, sides: tuple[int, ...], *, grey: bool = False) -> Path:
    """Pictures i.png whose values are all 10 · i, and their classes 2 · i, listed backwards."""
    with zipfile.ZipFile(path, "w") as made:
        for i, side in enumerate(sides):
            buffer = io.BytesIO()
            pillow.new("L" if grey else "RGB", (side, side), 10 * i if grey else (10 * i,) * 3).save(buffer, "PNG")
            made.writestr(f"{i}.png", buffer.getvalue())
        made.writestr("labels.txt", "".join(f"{i}.png {2 * i}\n" for i in reversed(range(len(sides)))))
    return path


@pytest.mark.parametrize("grey", [False, True])
def test_in_the_order_of_the_list_and_coloured(tmp_path: Path, grey: bool) -> None:
    path = archive(tmp_path / "some.zip", (8, 9, 30, 4, 8), grey=grey)
    assert is_listed(path)
    part = listed(path, side=8)
    assert part.pictures.shape == (5, 3, 8, 8)
    assert part.labels.tolist() == [8, 6, 4, 2, 0]
    assert part.pictures[:, :, 0, 0].tolist() == [[40] * 3, [30] * 3, [20] * 3, [10] * 3, [0] * 3]


def test_a_few_are_evenly_spread(tmp_path: Path) -> None:
    path = archive(tmp_path / "some.zip", (8,) * 9)
    name, pictures, labels = judged_pictures(path, side=8, most=3)
    assert (name, labels.tolist()) == ("some", [16, 8, 0])
    assert pictures.dtype == np.float32
    assert pictures.max() == np.float32(80 / 255)
    assert judged_pictures(path, side=8, most=100)[2].tolist() == list(range(16, -1, -2))


def test_a_little_too_large_is_cut_and_much_is_resized() -> None:
    """227 → 224 keeps the pixels of the centre; 256 → 224 and 200 → 224 change them all."""
    rng = np.random.default_rng(0)
    for side, cut in ((227, True), (252, True), (253, False), (200, False), (224, True)):
        values = rng.integers(0, 256, (3, side, side), np.uint8)
        made = fitted(values, 224)
        assert made.shape == (3, 224, 224)
        start = (side - 224) // 2
        centre = values[:, start : start + 224, start : start + 224] if side >= 224 else None
        assert (centre is not None and np.array_equal(made, centre)) == cut


def test_what_is_no_list(tmp_path: Path) -> None:
    path = tmp_path / "bad.zip"
    path.write_bytes(b"PK")
    assert not is_listed(path)
    with pytest.raises(BadInput, match=r"no zip file of pictures with a labels\.txt"):
        judged_pictures(path)
    for lines, problem in (("a.png 1 2", "line 1"), ("\n0.png 99999999999", "line 2"), ("none.png 3", "none.png")):
        with zipfile.ZipFile(path, "w") as made:
            made.writestr("0.png", b"no picture")
            made.writestr("labels.txt", lines)
        with pytest.raises(BadInput, match=problem):
            listed(path, side=8)
    with zipfile.ZipFile(path, "a") as made, pytest.warns(UserWarning, match="Duplicate"):
        made.writestr("labels.txt", "0.png 3")
    with pytest.raises(BadInput, match="no picture that can be read"):
        listed(path, side=8)

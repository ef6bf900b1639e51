"""The palette: any two causes can be told apart with any colour vision, in both modes, and text can be read.

Dichromats see through the matrices of Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB; distance is
CIE76 in Lab, where 2.3 is just noticeable.
"""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.report import style
from isthmus.report.columns import DRAWN_CAUSES

VISION = {
    name: np.array(rows).reshape(3, 3)
    for name, rows in {
        "trichromat": (1, 0, 0, 0, 1, 0, 0, 0, 1),
        "protanope": (0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998),
        "deuteranope": (0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.011820, 0.042940, 0.968881),
        "tritanope": (1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.303900),
    }.items()
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> NDArray[np.float64]:
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(colour: str, vision: str) -> NDArray[np.float64]:
    xyz = TO_XYZ @ np.clip(VISION[vision] @ linear(colour), 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(a: str, b: str, vision: str) -> float:
    return float(np.linalg.norm(lab(a, vision) - lab(b, vision)))


def contrast(a: str, b: str) -> float:
    bright, dark = sorted((float(TO_XYZ[1] @ linear(c)) for c in (a, b)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


MODES = pytest.mark.parametrize(
    ("palette", "ink"), [(style.LIGHT, style.LIGHT_INK), (style.DARK, style.DARK_INK)], ids=["light", "dark"]
)


@pytest.mark.parametrize("vision", VISION)
@MODES
def test_causes_are_told_apart_and_seen(palette: dict[str, str], ink: dict[str, str], vision: str) -> None:
    assert tuple(palette) == DRAWN_CAUSES
    apart = {(a, b): distance(palette[a], palette[b], vision) for a, b in combinations(palette, 2)}
    assert min(apart.values()) > 15, sorted(apart.items(), key=lambda item: item[1])[:4]
    assert min(apart[pair] for pair in pairwise(DRAWN_CAUSES)) > 28, apart
    assert min(distance(colour, ink["card"], vision) for colour in palette.values()) > 20


def test_the_measure_itself_knows_a_bad_pair() -> None:
    assert distance("#c00000", "#6b6b00", "protanope") < distance("#c00000", "#6b6b00", "trichromat") / 2


@MODES
def test_text_can_be_read(palette: dict[str, str], ink: dict[str, str]) -> None:
    for paper in ("page", "card"):
        assert all(contrast(ink[text], ink[paper]) >= 4.5 for text in ("ink", "soft", "good", "bad"))

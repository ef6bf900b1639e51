"""Pictures as a car-park camera takes them, with exact labels: where the plates are, and what they say.

Each picture follows from its seed alone. Plates are drawn flat, then laid into the scene by an affine map (scaled,
turned, sheared), so their corners are known exactly. Around them: gradients, boxes, bars, discs, stripes that resemble
writing, blur, uneven light and the noise of a sensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE = 192
"""Pixels each way."""
ALPHABET = "0123456789ACDEFGHJKLMNPRTUVWXY"
"""Without B, I, O, Q, S and Z, which resemble 8, 1, 0, 0, 5 and 2, as on real plates."""
LENGTH = 6
"""Characters on a plate."""
MOST_PLATES = 3
_FLAT = (256, 64)
_STYLES = (((250, 250, 245), (15, 15, 25)), ((245, 205, 45), (20, 20, 20)), ((30, 60, 130), (240, 240, 240)))
"""Ground and writing."""

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""


@dataclass(frozen=True)
class Plate:
    """What is written, and the parallelogram it is written on, in pixels: its centre, the edge along the writing and
    the edge down."""

    text: str
    centre: tuple[float, float]
    along: tuple[float, float]
    down: tuple[float, float]

    @property
    def box(self) -> Box:
        """The upright box around it."""
        reach = [(abs(a) + abs(d)) / 2 for a, d in zip(self.along, self.down, strict=True)]
        (x, y), (dx, dy) = self.centre, reach
        return x - dx, y - dy, x + dx, y + dy

    @property
    def corners(self) -> list[tuple[float, float]]:
        """Top left, top right, bottom right, bottom left, as seen by a reader."""
        signs = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
        (x, y), (ax, ay), (dx, dy) = self.centre, self.along, self.down
        return [(x + s * ax + t * dx, y + s * ay + t * dy) for s, t in signs]


@dataclass(frozen=True)
class Scene:
    """A picture (uint8, SIDE × SIDE × 3) and its plates."""

    pixels: Pixels
    plates: tuple[Plate, ...]


def scene(seed: int) -> Scene:
    """The picture of this seed, the same on every machine with the same version of Pillow."""
    rng = np.random.default_rng(seed)
    picture = _ground(rng)
    plates: list[Plate] = []
    for _ in range(int(rng.integers(1, MOST_PLATES + 1))):
        placed = _placed(rng, [p.box for p in plates])
        if placed is not None:
            picture.paste(*laid(rng, placed))
            plates.append(placed)
    return Scene(_taken(rng, picture), tuple(plates))


def scenes(count: int, seed: int) -> Iterator[Scene]:
    """Pictures of the seeds `seed`, `seed + 1`, ..."""
    return (scene(seed + k) for k in range(count))


def network_input(pixels: Pixels) -> Floats:
    """What the network takes: 1 × 3 × SIDE × SIDE, from 0 to 1."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32) / np.float32(255)


def _placed(rng: np.random.Generator, taken: list[Box]) -> Plate | None:
    """A plate somewhere within the picture, clear of the others; None where twenty tries found no room."""
    text = "".join(rng.choice(list(ALPHABET), LENGTH))
    for _ in range(20):
        width = rng.uniform(76, 120)
        height = width / 4 * rng.uniform(0.9, 1.2)
        angle, shear = rng.uniform(-0.22, 0.22), rng.uniform(-0.2, 0.2)
        along = (width * math.cos(angle), width * math.sin(angle))
        down = (
            height * (shear * math.cos(angle) - math.sin(angle)),
            height * (shear * math.sin(angle) + math.cos(angle)),
        )
        reach = [(abs(a) + abs(d)) / 2 + 2 for a, d in zip(along, down, strict=True)]
        x, y = (float(rng.uniform(r, SIDE - r)) for r in reach)
        plate = Plate(text, (x, y), along, down)
        if all(_apart(plate.box, other) for other in taken):
            return plate
    return None


def _apart(a: Box, b: Box, gap: float = 3.0) -> bool:
    return a[2] + gap < b[0] or b[2] + gap < a[0] or a[3] + gap < b[1] or b[3] + gap < a[1]


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font: no file is needed."""
    return ImageFont.load_default(size=size)


def laid(rng: np.random.Generator, plate: Plate) -> tuple[Image.Image, tuple[int, int], Image.Image]:
    """The plate as it lies in the scene: pixels around it, where they go, and which of them are the plate's."""
    flat = _flat(rng, plate.text)
    box = (*(math.floor(v) for v in plate.box[:2]), *(math.ceil(v) for v in plate.box[2:]))
    size = (box[2] - box[0], box[3] - box[1])
    to_scene = np.array(
        [
            [plate.along[0] / _FLAT[0], plate.down[0] / _FLAT[1]],
            [plate.along[1] / _FLAT[0], plate.down[1] / _FLAT[1]],
        ]
    )
    back = np.linalg.inv(to_scene)
    offset = np.array(_FLAT) / 2 - back @ (np.array(plate.centre) - np.array(box[:2]))
    rows = (*back[0], offset[0], *back[1], offset[1])
    # twice as fine, then halved: an affine map samples single points, which would leave the writing jagged
    fine = tuple(v / 2 if k % 3 < 2 else v for k, v in enumerate(rows))
    double = (2 * size[0], 2 * size[1])
    laid = flat.transform(double, Image.Transform.AFFINE, fine, Image.Resampling.BILINEAR).resize(size)
    whole = Image.new("L", _FLAT, 255).transform(double, Image.Transform.AFFINE, fine, Image.Resampling.BILINEAR)
    return laid, (box[0], box[1]), whole.resize(size)


def _flat(rng: np.random.Generator, text: str) -> Image.Image:
    """The plate as it was made: a rim, a ground, six characters in equal slots."""
    ground, ink = _STYLES[int(rng.choice(len(_STYLES), p=[0.6, 0.25, 0.15]))]
    plate = Image.new("RGB", _FLAT, ground)
    pen = ImageDraw.Draw(plate)
    pen.rectangle((1, 1, _FLAT[0] - 2, _FLAT[1] - 2), outline=ink, width=int(rng.integers(2, 4)))
    font, bold = _font(int(rng.integers(47, 55))), int(rng.integers(0, 2))
    pitch = (_FLAT[0] - 20) / LENGTH
    for k, letter in enumerate(text):
        middle = (10 + (k + 0.5) * pitch + rng.uniform(-1.5, 1.5), _FLAT[1] / 2 + rng.uniform(-1.5, 1.5))
        pen.text(middle, letter, ink, font=font, anchor="mm", stroke_width=bold)
    return plate


def _ground(rng: np.random.Generator) -> Image.Image:
    """Light that changes across the picture, coarse stains, and things that are no plates."""
    corners = rng.uniform(20, 230, (2, 2, 3)).astype(np.uint8)
    light = Image.fromarray(corners).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    stains = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    picture = Image.blend(light, stains, float(rng.uniform(0, 0.4)))
    pen = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(3, 12))):
        _thing(rng, pen)
    return Image.blend(picture.convert("L").convert("RGB"), picture, float(rng.uniform(0.15, 0.6)))


def _thing(rng: np.random.Generator, pen: ImageDraw.ImageDraw) -> None:
    """A box, a disc, a bar, or a light strip with dark strokes that is as long as a plate and says nothing."""
    colour = tuple(int(v) for v in rng.integers(0, 256, 3))
    x, y = (float(v) for v in rng.uniform(-10, SIDE - 20, 2))
    wide, high = (float(v) for v in rng.uniform(8, 90, 2))
    kind = int(rng.integers(0, 4))
    if kind == 0:
        pen.rectangle((x, y, x + wide, y + high), fill=colour)
    elif kind == 1:
        pen.ellipse((x, y, x + wide, y + high), fill=colour)
    elif kind == 2:
        pen.line((x, y, x + 2 * wide - 90, y + 2 * high - 90), fill=colour, width=int(rng.integers(1, 9)))
    else:
        wide, high = float(rng.uniform(50, 110)), float(rng.uniform(14, 30))
        pen.rectangle((x, y, x + wide, y + high), fill=(235, 235, 230), outline=(20, 20, 20))
        for place in np.arange(x + 6, x + wide - 4, rng.uniform(6, 14)):
            pen.line((place, y + 4, place + rng.uniform(-4, 4), y + high - 4), fill=(25, 25, 30), width=3)


def _taken(rng: np.random.Generator, picture: Image.Image) -> Pixels:
    """As the camera takes it: lens blur, exposure, noise."""
    blurred = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.0, 0.7))))
    values = np.asarray(blurred, np.float32)
    values = (values - 128) * rng.uniform(0.65, 1.05) + 128 + rng.uniform(-35, 35)
    values += rng.uniform(3, 12) * rng.standard_normal(values.shape, dtype=np.float32)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)

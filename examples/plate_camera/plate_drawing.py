"""Pictures with what was read on them: green where every character is right, red where one is wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from plate_pictures import SIDE, Plate, Scene
from plate_scores import SURE, Reading, paired

SCALE = 1.5
_SIDE = round(SIDE * SCALE)
_LEFT, _HEAD, _GAP = 178, 10, 6
_RIGHT, _WRONG, _MISSED = (10, 130, 60), (200, 30, 40), (235, 150, 20)


@dataclass(frozen=True)
class Row:
    """One way to run the network: its name, a line or two about it, and a picture of each answer."""

    title: str
    note: str
    pictures: Sequence[Image.Image]


def sheet(rows: Sequence[Row]) -> Image.Image:
    """A row for each way, a column for each picture."""
    heights = [max(picture.height for picture in row.pictures) + _GAP for row in rows]
    width = _LEFT + len(rows[0].pictures) * (_SIDE + _GAP)
    made = Image.new("RGB", (width, _HEAD + sum(heights)), (255, 255, 255))
    pen = ImageDraw.Draw(made)
    for down, row in enumerate(rows):
        top = _HEAD + sum(heights[:down])
        pen.text((8, top + 8), row.title, (20, 20, 20), font=ImageFont.load_default(size=17))
        pen.multiline_text((8, top + 36), row.note, (90, 90, 90), font=ImageFont.load_default(size=13), spacing=5)
        for across, picture in enumerate(row.pictures):
            made.paste(picture, (_LEFT + across * (_SIDE + _GAP), top))
    return made


def tiled(crossing: NDArray[np.generic]) -> Image.Image:
    """What crosses for one picture (1 × C × H × W), its channels side by side, dark to light from least to most."""
    values = np.asarray(crossing, np.float32)[0]
    levels = np.rint(255 * (values - values.min()) / max(float(np.ptp(values)), 1e-9)).astype(np.uint8)
    columns = math.ceil(math.sqrt(len(levels)))
    size = (_SIDE - (columns - 1) * _GAP) // columns
    height = -(-len(levels) // columns) * (size + _GAP) - _GAP
    made = Image.new("RGB", (_SIDE, height), (255, 255, 255))
    for k, channel in enumerate(levels):
        place = (k % columns * (size + _GAP), k // columns * (size + _GAP))
        made.paste(Image.fromarray(channel).resize((size, size), Image.Resampling.NEAREST), place)
    return made


def annotated(taken: Scene, found: Sequence[Reading]) -> Image.Image:
    """One picture, enlarged, with its readings; plates that nobody found are marked in orange."""
    made = Image.fromarray(taken.pixels).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(made)
    pairs = paired([r for r in found if r.score >= SURE], taken.plates)
    seen = [plate for _, plate in pairs if plate is not None]
    for missed in taken.plates:
        if missed not in seen:
            _outlined(pen, missed, _MISSED)
    for reading, plate in pairs:
        right = plate is not None and plate.text == reading.plate.text
        _outlined(pen, reading.plate, _RIGHT if right else _WRONG)
        _said(pen, reading.plate, plate)
    return made


def _outlined(pen: ImageDraw.ImageDraw, plate: Plate, colour: tuple[int, int, int]) -> None:
    corners = [(x * SCALE, y * SCALE) for x, y in plate.corners]
    pen.line([*corners, corners[0]], fill=colour, width=3)


def _said(pen: ImageDraw.ImageDraw, read: Plate, true: Plate | None) -> None:
    """What was read, in a tag below the plate (above it at the lower edge), wrong characters in red."""
    font, step = ImageFont.load_default(size=17), 13
    left, top, _, bottom = (v * SCALE for v in read.box)
    y = bottom + 3 if bottom + 24 < _SIDE else top - 24
    x = min(max(2.0, left), _SIDE - step * len(read.text) - 8)
    pen.rectangle((x, y, x + step * len(read.text) + 5, y + 20), fill=(255, 255, 255), outline=(120, 120, 120))
    for k, letter in enumerate(read.text):
        right = true is not None and letter == true.text[k]
        middle = (x + 3 + (k + 0.5) * step, y + 10)
        pen.text(middle, letter, _RIGHT if right else _WRONG, font=font, anchor="mm", stroke_width=0.3)

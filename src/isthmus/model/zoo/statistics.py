"""Mean and spread of what each layer of a zoo network reads, measured once: the statistics a batch norm would hold.

`statistics.json` is written by `scripts/measure_zoo.py`, which runs each network layer by layer on standard-normal
input while its weights are made. Without them (or with formulas in their place) small errors multiply over a hundred
layers until activations vanish or explode.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("statistics.json")


class Spread(NamedTuple):
    """Mean and standard deviation over inputs, channels and positions."""

    mean: float
    std: float


@cache
def statistics() -> dict[str, tuple[Spread, ...]]:
    """Network → the spread of the input of each layer with weights, in the order in which they are written."""
    stored: dict[str, list[float]] = json.loads(FILE.read_text())
    return {name: tuple(map(Spread, flat[::2], flat[1::2])) for name, flat in stored.items()}

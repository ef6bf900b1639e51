"""Distortion tables of zoo networks for `autosplit.py`: measured once and kept in a folder, one file a network.

Zoo networks are not trained: their weights are drawn, layer by layer so that every activation has unit variance. Their
inputs are pictures of ImageNet's validation set (ISTHMUS_DATA) prepared as torchvision does, or else random numbers,
which the tables say. What JPEG and WebP do to those pictures is measured as well.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

from isthmus.codec import PictureScale
from isthmus.files import read_json, write_json
from isthmus.model import Model, load_model
from isthmus.profile.datasets import judged_pictures
from isthmus.profile.distortion import RANDOM, measure_distortions, random_samples
from isthmus.profile.samples import Samples
from isthmus.quant import Distortions

SCALE = PictureScale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SAMPLES = 8
BROAD = 300
"""Inputs of so many pixels a side and more are dear to run: a quarter of the samples do."""


def measured_tables(name: str, folder: Path, *, samples: int = SAMPLES) -> tuple[Distortions, float]:
    """The tables of a zoo network, from the folder or measured into it, and the seconds that took (0: they were there).
    Raises BadInput for a file that is no such table."""
    path = folder / f"{name}.json"
    if path.is_file():
        return read_json(path, Distortions), 0.0
    began = time.perf_counter()
    model = load_model(f"zoo:{name}")
    side = model.inputs[0].at(1)[-1]
    given, source = samples_of(model, max(2, samples // 4) if side >= BROAD else samples)
    found = measure_distortions(model, given, source=source, picture=None if source == RANDOM else SCALE)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, found)
    return found, time.perf_counter() - began


def samples_of(model: Model, count: int) -> tuple[Samples, str]:
    """So many pictures as the network takes them, and where they are from."""
    data = os.environ.get("ISTHMUS_DATA")
    shape = model.inputs[0].at(1)
    if not data or len(model.inputs) != 1 or len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
        return random_samples(model, count), RANDOM
    _, pictures, _ = judged_pictures("imagenet", data_folder=Path(data), side=shape[2], most=count)
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (SCALE.mean, SCALE.std))
    return Samples({model.inputs[0].name: (pictures - mean) / std}), "ImageNet pictures, drawn weights"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the tables are kept")
    parser.add_argument("models", help="names of zoo networks, with commas between")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    asked = parser.parse_args()
    for name in asked.models.split(","):
        found, took_s = measured_tables(name, asked.folder, samples=asked.samples)
        print(f"{name}: {len(found.layers)} layers on {found.samples} of {found.source} in {took_s:.1f} s", flush=True)


if __name__ == "__main__":
    main()

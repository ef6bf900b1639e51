"""Writes pictures as the file of samples that `isthmus quantize --data` takes.

python examples/plate_camera/plate_samples.py samples.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from plate_pictures import scenes
from plate_pipeline import CALIBRATION_SEED, samples


def write_samples(path: Path, count: int, *, seed: int) -> None:
    """`count` pictures of the seeds from `seed` on, as the network takes them."""
    np.savez_compressed(path, image=samples(scenes(count, seed)).inputs["image"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--pictures", type=int, default=32)
    given = parser.parse_args()
    write_samples(given.path, given.pictures, seed=CALIBRATION_SEED)


if __name__ == "__main__":
    main()

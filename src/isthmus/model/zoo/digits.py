"""The one trained network that ships, a small CNN with three exits, and the digits it was trained and tested on.

The network is made by `scripts/train_digits.py`; the accuracies of its exits are stated in the tests. The pictures are
those of scikit-learn's `load_digits` (E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine
Learning Repository, CC BY 4.0), 1,797 of 8 × 8 in 17 levels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isthmus.model.onnx_file import load_model_file
from isthmus.model.types import Model

_HERE = Path(__file__).parent
DIGITS_LEVELS = 16.0
"""A white pixel."""
Pictures = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Pictures (N × 1 × 8 × 8, 0 … 16) and labels."""


def digits(*, weights: bool = True, seed: int = 0) -> Model:
    """Input N × 1 × 8 × 8 in 0 … 1, outputs `exit1`, `exit2`, `exit3` (logits). The weights are trained: `seed` is of
    no consequence."""
    del seed
    return load_model_file(_HERE / "digits.onnx", weights=weights)


def digits_parts() -> tuple[Pictures, Pictures]:
    """What the network was trained on, and every fourth picture, which it was not."""
    with np.load(_HERE / "digits.npz", allow_pickle=False) as stored:
        images, labels = stored["images"], stored["labels"].astype(np.int64)
    test = np.arange(len(labels)) % 4 == 3
    return (images[~test], labels[~test]), (images[test], labels[test])


def digits_test() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Pictures (float32, N × 1 × 8 × 8, 0 … 1) and labels (int64) that the network was not trained on."""
    _, (images, labels) = digits_parts()
    return images.astype(np.float32) / np.float32(DIGITS_LEVELS), labels

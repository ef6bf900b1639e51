"""The one trained network that ships: a small CNN with three exits on scikit-learn's digits, and its test pictures.

Made by `scripts/train_digits.py`; the accuracies of its exits are stated in the tests.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isthmus.model.onnx_file import load_model_file
from isthmus.model.types import Model

_HERE = Path(__file__).parent
_LEVELS = 16.0


def digits(*, weights: bool = True, seed: int = 0) -> Model:
    """Input N × 1 × 8 × 8 in 0 … 1, outputs `exit1`, `exit2`, `exit3` (logits). The weights are trained: `seed` is of
    no consequence."""
    del seed
    return load_model_file(_HERE / "digits.onnx", weights=weights)


def digits_test() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Pictures (float32, N × 1 × 8 × 8, 0 … 1) and labels (int64) that the network was not trained on."""
    with np.load(_HERE / "digits_test.npz", allow_pickle=False) as stored:
        return stored["images"].astype(np.float32) / np.float32(_LEVELS), stored["labels"].astype(np.int64)

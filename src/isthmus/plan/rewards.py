"""What a strategy is worth: how a configuration map weighs accuracy against speed.

Both are 0 where the latency requirement is broken. Accuracy is a share (0…1), throughput batch / latency, inferences
per second.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import BadInput
from isthmus.plan.map_types import RewardName

REWARD_OF: Mapping[str, RewardName] = {"edgent_map": "edgent", "edgent_map_accuracy": "accuracy_first"}
"""By what each planner with a configuration map weighs."""
Floats = NDArray[np.float64]
_SPEED = 1e-3
"""What all the speed in the world is worth beside accuracy: a tenth of a point."""


def reward(
    name: RewardName, accuracy: float, latency_s: Floats | float, within_s: float | None, batch: int = 1
) -> Floats:
    """Reward of strategies of one accuracy at these latencies, seconds of `batch` samples each; an array of the same
    shape.

    `edgent`: e^accuracy + throughput (Li et al., IEEE TWC 2020, §III-D). The first term lies between 1 and 2.72, so
    wherever an inference takes less than a few tenths of a second throughput decides and the earliest exit wins
    (noted by Laskaridis et al., SPINN, MobiCom 2020, §7); take `accuracy_first` where that is not wanted.

    `accuracy_first`: accuracy + 0.001 · throughput / (1 + throughput): a tenth of a point of accuracy outweighs any
    speed; of equally accurate strategies the fastest wins.
    """
    latency = np.asarray(latency_s, np.float64)
    if name == "edgent":
        worth = np.exp(accuracy) + batch / latency
    elif name == "accuracy_first":
        worth = accuracy + _SPEED * batch / (batch + latency)
    else:
        raise BadInput(f"'{name}' is no reward; there are edgent and accuracy_first")
    in_time = latency <= (np.inf if within_s is None else within_s)
    found: Floats = np.where(in_time, worth, 0.0)
    return found

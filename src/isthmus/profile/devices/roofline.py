"""Seconds by the roofline model (Williams, Waterman, Patterson, CACM 52(4), 2009): arithmetic or data, whichever is
more, and never less than it takes to start the next layer. Narrower numbers move faster and are multiplied no faster.

Against published PyTorch figures of one GPU (NVIDIA DeepLearningExamples, V100, FP32, EfficientNet-B0 and -B4 at
batches 1 … 256) the peaks of the data sheet and 50 µs a layer, nothing fused, give 0.73 to 1.10 of what was measured.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.profile.devices.types import Roofline
from isthmus.profile.devices.workload import Workload


def roofline_s(device: Roofline, work: Workload, weight_bits: Any, input_bits: Any, output_bits: Any) -> Any:
    """Seconds of every node, shape (…, nodes); each width a number or an array that broadcasts to that shape."""
    busy_s = 2.0 * work.macs / (device.peak_flops * device.efficiency)
    bits = work.weights * weight_bits + work.reads * input_bits + work.writes * output_bits
    moving_s = bits / 8 / device.bandwidth_bytes_per_s
    return np.maximum(np.maximum(busy_s, moving_s), device.launch_s * work.works)

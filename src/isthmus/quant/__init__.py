"""Ranges, calibration and the uniform quantiser."""

from isthmus.quant.ranges import Calibrator, ChannelClip, narrowed, narrows, sigmas
from isthmus.quant.scratch import SLAB, scratch
from isthmus.quant.uniform import Grid, Range, quantise, restore

__all__ = [
    "SLAB",
    "Calibrator",
    "ChannelClip",
    "Grid",
    "Range",
    "narrowed",
    "narrows",
    "quantise",
    "restore",
    "scratch",
    "sigmas",
]

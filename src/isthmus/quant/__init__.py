"""Ranges, calibration and the uniform quantiser."""

from isthmus.quant.ranges import Calibrator, ChannelClip, narrowed, narrows
from isthmus.quant.scratch import SLAB, scratch
from isthmus.quant.uniform import Grid, quantise, restore

__all__ = ["SLAB", "Calibrator", "ChannelClip", "Grid", "narrowed", "narrows", "quantise", "restore", "scratch"]

"""Ranges, calibration and the uniform quantiser."""

from isthmus.quant.ranges import Calibrator, ChannelClip, narrowed, narrows, sigmas
from isthmus.quant.scratch import SLAB, scratch
from isthmus.quant.types import BitPlan, Distortions, LayerBits, OutputBits, RangeName
from isthmus.quant.uniform import Grid, Range, quantise, restore

__all__ = [
    "SLAB",
    "BitPlan",
    "Calibrator",
    "ChannelClip",
    "Distortions",
    "Grid",
    "LayerBits",
    "OutputBits",
    "Range",
    "RangeName",
    "narrowed",
    "narrows",
    "quantise",
    "restore",
    "scratch",
    "sigmas",
]

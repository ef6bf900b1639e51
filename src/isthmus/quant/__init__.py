"""Ranges, calibration, the uniform quantisers, and what they cost layer by layer."""

from isthmus.quant.clip import steps_for
from isthmus.quant.fit import layer_weights, need_quantisable, weight_values
from isthmus.quant.histogram import Histogram
from isthmus.quant.levelled import Levelled, levelled, levels_of
from isthmus.quant.qdq import QuantisedHead, quantised_head
from isthmus.quant.ranges import Calibrator, ChannelClip, narrowed, narrows, sigmas
from isthmus.quant.scratch import SLAB, scratch
from isthmus.quant.steps import Steps
from isthmus.quant.types import BitPlan, Distortions, LayerBits, OutputBits, RangeName, Upload
from isthmus.quant.uniform import Grid, Range, quantise, restore
from isthmus.quant.weights import Channels, Levels, channel_axis, quantise_weight

__all__ = [
    "SLAB",
    "BitPlan",
    "Calibrator",
    "ChannelClip",
    "Channels",
    "Distortions",
    "Grid",
    "Histogram",
    "LayerBits",
    "Levelled",
    "Levels",
    "OutputBits",
    "QuantisedHead",
    "Range",
    "RangeName",
    "Steps",
    "Upload",
    "channel_axis",
    "layer_weights",
    "levelled",
    "levels_of",
    "narrowed",
    "narrows",
    "need_quantisable",
    "quantise",
    "quantise_weight",
    "quantised_head",
    "restore",
    "scratch",
    "sigmas",
    "steps_for",
    "weight_values",
]

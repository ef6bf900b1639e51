"""Seconds: what a model costs on a machine. Reading profiles is light; `measure` and `accuracy` run the engine and are
imported by their own names, so that planning does not need onnxruntime."""

from isthmus.profile.exits import ExitRow, ExitTable, cascade, leaves
from isthmus.profile.times import Times
from isthmus.profile.types import (
    AccuracyRow,
    BatchProfile,
    CodecTiming,
    Fit,
    Machine,
    MachineKind,
    Profile,
    RuntimeMemory,
    Timing,
)

__all__ = [
    "AccuracyRow",
    "BatchProfile",
    "CodecTiming",
    "ExitRow",
    "ExitTable",
    "Fit",
    "Machine",
    "MachineKind",
    "Profile",
    "RuntimeMemory",
    "Times",
    "Timing",
    "cascade",
    "leaves",
]

"""One request as it went (`Step`), the journal that keeps them all, and the numbers it boils down to."""

from __future__ import annotations

from isthmus.link.types import Side
from isthmus.record.batching import Batching
from isthmus.record.journal import Header, Journal, check_step, read_journal
from isthmus.record.late import Lateness, crossing_s, late_of
from isthmus.record.summary import CAUSES, ExitUse, Place, Summary, fell_back, in_order, summarise, true_rate_bps
from isthmus.record.types import Choice, Chooser, Evidence, Ran, Seconds, Step, StepWriter

__all__ = [
    "CAUSES",
    "Batching",
    "Choice",
    "Chooser",
    "Evidence",
    "ExitUse",
    "Header",
    "Journal",
    "Lateness",
    "Place",
    "Ran",
    "Seconds",
    "Side",
    "Step",
    "StepWriter",
    "Summary",
    "check_step",
    "crossing_s",
    "fell_back",
    "in_order",
    "late_of",
    "read_journal",
    "summarise",
    "true_rate_bps",
]

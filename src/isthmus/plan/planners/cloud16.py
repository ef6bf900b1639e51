"""CLOUD16 of Auto-Split (KDD 2021): all on the server, whose numbers are what its profile says (16 bits on the paper's
TPU); the input travels as a camera gives it, 8 bits a number."""

from __future__ import annotations

from dataclasses import replace

from isthmus.plan.choose import choose
from isthmus.plan.planners.server_only import options
from isthmus.plan.types import Plan, Problem

CAMERA = "int8"


def cloud16(problem: Problem) -> Plan:
    """Upload at 8 bits, whatever codecs the problem allows for the input. Raises NoPlan where that breaks a limit."""
    asked = replace(problem, codecs={}, default_codecs=(CAMERA,))
    return choose(asked, "cloud16", options(asked))

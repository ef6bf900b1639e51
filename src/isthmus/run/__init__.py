"""Serving and asking: a model across two machines, over a bare TCP stream, or gRPC where only HTTP/2 passes. The device
finishes whatever the network cannot."""

from __future__ import annotations

from isthmus.record.types import StepWriter
from isthmus.run.awake import processors_awake
from isthmus.run.batcher import Batcher
from isthmus.run.client import Session
from isthmus.run.connect import connect_engine
from isthmus.run.oip_client import infer_remote
from isthmus.run.probe import LinkReport, ProbeRow, probe
from isthmus.run.server import Server, serve
from isthmus.run.types import MODES, PROTOCOL, Answer, Bounds, Mode, Runner

__all__ = [
    "MODES",
    "PROTOCOL",
    "Answer",
    "Batcher",
    "Bounds",
    "LinkReport",
    "Mode",
    "ProbeRow",
    "Runner",
    "Server",
    "Session",
    "StepWriter",
    "connect_engine",
    "infer_remote",
    "probe",
    "processors_awake",
    "serve",
]

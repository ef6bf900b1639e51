"""How large a model may be. Everything is checked against these before memory is given to it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds on a model file; the defaults are what fits protobuf (2 GiB a message) with room to spare."""

    file_bytes: int = 2_000_000_000
    """the .onnx file itself"""
    weight_bytes: int = 2_000_000_000
    """all initializers together, external data included"""
    nodes: int = 100_000
    initializers: int = 100_000
    name_chars: int = 1_000
    rank: int = 16
    activation_bytes: int = 4_000_000_000
    """one activation at batch 1"""
    window_work: float = 1e12
    """elements of one node's result times those of the window that each is made from: minutes of one core"""
    graph_bytes: int = 200_000_000
    """the graph once its large weights are put aside"""


LIMITS = Limits()
OLDEST_OPSET, NEWEST_OPSET = 7, 26
"""What onnxruntime accepts; onnx converts upwards from all of them."""
NEWEST_IR = 13
"""What onnxruntime accepts."""

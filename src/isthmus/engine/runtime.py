"""onnxruntime, kept to itself: 1.31 would give this machine an identifier and keep what is run on it in the user's
cache folder, for a thread of its own to upload."""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it looks when it is imported

import onnxruntime as ort

__all__ = ["ort"]

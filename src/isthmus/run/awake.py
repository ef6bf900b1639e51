"""Keeping this machine's processors from sleeping, for a server whose answers are wanted at once."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isthmus.errors import BadInput

LATENCY = Path("/dev/cpu_dma_latency")
"""Linux (PM QoS): as long as somebody holds this open, no processor enters a sleep that takes longer to leave than the
microseconds written to it."""
_AT_ONCE = struct.pack("=i", 0)


@contextmanager
def processors_awake(device: Path = LATENCY) -> Iterator[None]:
    """While this lasts an idle processor of this machine polls instead of sleeping. Waking one took 0.2 to 3 ms on a
    virtual machine, once for a request and once for its answer; awake they cost the power of busy ones. Raises
    BadInput, in one sentence, where the system cannot or the user may not."""
    try:
        held = os.open(device, os.O_WRONLY)
    except FileNotFoundError:
        raise BadInput(f"processors cannot be kept awake here: this system has no {device}") from None
    except OSError as e:
        reason = (e.strerror or str(e)).lower()
        raise BadInput(f"processors cannot be kept awake: {device}: {reason} (root may, or who may write it)") from e
    try:
        os.write(held, _AT_ONCE)
        yield
    finally:
        os.close(held)

"""Running a network on this machine, whole and in halves. The only folder that knows onnxruntime."""

from isthmus.engine.engine import Engine, Finish
from isthmus.engine.few_bits import FewBits, PackedParts
from isthmus.engine.instructions import has_vnni
from isthmus.engine.nodes import kernel_times, node_times, owners
from isthmus.engine.sessions import RUNTIME
from isthmus.engine.slow import SlowDown, profile_clock, wait_s
from isthmus.engine.stop import Stop
from isthmus.engine.taps import Taps, tapped

__all__ = [
    "RUNTIME",
    "Engine",
    "FewBits",
    "Finish",
    "PackedParts",
    "SlowDown",
    "Stop",
    "Taps",
    "has_vnni",
    "kernel_times",
    "node_times",
    "owners",
    "profile_clock",
    "tapped",
    "wait_s",
]

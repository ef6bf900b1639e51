"""A server's answer, read with the same distrust as a request."""

from __future__ import annotations

import math
from collections.abc import Sequence

from isthmus.codec import make_codec
from isthmus.errors import BadFrame
from isthmus.run.codecs import RAW
from isthmus.run.frame import Frame, Kind
from isthmus.run.split_pb2 import Reply
from isthmus.run.types import Array

_RAW = make_codec(RAW)


def outputs_of(frame: Frame, header: Reply, wanted: Sequence[str]) -> dict[str, Array]:
    """The outputs by name. Raises BadFrame when they are not the `wanted` ones or not what the header says."""
    if frame.kind is not Kind.REPLY:
        raise BadFrame(f"the server answered a request with a {frame.kind.name} frame")
    if {h.name for h in header.outputs} != set(wanted):
        raise BadFrame(f"the server sent {len(header.outputs)} outputs that are not {', '.join(wanted)}")
    times = (header.queue_s, header.decode_s, header.compute_s, header.residence_s, header.arrival.seconds)
    if not all(0 <= t < math.inf for t in times):
        raise BadFrame(f"the server reports times that cannot be: {times}")
    outputs: dict[str, Array] = {}
    at = 0
    for head in header.outputs:
        part = frame.body[at : at + head.payload_bytes]
        at += head.payload_bytes
        outputs[head.name] = _RAW.load(part, tuple(head.shape), head.dtype)
    return outputs

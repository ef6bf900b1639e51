"""The line of a journal for what told of link and server and was nobody's request."""

from __future__ import annotations

from isthmus.codec import RAW
from isthmus.graph.types import INPUT
from isthmus.record.types import Evidence, Seconds, Step


def learning_step(
    request_id: int,
    t_s: float,
    total_s: float,
    up_bytes: int,
    told: Evidence,
    *,
    late: bool | None = None,
) -> Step:
    """A probe that took `total_s`, or an answer that came too `late`: nobody's request, but link and server showed
    themselves, and so much was learnt of them."""
    return Step(
        kind="probe",
        late=late,
        id=request_id,
        t_s=t_s,
        ran="server",
        cut=INPUT,
        codec=RAW,
        seconds=Seconds(total=total_s, up=total_s),
        up_bytes=up_bytes,
        evidence=told,
    )

"""Asking a server what the way to it carries, without holding its model."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict

from isthmus.errors import BadInput, Late
from isthmus.run.connection import Connection
from isthmus.run.replies import arrival_in, rate_of
from isthmus.run.split_pb2 import Hello
from isthmus.run.types import PROTOCOL
from isthmus.run.way import Way

LEAST_BYTES, MOST_BYTES = 10_000, 1 << 24
"""Dispersion needs 8 kB behind the first frame; more than 16 MiB is no probe."""


class ProbeRow(BaseModel):
    """One probe: what came in and how fast; None where it came too fast to tell."""

    model_config = ConfigDict(frozen=True)

    up_bps: float | None
    rtt_s: float


class LinkReport(BaseModel):
    """What the way to a server carries, and who answers there. `up_bps` is the median, `rtt_s` the least."""

    model_config = ConfigDict(frozen=True)

    address: str
    model: str
    fingerprint: str
    cuts: int
    probes: tuple[ProbeRow, ...]
    up_bps: float | None
    rtt_s: float


def probe(
    address: str,
    *,
    count: int = 5,
    size_bytes: int = 16_384,
    timeout_s: float = 5.0,
    clock: Callable[[], float] = time.perf_counter,
) -> LinkReport:
    """Send `count` probes to the isthmus server at `address` ("host:port").

    Raises Unreachable or Late when it does not answer, Refused when it speaks another protocol, BadInput for absurd
    numbers.
    """
    if count < 1 or not LEAST_BYTES <= size_bytes <= MOST_BYTES or not timeout_s > 0:
        raise BadInput(
            f"a probe needs a count of at least 1, {LEAST_BYTES} to {MOST_BYTES} bytes and a timeout above 0"
        )
    connection = Way(address, Hello(protocol=PROTOCOL), clock=clock).connect(lambda _late: None)
    try:
        rows = tuple(_once(connection, size_bytes, timeout_s) for _ in range(count))
    finally:
        connection.close()
    found = connection.welcome
    rates = [r.up_bps for r in rows if r.up_bps is not None]
    return LinkReport(
        address=address,
        model=found.model,
        fingerprint=found.fingerprint,
        cuts=len(found.cuts),
        probes=rows,
        up_bps=statistics.median(rates) if rates else None,
        rtt_s=min(r.rtt_s for r in rows),
    )


def _once(connection: Connection, size_bytes: int, timeout_s: float) -> ProbeRow:
    rtt_s = connection.ping(timeout_s)
    ticket = connection.probe(size_bytes, None)
    try:
        arrival = arrival_in(ticket.wait(timeout_s).frame)
    except Late:
        connection.give_up(ticket)
        raise
    return ProbeRow(up_bps=rate_of(arrival), rtt_s=rtt_s)

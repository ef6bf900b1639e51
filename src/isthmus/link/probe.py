"""Receiver dispersion: the rate of a link from when the pieces of one message arrived (packet trains, Dovrolis et al.,
IEEE/ACM ToN 2004, applied to the chunks of a stream)."""

from __future__ import annotations

from collections.abc import Sequence

MIN_BYTES = 8_000
"""A token bucket or a burst of the radio lets the first few KB pass at any speed: fewer bytes behind the first 4 kB
tell nothing."""
MIN_AFTER_BYTES = 4_000
"""So many of them must come after the first chunk, of which more may be here than its own: see `MIN_SPAN_S`."""
MIN_SPAN_S = 0.0003
"""Packets that waited together, in a radio, a relay or a buffer, come in together, however slow the link: what takes
less says how fast a buffer empties. At 80 Mbit/s 4 kB take 0.4 ms."""
MAX_BPS = 1e11
LEAD_BYTES = 8192
"""First frame of a payload. It must be larger than the burst a shaper lets pass (3.2 kB at ours), else the first
arrival is early and the rate comes out low."""
SMALL_LEAD_BYTES = 4096


def lead_bytes(total: int) -> int:
    """Size of a payload's first part. Small payloads get a smaller one, to leave something to measure after it."""
    return min(total, SMALL_LEAD_BYTES if total < 4 * LEAD_BYTES else LEAD_BYTES)


def dispersion_bps(arrival_times_s: Sequence[float], sizes_bytes: Sequence[int]) -> float | None:
    """Bit/s: the bytes after the first chunk over the time from the first chunk's arrival to the last's.

    A chunk has arrived when its last byte has. Independent of clocks elsewhere, of round trip and of waiting before the
    first chunk. None when it cannot be told: fewer than two chunks, fewer than 4 kB after the first or 8 kB after the
    first 4 kB, less than 0.3 ms, or more than 100 Gbit/s. Where the size of the first chunk is not known, it is 0.

    >>> dispersion_bps([0.000, 0.008, 0.016], [10_000, 10_000, 10_000])
    10000000.0
    >>> dispersion_bps([0.0, 0.001], [10_000, 2_000]) is None
    True
    """
    if len(arrival_times_s) != len(sizes_bytes) or len(sizes_bytes) < 2:
        return None
    after = sum(sizes_bytes[1:])
    spent_s = arrival_times_s[-1] - arrival_times_s[0]
    behind = after + max(0, sizes_bytes[0] - SMALL_LEAD_BYTES)
    if after < MIN_AFTER_BYTES or behind < MIN_BYTES or not spent_s >= MIN_SPAN_S:
        return None
    rate = after * 8 / spent_s
    return rate if rate <= MAX_BPS else None

"""What a transfer that shows no dispersion tells of the link all the same, by the time it took."""

from __future__ import annotations

from isthmus.link.probe import MIN_AFTER_BYTES, MIN_SPAN_S, lead_bytes
from isthmus.record.types import Step

SLOW = 2.0
"""A transfer too short for dispersion is news of the link when it took this many round trips beyond its half, and this
many times as long as believed; or when it was this many times as fast."""


def crawled_bps(step: Step, believed_bps: float, rtt_s: float) -> float | None:
    """A kilobyte leaves in one piece and shows no dispersion, but when it takes far longer than believed its own time
    tells the rate, within the link's jitter: without this a link that almost stands still goes unnoticed. A longer
    answer whose own rate was not seen may have taken that time instead: that tells nothing. `rtt_s`: the least ever."""
    if step.ran == "device" or (step.down_bytes > step.up_bytes and step.evidence.down_bps is None):
        return None
    took_s = step.seconds.up - rtt_s / 2
    if not step.up_bytes or took_s <= max(SLOW * rtt_s, SLOW * 8 * step.up_bytes / believed_bps):
        return None
    return 8 * step.up_bytes / took_s


def at_least_bps(step: Step, rtt_s: float) -> float | None:
    """On a fast link all of a payload may be there when the receiver looks. Whatever else took time, the link was no
    slower than this; its first 4 to 8 kB may have gone in a burst and do not count. None for what is too small, or had
    no answer."""
    beyond = step.up_bytes - lead_bytes(step.up_bytes)
    if step.trouble or step.ran == "device" or beyond < MIN_AFTER_BYTES:
        return None
    took_s = step.seconds.up - (rtt_s if step.kind == "probe" else rtt_s / 2)
    return 8 * beyond / max(MIN_SPAN_S, took_s)

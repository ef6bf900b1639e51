"""What is doubtful about a configuration map, in a sentence each; empty where nothing is."""

from __future__ import annotations

from isthmus.plan.choose import name_of
from isthmus.plan.map_types import ConfigMap, ConfigRow
from isthmus.units import show_rate, show_seconds

FAR = 2.0
"""A rate this many times beyond the last state was never seen; nearer ones are that state."""


def unmet(config: ConfigMap) -> str:
    """Where no state has a strategy in time: which comes nearest, and the way out."""
    if any(row.meets for row in config.rows):
        return ""
    nearest = min(config.rows, key=lambda row: row.latency_s)
    count = len(config.rows)
    states = f"in any of the {count} bandwidth states" if count > 1 else "in the one bandwidth state there is"
    return (
        f"nothing is within {show_seconds(config.within_s or 0.0)} {states}: {_called(nearest)} comes nearest at "
        f"{show_seconds(nearest.latency_s)} and {show_rate(nearest.state_bps)}; raise the deadline, train an earlier "
        "exit or get a faster link"
    )


def unseen(config: ConfigMap, up_bps: float) -> str:
    """Where a rate lies far beyond the map: which state counts for it."""
    low, high = config.rows[0].state_bps, config.rows[-1].state_bps
    if low / FAR <= up_bps <= high * FAR:
        return ""
    side, last = ("below", low) if up_bps < low else ("above", high)
    return f"{show_rate(up_bps)} is far {side} every state of the map; that of {show_rate(last)} is nearest and counts"


def _called(row: ConfigRow) -> str:
    named = name_of((row.cut,), row.codec, sends=row.sends)
    return f"exit {row.exit}, {named}," if row.exit else named

"""What the header of a CSV says of a trace: which column is the clock, which the rate, and what one unit of each is."""

from __future__ import annotations

import re
from collections.abc import Callable

from isthmus.errors import BadInput

UNNAMED_BPS = 1e3
"""What one unit of a rate is whose column names none: mobile loggers write `bitrate` and mean kbit/s."""

_WAYS = ("ul", "dl", "up", "down", "uplink", "downlink", "upload", "download", "tx", "rx")
_RATE_NAME = re.compile(
    r"bitrate|throughput|bandwidth|^[^a-z]*(?:(?:bit|data|link|" + "|".join(_WAYS) + r")[^a-z]+)*rate(?![a-z])", re.I
)
"""A rate of something else, as a frame_rate, is none of a link."""
_RATE_UNIT = re.compile(
    r"([kmg]?)(?:((?-i:bps)|(?-i:b)/s|bits?/s(?:ec)?|(?<=[kmg])bits?)|((?-i:Bps)|(?-i:B)/s|bytes?/s(?:ec)?))", re.I
)
"""Of kbps, Mbit/s, MB/s; only the case of b and B counts."""
_UP = frozenset({"ul", "up", "uplink", "upload", "tx"})
_PREFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_CLOCK_NAMES = ("t", "ts", "time", "timestamp", "stamp", "elapsed", "epoch", "unix")
_CLOCK_UNITS = {"s": 1.0, "sec": 1.0, "second": 1.0, "ms": 1e-3, "msec": 1e-3, "millisecond": 1e-3, "us": 1e-6}


def rate_columns(header: list[str]) -> list[str]:
    """Columns that look like rates, those of a known unit first. Downlink before uplink: in phone logs the uplink is
    what was sent (acknowledgements), not the capacity.

    >>> rate_columns(["Time (s)", "frame_rate", "UL_bitrate", "Download (Mb/s)"])
    ['Download (Mb/s)', 'UL_bitrate']
    """
    known = [n for n in header if _RATE_NAME.search(n) or any(_RATE_UNIT.fullmatch(w.lower()) for w in _words(n))]
    return sorted(known, key=lambda name: (not _is_told(rate_unit_bps, name), _is_up(name)))


def rate_unit_bps(column: str) -> float:
    """What one unit of the rate is in bit/s: b is a bit and B a byte. Raises BadInput for a unit that is not known.

    >>> [rate_unit_bps(name) for name in ("rate_mbps", "Throughput (Mb/s)", "bandwidth_MB/s", "gbit", "DL_bitrate")]
    [1000000.0, 1000000.0, 8000000.0, 1000000000.0, 1000.0]
    """
    column = column.lower() if column.isupper() else column  # in capitals throughout, B is no byte
    name = _RATE_NAME.search(column)
    before, after = (_words(column[: name.start()]), _words(column[name.end() :])) if name else (_words(column), [])
    units = [found for word in before + after if (found := _RATE_UNIT.fullmatch(word))]
    if not units and name and all(word.lower() in _WAYS for word in after):
        return UNNAMED_BPS
    if len(units) != 1:
        raise BadInput(
            f"the unit of its column '{column}' is not known: end the name with one, in bits as kbps, Mbit/s, or in "
            "bytes as kB/s, MBps"
        )
    prefix, _, in_bytes = units[0].groups()
    return _PREFIXES[prefix.lower()] * (8 if in_bytes else 1)


def clock_columns(header: list[str]) -> list[str]:
    """Columns that look like clocks: those called that and a unit at most, others of a known unit, and the rest.

    >>> clock_columns(["Time (min)", "rate", "time_since_start_ms", "timestampMs", "round_trip_time"])
    ['timestampMs', 'time_since_start_ms', 'Time (min)']
    """
    found = [name for name in header if _is_clock(_clock_words(name))]
    return sorted(found, key=lambda name: (not _is_only_clock(_clock_words(name)), not _is_told(clock_tick_s, name)))


def clock_tick_s(column: str) -> float:
    """What one unit of the clock is in seconds, which is what a name without a unit means. Raises BadInput for a unit
    that is not known.

    >>> [clock_tick_s(name) for name in ("timestamp", "Time (s)", "elapsed_ms")]
    [1.0, 1.0, 0.001]
    """
    words = _clock_words(column)
    tick = _tick(words[-1]) if words else None
    if tick is not None:
        return tick
    if len(words) > 1 and any(word not in _CLOCK_NAMES for word in words):
        raise BadInput(
            f"the unit of its clock '{column}' is not known: end the name with one, as time_s, time_ms, time_us"
        )
    return 1.0


def _words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z]+(?:/[A-Za-z]+)?", text)


def _is_up(column: str) -> bool:
    return not _UP.isdisjoint(re.split(r"[^a-z]+", column.lower()))


def _is_clock(words: list[str]) -> bool:
    return bool(words) and (words[0] in _CLOCK_NAMES or (len(words) == 1 and _tick(words[0]) is not None))


def _is_only_clock(words: list[str]) -> bool:
    """No `time_since_last`, which may stand beside the clock itself."""
    names = words if _tick(words[-1]) is None else words[:-1]
    return all(word in _CLOCK_NAMES for word in names)


def _is_told(unit_of: Callable[[str], float], column: str) -> bool:
    """Whether a column's unit is known."""
    try:
        unit_of(column)
    except BadInput:
        return False
    return True


def _clock_words(text: str) -> list[str]:
    """In small letters; timeMs is two."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)]


def _tick(word: str) -> float | None:
    return _CLOCK_UNITS.get(word) or _CLOCK_UNITS.get(word.removesuffix("s"))

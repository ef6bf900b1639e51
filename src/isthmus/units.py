"""Units at the edge: people write `20Mbit`, `4MiB`, `200ms`; inside are only bits per second, bytes and seconds."""

from __future__ import annotations

import re
from numbers import Integral

from isthmus.errors import BadInput

LEAST_BPS, MOST_BPS = 1.0, 1e13
LONGEST_S = 31_536_000.0
"""A year."""
MOST_BYTES = 2.0**60
MOST_SLOWER = 1e6
MOST_THREADS = 1024
MOST_BATCH = 65_536
"""Samples of a request. What lies beyond any of these is a mistake."""
_NUMBER = re.compile(r"^\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z/]*)\s*$")
_RATE = {
    "": 1.0, "bit": 1.0, "bit/s": 1.0, "bps": 1.0,
    "kbit": 1e3, "kbit/s": 1e3, "kbps": 1e3,
    "mbit": 1e6, "mbit/s": 1e6, "mbps": 1e6,
    "gbit": 1e9, "gbit/s": 1e9, "gbps": 1e9,
    "b/s": 8.0, "kb/s": 8e3, "mb/s": 8e6, "gb/s": 8e9,
}  # fmt: skip
_BYTES = {
    "": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9,
    "kib": 1024.0, "mib": 1024.0**2, "gib": 1024.0**3,
}  # fmt: skip
_SECONDS = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}


def rate_bps(text: str | float) -> float:
    """Bits per second from `"20Mbit"`, `"2.5 Mbit/s"`, `"1MB/s"` or a number of bits per second. Raises BadInput for
    anything else, and for less than LEAST_BPS or more than MOST_BPS.

    >>> rate_bps("20Mbit")
    20000000.0
    >>> rate_bps("1MB/s")
    8000000.0
    """
    return _parse(text, _RATE, "a rate such as 20Mbit or 1MB/s", (LEAST_BPS, MOST_BPS), "1 bit/s to 10000 Gbit/s")


def size_bytes(text: str | float) -> int:
    """Bytes from `"4MiB"`, `"300kB"` or a number of bytes. Raises BadInput, also for more than MOST_BYTES.

    >>> size_bytes("4MiB")
    4194304
    """
    return int(_parse(text, _BYTES, "a size such as 4MiB or 300kB", (0.0, MOST_BYTES), "0 to 2^60 bytes"))


def seconds(text: str | float) -> float:
    """Seconds from `"200ms"`, `"1.5s"` or a number of seconds. Raises BadInput, also for more than LONGEST_S.

    >>> seconds("200ms")
    0.2
    """
    return _parse(text, _SECONDS, "a duration such as 200ms or 1.5s", (0.0, LONGEST_S), "0 to a year")


def slow_down(factor: float, least: float = 1 / MOST_SLOWER) -> float:
    """How many times as slow a machine is declared to be, checked. Raises BadInput outside `least` to MOST_SLOWER."""
    if not least <= factor <= MOST_SLOWER:
        raise BadInput(f"a slow-down is a number from {least:g} to {MOST_SLOWER:.0f}, not {factor}")
    return factor


def is_whole(value: object, least: int, most: int) -> bool:
    """Whether this is a whole number within these; True is none, and neither is 1.0.

    >>> is_whole(2, 1, 8), is_whole(9, 1, 8), is_whole(2.5, 1, 8), is_whole("2", 1, 8)
    (True, False, False, False)
    """
    return not isinstance(value, bool) and isinstance(value, Integral) and least <= int(value) <= most


def thread_count(threads: int) -> int:
    """How many threads compute, checked. Raises BadInput outside 1 to MOST_THREADS."""
    if not is_whole(threads, 1, MOST_THREADS):
        raise BadInput(f"{threads!r} threads cannot compute; give 1 to {MOST_THREADS}")
    return int(threads)


def show_rate(bps: float) -> str:
    """`20 Mbit/s` from 20e6."""
    return _scaled(bps, 1000.0, ("bit/s", "kbit/s", "Mbit/s", "Gbit/s"))


def show_bytes(count: float) -> str:
    """`401 kB` from 401408 (decimal, as on the wire)."""
    return _scaled(count, 1000.0, ("B", "kB", "MB", "GB"))


def show_seconds(value: float) -> str:
    """`12.3 ms` from 0.0123.

    >>> show_seconds(1234.0), show_seconds(1e300)
    ('1234 s', '1e+300 s')
    """
    if value >= 1.0 or value == 0.0:
        return f"{_three(value)} s"
    return f"{_three(value * 1e3)} ms" if value >= 1e-3 else f"{_three(value * 1e6)} µs"


def _parse(text: str | float, table: dict[str, float], wanted: str, bounds: tuple[float, float], range_: str) -> float:
    if isinstance(text, (int, float)):
        value = float(text)
    else:
        match = _NUMBER.match(text)
        unit = match.group(2).lower() if match else ""
        if match is None or unit not in table:
            raise BadInput(f"'{text}' is not {wanted}")
        value = float(match.group(1)) * table[unit]
    if not bounds[0] <= value <= bounds[1]:
        raise BadInput(f"'{text}' is not {wanted}: it must be {range_}")
    return value


def _scaled(value: float, step: float, names: tuple[str, ...]) -> str:
    for name in names[:-1]:
        if abs(value) < step:
            return f"{_three(value)} {name}"
        value /= step
    return f"{_three(value)} {names[-1]}"


def _three(value: float) -> str:
    """Three figures, but all digits before the point: 1234 and not 1.23e+03, as far as that can be read."""
    return f"{value:.0f}" if 999.5 <= abs(value) < 1e15 else f"{value:.3g}"

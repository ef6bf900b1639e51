"""Reading traces that others recorded: two columns, Oboe, mahimahi, CSV with a header. The content shows the format.

Choices, the same for every format: the clock is moved so that the first sample is at 0; a gap holds the last value
(nothing is known there); samples that share one time stamp are averaged; the last value holds for one median step
(mahimahi's last stamp says where it ends); a CSV whose clock is a date, or that has none, has one row a second. A zero
is an outage and stays one.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from isthmus.errors import BadInput
from isthmus.files import read_within
from isthmus.link.header import clock_columns, clock_tick_s, rate_columns, rate_unit_bps
from isthmus.link.trace import MAX_SAMPLES, Trace

MAX_FILE_BYTES = 64 * 1024 * 1024
MAHIMAHI_PACKET_BITS = 1500 * 8
MAHIMAHI_BIN_S = 0.1
"""mahimahi lists single packets; a rate is their count in bins of 100 ms: 0.12 Mbit/s steps, 10 values a second.
What is left at the end belongs to the last bin: in one of its own, of 1 ms, a single packet would be 12 Mbit/s."""
LAST_S = 1e11
"""The year 5138: a clock that stands later does not count seconds."""
OBOE_LEAST_KBPS = 100.0
"""Its sessions lie above, also the slowest; as Mbit/s it would be a fast link."""


class Samples(NamedTuple):
    """What a file says."""

    times: list[float]
    """seconds"""
    rates: list[float]
    """bit/s"""
    end_s: float = math.nan
    """where the last value ends; NaN where the file does not say"""


def read_trace(
    path: str | Path,
    format: str | None = None,
    *,
    time_column: str | None = None,
    rate_column: str | None = None,
    unit_bps: float | None = None,
    before_bps: float | None = None,
    loop: bool = False,
) -> Trace:
    """A trace from a file.

    format: `columns` (`seconds Mbit/s`), `oboe` (`ms kbit/s`, two lines a chunk of which the second counts), `mahimahi`
    (one millisecond stamp per 1500-byte packet), `csv` (with a header); None looks at the content. For CSV the columns
    may be named and `unit_bps` says what one unit of the rate is in bit/s; otherwise they are guessed from the header
    (`bitrate` columns without a unit are kbit/s, as mobile loggers write them; Mb/s is bits, MB/s bytes). before_bps:
    the rate until the first sample, on the file's own clock, which is then not moved. Raises BadInput in one sentence,
    also for a unit or a clock that is not known.
    """
    file = Path(path)
    lines = _lines(file)
    kind = format or _guess(lines, file)
    if kind not in FORMATS:
        raise BadInput(f"'{kind}' is no trace format; there are {', '.join(FORMATS)}")
    try:
        plain = _PLAIN.get(kind)
        return _trace(plain(lines) if plain else _csv(lines, time_column, rate_column, unit_bps), before_bps, loop)
    except BadInput as error:
        raise BadInput(f"{file.name} cannot be read as a {kind} trace: {error}") from error


def read_pairs(path: str | Path) -> list[tuple[float, float]]:
    """The numbers of a file of two columns as they stand there. Raises BadInput in one sentence."""
    file = Path(path)
    lines = _lines(file)
    try:
        return [_pair(line, at) for at, line in enumerate(lines, 1)]
    except BadInput as error:
        raise BadInput(f"{file.name} cannot be read as two columns: {error}") from error


def _lines(file: Path) -> list[str]:
    try:
        text = read_within(file, MAX_FILE_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise BadInput(f"cannot read the trace {file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{file.name} is no trace: it is not text (byte {error.start})") from error
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise BadInput(f"{file.name} holds no trace: it is empty")
    return lines


def _guess(lines: list[str], file: Path) -> str:
    """By the first lines: letters → csv; one whole number a line → mahimahi; pairs in which every second rate repeats
    the one before, at uneven milliseconds and not below 100 kbit/s → oboe; other pairs → columns."""
    head = lines[:200]
    widths = {len(_split(line)) for line in head}
    if widths == {1} and all(line.strip().isdigit() for line in head):
        return "mahimahi"
    if widths == {2} and _is_number(_split(head[0])[0]):
        return "oboe" if _is_oboe(head) else "columns"
    if "," in lines[0] and not _is_number(lines[0].split(",")[0]):
        return "csv"
    raise BadInput(f"{file.name} looks like none of the trace formats {', '.join(FORMATS)}; name one")


def _is_oboe(head: list[str]) -> bool:
    try:
        rows = [_pair(line, at) for at, line in enumerate(head, 1)]
    except BadInput:  # said again, and of which file, where the columns are read
        return False
    rates = [rate for _, rate in rows[: len(rows) // 2 * 2]]
    if len(rates) < 4 or rates[::2] != rates[1::2]:
        return False
    steps = np.diff([t for t, _ in rows])
    uneven = bool((steps != steps[0]).any())
    return uneven and float(np.median(steps)) >= 20 and float(np.median(rates)) >= OBOE_LEAST_KBPS


def _columns(lines: list[str]) -> Samples:
    rows = [_pair(line, at) for at, line in enumerate(lines, 1)]
    return Samples([t for t, _ in rows], [mbps * 1e6 for _, mbps in rows])


def _oboe(lines: list[str]) -> Samples:
    """Each chunk has two lines, start and end of its download; the end counts, as in the authors' own reader."""
    rows = [_pair(line, at) for at, line in enumerate(lines, 1)]
    if len(rows) % 2:
        raise BadInput(f"it has {len(rows)} lines, an odd number, but two lines make a chunk")
    ends = [t / 1e3 for t, _ in rows[1::2]]
    return Samples(ends, [kbps * 1e3 for _, kbps in rows[1::2]])


def _mahimahi(lines: list[str]) -> Samples:
    if not all(line.strip().isdigit() for line in lines):
        raise BadInput("each line must be one whole number of milliseconds")
    stamps_s = np.array([_number(line, at) for at, line in enumerate(lines, 1)]) / 1e3
    if (np.diff(stamps_s) < 0).any():
        raise BadInput("its milliseconds must never fall")
    end_s = float(stamps_s[-1])
    if end_s == 0:
        raise BadInput("its last millisecond must be above 0: that is where it ends")
    bins = max(1, math.floor(end_s / MAHIMAHI_BIN_S + 1e-9))  # the last one takes what is left of the file
    if bins > MAX_SAMPLES:
        raise BadInput(f"it is {end_s:g} s long; {MAX_SAMPLES * MAHIMAHI_BIN_S:g} s is the limit")
    # mahimahi's first millisecond is 1 and its last ends the file: packet k belongs to the bin that it closes
    index = np.clip(np.ceil(stamps_s / MAHIMAHI_BIN_S - 1e-9).astype(np.int64) - 1, 0, bins - 1)
    begins_s = np.arange(bins) * MAHIMAHI_BIN_S
    rates = np.bincount(index, minlength=bins) * MAHIMAHI_PACKET_BITS / np.diff(begins_s, append=end_s)
    # mahimahi plays its file again and again: one shorter than a bin as often as fills one
    return Samples(begins_s.tolist(), rates.tolist(), end_s * max(1, math.ceil(MAHIMAHI_BIN_S / end_s - 1e-9)))


def _csv(lines: list[str], time_column: str | None, rate_column: str | None, unit_bps: float | None) -> Samples:
    try:
        rows = list(csv.reader(lines))
    except csv.Error as error:
        raise BadInput(f"it is no CSV: {error}") from error
    header = [name.strip() for name in rows[0]]
    rate_at = _column(header, rate_column, rate_columns(header))
    # phone logs write dates to the second, which repeat and skip: without another clock their rows come once a second
    clocks = [n for n in clock_columns(header) if len(rows) == 1 or _is_number(_cell(rows[1], header.index(n)))]
    time_at = _column(header, time_column, clocks)
    if rate_at is None:
        raise BadInput(f"no column of {_short(', '.join(header))} looks like a rate; name one")
    unit = unit_bps if unit_bps is not None else rate_unit_bps(header[rate_at])
    rates = [_number(_cell(row, rate_at), at) * unit for at, row in enumerate(rows[1:], 2)]
    if time_at is None:
        return Samples([float(at) for at in range(len(rates))], rates)
    tick_s = clock_tick_s(header[time_at])
    return Samples([_number(_cell(row, time_at), at) * tick_s for at, row in enumerate(rows[1:], 2)], rates)


def _column(header: list[str], asked: str | None, guesses: Sequence[str]) -> int | None:
    if asked is not None and asked not in header:
        raise BadInput(f"it has no column '{asked}'; there are {_short(', '.join(header))}")
    name = asked or next(iter(guesses), None)
    return None if name is None else header.index(name)


def _cell(row: list[str], at: int) -> str:
    return row[at] if at < len(row) else ""


def _trace(samples: Samples, before_bps: float | None, loop: bool) -> Trace:
    """One sample a time stamp (those sharing one are averaged), the clock moved to 0 or with a rate from there on."""
    times, rates, end_s = samples
    if not times:
        raise BadInput("it holds no samples")
    if len(times) > MAX_SAMPLES:
        raise BadInput(f"it holds {len(times)} samples; the limit is {MAX_SAMPLES}")
    t = np.array(times)
    fall = np.diff(t) < 0
    if fall.any():
        at = int(np.argmax(fall)) + 1
        raise BadInput(f"time runs backwards at sample {at + 1}, from {t[at - 1]:g} to {t[at]:g} s")
    if t[-1] > LAST_S:
        raise BadInput(f"its clock stands at {t[-1]:g} s: write seconds, or call a column of milliseconds time_ms")
    stamps, where, counts = np.unique(t, return_inverse=True, return_counts=True)
    means = np.bincount(where, weights=np.array(rates)) / counts
    if before_bps is not None and stamps[0] > 0:
        if math.isnan(end_s):  # by the file's own steps, as always
            end_s = float(stamps[-1] + (np.median(np.diff(stamps)) if len(stamps) > 1 else 1.0))
        stamps, means = np.append(0.0, stamps), np.append(before_bps, means)
    return Trace(stamps - stamps[0], means, end_s - stamps[0], loop)


def _split(line: str) -> list[str]:
    return line.replace(",", " ").split()


def _pair(line: str, at: int) -> tuple[float, float]:
    words = _split(line)
    if len(words) != 2:
        raise BadInput(f"line {at} has {len(words)} values instead of two")
    return _number(words[0], at), _number(words[1], at)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(text: str, line: int = 0) -> float:
    if not _is_number(text) or not math.isfinite(float(text)):
        raise BadInput(f"line {line}: '{_short(text.strip(), 40)}' is not a finite number")
    if float(text) < 0:
        raise BadInput(f"line {line}: '{_short(text.strip(), 40)}' is negative")
    return float(text)


def _short(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


_PLAIN: dict[str, Callable[[list[str]], Samples]] = {"columns": _columns, "oboe": _oboe, "mahimahi": _mahimahi}
FORMATS = (*_PLAIN, "csv")

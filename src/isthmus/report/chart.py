"""What every chart is made of: a picture, its legend, its notes and the numbers behind it as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from isthmus.report.markup import Markup, join, number, tag
from isthmus.report.scale import Scale, label_time, linear_ticks, log_ticks, time_ticks
from isthmus.units import show_rate, show_seconds

WIDTH = 1000.0
"""Units of a full-width picture; a half-width one is drawn on `HALF`. Text is 12 units high."""
HALF = 490.0


@dataclass(frozen=True)
class Key:
    """One entry of a legend: the class that colours its swatch, its name, and a figure to show beside it."""

    css: str
    name: str
    value: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart ready for a page. `rows` are the numbers drawn, under `columns`."""

    title: str
    about: str
    svg: Markup
    keys: tuple[Key, ...] = ()
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def picture(width: float, height: float, label: str, parts: Iterable[Markup]) -> Markup:
    """The parts as one picture that scales with the page; `label` is read aloud in its place."""
    return tag(
        "svg", *parts, viewBox=f"0 0 {number(width)} {number(height)}", role="img", aria_label=label, class_="chart"
    )


def seconds_axis(scale: Scale, left: float, right: float) -> Markup:
    """Horizontal grid lines over the height of a panel, with durations at their left."""
    ticks = log_ticks(scale.low, scale.high, 6) if scale.log else linear_ticks(scale.high, 5)
    return _rows(scale, [(t, show_seconds(t)) for t in ticks], left, right)


def rate_axis(scale: Scale, left: float, right: float) -> Markup:
    """Horizontal grid lines over the height of a panel, with rates at their left."""
    return _rows(scale, [(t, show_rate(t)) for t in log_ticks(scale.low, scale.high, 5)], left, right)


def share_axis(scale: Scale, left: float, right: float) -> Markup:
    """Horizontal grid lines at quarters."""
    return _rows(scale, [(t / 4, f"{t * 25}%") for t in range(5)], left, right)


def time_axis(scale: Scale, panels: Sequence[tuple[float, float]], bottom: float) -> Markup:
    """Vertical grid lines through every panel (top, bottom) and times of the run below the last one."""
    parts = []
    for t in time_ticks(scale.low, scale.high):
        x = scale.one(t)
        parts += [tag("line", x1=x, x2=x, y1=top, y2=low, class_="grid") for top, low in panels]
        parts.append(text(x, bottom + 18, label_time(t), "middle"))
    return join(parts)


def duration_axis_below(scale: Scale, top: float, bottom: float) -> Markup:
    """Vertical grid lines with durations below."""
    ticks = log_ticks(scale.low, scale.high, 6) if scale.log else linear_ticks(scale.high, 5)
    parts = []
    for t in ticks:
        x = scale.one(t)
        parts.append(tag("line", x1=x, x2=x, y1=top, y2=bottom, class_="grid"))
        parts.append(text(x, bottom + 18, show_seconds(t), "middle"))
    return join(parts)


def text(x: float, y: float, content: str, anchor: str = "start", css: str = "tick", title: str = "") -> Markup:
    """One line of text; the full name appears under the pointer where `title` is given."""
    return tag("text", content, *([tag("title", title)] if title else []), x=x, y=y, text_anchor=anchor, class_=css)


def boxes(x0: Iterable[float], x1: Iterable[float], y0: Iterable[float], y1: Iterable[float]) -> str:
    """Path data of many filled boxes: one path is a tenth of as many elements."""
    return "".join(
        f"M{number(a)} {number(c)}V{number(d)}H{number(b)}V{number(c)}Z"
        for a, b, c, d in zip(x0, x1, y0, y1, strict=True)
    )


def polyline(points: Iterable[tuple[float, float]]) -> str:
    """Path data of a line through the points."""
    return "".join(f"{'L' if i else 'M'}{number(x)} {number(y)}" for i, (x, y) in enumerate(points))


def staircase(points: Sequence[tuple[float, float]], end: float) -> str:
    """Path data of a value that holds until it changes, the last one until `end`."""
    if not points:
        return ""
    corners = [f"M{number(points[0][0])} {number(points[0][1])}"]
    for (x, y), (_, before) in zip(points[1:], points, strict=False):
        corners.append(f"H{number(x)}" + (f"V{number(y)}" if number(y) != number(before) else ""))
    return "".join(corners) + f"H{number(end)}"


def dots(points: Iterable[tuple[float, float]]) -> str:
    """Path data of dots, drawn with a round pen; those that would fall on the same place are drawn once."""
    return "".join(f"M{x} {y}h0" for x, y in dict.fromkeys((number(round(x)), number(round(y))) for x, y in points))


def empty(width: float, left: float, right: float, middle: float, why: str) -> Markup:
    """The sentence that stands where nothing can be drawn."""
    return text(min((left + right) / 2, width), middle, why, "middle", "empty")


def _rows(scale: Scale, ticks: Sequence[tuple[float, str]], left: float, right: float) -> Markup:
    parts = []
    for value, label in ticks:
        y = scale.one(value)
        parts.append(tag("line", x1=left, x2=right, y1=y, y2=y, class_="grid"))
        parts.append(text(left - 8, y + 4, label, "end"))
    return join(parts)

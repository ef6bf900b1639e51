"""The picture of `codec_entropy.py`: accuracy over bytes, features against JPEG and WebP, one panel a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isthmus.report.markup import Markup, join, number, tag
from isthmus.report.scale import Scale, log_ticks
from isthmus.units import show_bytes

_WIDE, _HIGH, _LEFT, _TOP, _GAP = 420, 300, 62, 70, 40
_LOST = 0.15
"""Accuracy below the whole network's at which the drawing ends."""
_SERIES = (
    ("features, Huffman-coded", "#03734b", ""),
    ("features, plain", "#6fb89c", "4 3"),
    ("JPEG", "#b3261e", ""),
    ("WebP", "#c77700", ""),
)


def draw_curves(results: Sequence[dict[str, Any]]) -> str:
    """An SVG document."""
    width, height = len(results) * (_WIDE + _LEFT + _GAP), _TOP + _HIGH + 60
    style = "text{font:12px system-ui,sans-serif;fill:#16191d}.b{font-weight:650;font-size:13px}.s{fill:#5b636b}"
    panels = [
        tag("g", _panel(result), transform=f"translate({place * (_WIDE + _LEFT + _GAP)} 0)")
        for place, result in enumerate(results)
    ]
    back = tag("rect", width=width, height=height, fill="#ffffff")
    return tag(
        "svg", tag("style", Markup(style)), back, *panels,
        xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}",
    )  # fmt: skip


def front(rows: Sequence[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    """(bytes, accuracy) of what nothing beats in both, in rising bytes.

    >>> front([{"bytes": 9, "accuracy": 0.7}, {"bytes": 4, "accuracy": 0.7}, {"bytes": 5, "accuracy": 0.8}], "bytes")
    [(4, 0.7), (5, 0.8)]
    """
    kept: list[tuple[float, float]] = []
    for size, right in sorted(((r[key], r["accuracy"]) for r in rows), key=lambda p: (p[0], -p[1])):
        if not kept or right > kept[-1][1]:
            kept.append((size, right))
    return kept


def _panel(result: dict[str, Any]) -> Markup:
    features = [r for r in result["rows"] if r["cut"] != "input"]
    pictures = {
        kind: [r for r in result["rows"] if r["codec"].startswith(kind) and r["cut"] == "input"]
        for kind in ("jpeg", "webp")
    }
    curves = [front(features, "bytes"), front(features, "plain_bytes"), *(front(p, "bytes") for p in pictures.values())]
    sizes = [size for curve in curves for size, _ in curve]
    x = Scale(min(sizes) / 1.2, max(sizes) * 1.2, _LEFT, _LEFT + _WIDE, log=True)
    low, high = result["accuracy"] - _LOST, max(right for curve in curves for _, right in curve) + 0.005
    y = Scale(low, high, _TOP + _HIGH, _TOP)
    title = f"{result['network']}, {result['images']} pictures"
    drawn = [
        tag("text", Markup(title), x=_LEFT, y=20, class_="b"),
        *_axes(x, y, low, high, result["accuracy"]),
        *(_curve(curve, x, y, low, series) for curve, series in zip(curves, _SERIES, strict=True)),
        *(_legend(place, series) for place, series in enumerate(_SERIES)),
    ]
    return join(drawn)


def _axes(x: Scale, y: Scale, low: float, high: float, whole: float) -> list[Markup]:
    bottom = _TOP + _HIGH
    parts = []
    for percent in range(0, 101, 2):
        if low <= percent / 100 <= high:
            at = number(y.one(percent / 100))
            parts.append(tag("line", x1=_LEFT, x2=_LEFT + _WIDE, y1=at, y2=at, stroke="#e3e6ea"))
            parts.append(
                tag("text", Markup(f"{percent} %"), x=_LEFT - 8, y=at, dy="0.32em", text_anchor="end", class_="s")
            )
    for size in log_ticks(x.low, x.high, 6):
        at = number(x.one(size))
        parts.append(tag("line", x1=at, x2=at, y1=_TOP, y2=bottom, stroke="#e3e6ea"))
        parts.append(
            tag("text", Markup(show_bytes(round(size))), x=at, y=bottom + 18, text_anchor="middle", class_="s")
        )
    at = number(y.one(whole))
    parts.append(tag("line", x1=_LEFT, x2=_LEFT + _WIDE, y1=at, y2=at, stroke="#16191d", stroke_dasharray="2 3"))
    under = tag("text", Markup("bytes a picture, right answers; the best of all cuts; dotted: whole network"),
                x=_LEFT, y=bottom + 40, class_="s")  # fmt: skip
    return [*parts, under]


def _curve(curve: list[tuple[float, float]], x: Scale, y: Scale, low: float, series: tuple[str, str, str]) -> Markup:
    name, colour, dashes = series
    seen = [(size, right) for size, right in curve if right >= low]
    points = [(x.one(size), y.one(right)) for size, right in seen]
    path = " ".join(f"{number(a)},{number(b)}" for a, b in points)
    line = tag("polyline", points=path, fill="none", stroke=colour, stroke_width=2, stroke_dasharray=dashes or None)
    marks = [
        tag("circle", tag("title", Markup(f"{name}: {show_bytes(round(size))}, {right:.1%}")),
            cx=number(a), cy=number(b), r=3, fill=colour)
        for (size, right), (a, b) in zip(seen, points, strict=True)
    ]  # fmt: skip
    return join([line, *marks])


def _legend(place: int, series: tuple[str, str, str]) -> Markup:
    name, colour, dashes = series
    left, line = _LEFT + place % 2 * 190, 38 + place // 2 * 17
    swatch = tag("line", x1=left, x2=left + 22, y1=line - 4, y2=line - 4, stroke=colour, stroke_width=2,
                 stroke_dasharray=dashes or None)  # fmt: skip
    return join([swatch, tag("text", Markup(name), x=left + 28, y=line)])

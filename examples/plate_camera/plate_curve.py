"""The picture of bytes against characters: what a split sends, and what JPEG and WebP make of as many bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isthmus.report.markup import Markup, join, number, tag

_WIDE, _HIGH, _LEFT, _TOP = 560, 300, 60, 34
_COLOURS = ("#03734b", "#c05a12", "#5b4fb5")
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#16191d;paint-order:stroke;stroke:#fff;stroke-width:3px}"
    ".s{fill:#5b636b}.b{font-weight:650;font-size:13px}"
)
_ASIDE = (-20, 20, -7)
"""How far below its point the name of a series' point stands: three lines that run close together."""


@dataclass(frozen=True)
class Point:
    """One way to send a picture: bytes, the share of characters that are read, and what to call it."""

    sent_bytes: float
    characters: float
    name: str


def curve(series: Mapping[str, Sequence[Point]], reference: float, least: float = 0.8) -> str:
    """An SVG document. `reference`: characters read where nothing is lost; what is below `least` stands at the edge."""
    low = min(p.sent_bytes for points in series.values() for p in points) / 1.2
    high = max(p.sent_bytes for points in series.values() for p in points) * 1.2
    place = _Place(low, high, least)
    width, height = _LEFT + _WIDE + 20, _TOP + _HIGH + 44
    lines, words = zip(
        *(
            _series(place, sorted(points, key=lambda p: p.sent_bytes), colour, name, at)
            for at, ((name, points), colour) in enumerate(zip(series.items(), _COLOURS, strict=False))
        ),
        strict=True,
    )
    y = number(place.y(reference))
    whole = tag("line", x1=_LEFT, x2=_LEFT + _WIDE, y1=y, y2=y, stroke="#8a939c", stroke_dasharray="4 4")
    kept = tag("text", Markup("nothing lost"), x=_LEFT + 4, y=number(place.y(reference) - 5), class_="s")
    title = tag("text", Markup("characters read, by bytes sent for one picture"), x=_LEFT, y=20, class_="b")
    return tag(
        "svg", tag("style", Markup(_STYLE)), tag("rect", width=width, height=height, fill="#ffffff"), title,
        *_axes(place), whole, kept, *lines, *words, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}",
    )  # fmt: skip


@dataclass(frozen=True)
class _Place:
    """From numbers to places on the picture; bytes by their logarithm."""

    low: float
    high: float
    least: float

    def x(self, size: float) -> float:
        return _LEFT + _WIDE * math.log(size / self.low) / math.log(self.high / self.low)

    def y(self, share: float) -> float:
        return _TOP + _HIGH * (1 - (max(share, self.least) - self.least) / (1 - self.least))


def _axes(place: _Place) -> list[Markup]:
    parts = []
    for k in range(5):
        share = place.least + k * (1 - place.least) / 4
        y = number(place.y(share))
        parts.append(tag("line", x1=_LEFT, x2=_LEFT + _WIDE, y1=y, y2=y, stroke="#e3e6ea"))
        label = Markup(f"{share:.0%}")
        parts.append(tag("text", label, x=_LEFT - 8, y=number(place.y(share) + 4), text_anchor="end", class_="s"))
    for size in (500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000):
        if place.low < size < place.high:
            x, label = number(place.x(size)), Markup(f"{size / 1000:g} kB")
            parts.append(tag("line", x1=x, x2=x, y1=_TOP, y2=_TOP + _HIGH, stroke="#e3e6ea"))
            parts.append(tag("text", label, x=x, y=_TOP + _HIGH + 18, text_anchor="middle", class_="s"))
    return parts


def _series(place: _Place, points: Sequence[Point], colour: str, name: str, at: int) -> tuple[Markup, Markup]:
    """The line with its points, and what is written at them."""
    spots = [(number(place.x(p.sent_bytes)), number(place.y(p.characters))) for p in points]
    line = tag("polyline", points=" ".join(f"{x},{y}" for x, y in spots), fill="none", stroke=colour, stroke_width=2)
    dots = [tag("circle", cx=x, cy=y, r=3.5, fill=colour) for x, y in spots]
    style = f"fill:{colour}"
    labels = [
        tag(
            "text", Markup(p.name), x=x, y=number(place.y(p.characters) + _ASIDE[at]), text_anchor="middle", style=style
        )
        for p, (x, _) in zip(points, spots, strict=True)
    ]
    x, y = _LEFT + _WIDE - 8, _TOP + _HIGH - 50 + 18 * at
    key = tag("text", Markup(name), x=x, y=y, text_anchor="end", style=style)
    return join([line, *dots]), join([*labels, key])

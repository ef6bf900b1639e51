"""A picture of live replays, a panel a cell: the link, what was chosen, what it took. Used by dynamic_split_live.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from live_judging import LEAD_S
from live_tables import SHORT, Cells
from split_map import DEVICE, SERVER, SPLITS, colours_of

from isthmus.report.chart import boxes, rate_axis, seconds_axis, staircase, time_axis
from isthmus.report.markup import Markup, join, number, tag
from isthmus.report.scale import Scale, log_range

LINES = {"dynamic": ("#16191d", 2.0, None), "clairvoyant": ("#8a5a00", 1.4, "3 3"), "best": ("#c0262d", 1.2, None)}
"""Who is drawn: colour, width, dashes. `best` is the best choice that never changes."""
TWO = ("dynamic", "clairvoyant")
"""Whose choices are shown."""
LEFT, WIDE, HIGH, GAP, ACROSS = 84, 480, 318, 20, 2
LINK, RIBBONS, LATENCY, BOTTOM = (34, 100), (110, 128), (154, 272), 272
"""From top to bottom of a panel: the link's rate, what two chose, what a request took; and where the time stands."""
RIBBON, LEGEND = 12, 1060
"""How high a ribbon is, and how wide the legend."""
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#16191d}.b{font-weight:650;font-size:13px}.tick{fill:#5b636b}"
    ".grid{stroke:#e3e6ea}"
)
_Shown = Sequence[tuple[float, float, str]]


def draw_live(cells: Cells) -> str:
    """An SVG document. Cells without what is drawn (steps) are left out."""
    played = {name: one for name, one in cells.items() if "link" in one}
    step = LEFT + WIDE + GAP
    panels = [
        tag("g", _panel(name, one), transform=f"translate({k % ACROSS * step} {34 + k // ACROSS * HIGH})")
        for k, (name, one) in enumerate(played.items())
    ]
    width, height = max(LEGEND, step * min(ACROSS, len(played)) + GAP), 34 + HIGH * -(-len(played) // ACROSS)
    back = tag("rect", width=width, height=height, fill="#ffffff")
    parts = [tag("style", _STYLE), back, _legend(), *panels]
    what = "Live replays: rate of the link, places chosen and latency over time"
    box = f"0 0 {width} {height}"
    return str(tag("svg", *parts, xmlns="http://www.w3.org/2000/svg", viewBox=box, role="img", aria_label=what)) + "\n"


def _panel(name: str, one: Any) -> Markup:
    times, rates = one["link"]["times_s"], one["link"]["rates_bps"]
    until_s = one["link"]["duration_s"]
    x = Scale(LEAD_S, until_s, LEFT, LEFT + WIDE)
    rate = Scale(*log_range([*rates, one["tie_mbit"] * 1e6]), LINK[1], LINK[0], log=True)
    lines = {who: one["policies"][one["best_static"] if who == "best" else who]["shown"] for who in LINES}
    took = [ms / 1e3 for shown in lines.values() for t, ms, _ in shown if t >= LEAD_S]
    took_axis = Scale(min(took) / 1.1, max(took) * 1.1, LATENCY[1], LATENCY[0], log=True)
    chosen = {place for who in TWO for _, _, place in lines[who]}
    colours = colours_of([*(n.removeprefix("cut:") for n in one["policies"] if n.removeprefix("cut:") in chosen)])
    tie = rate.one(one["tie_mbit"] * 1e6)
    titled = ", ".join(SHORT.get(part, part) for part in name.split("/"))
    found = f"gain {one['gain']:.0%} over {one['best_static']}, regret {one['regret']:+.1%}".replace("-", "−")
    right = LEFT + WIDE
    return join(
        [
            tag("text", titled, x=LEFT, y=18, class_="b"),
            tag("text", found, x=right, y=18, text_anchor="end"),
            rate_axis(rate, LEFT, right),
            time_axis(x, (LINK, LATENCY), BOTTOM),
            tag("path", d=staircase(_within(x, times, rate.at(rates)), right), fill="none", stroke="#4a5560",
                stroke_width=1.6),
            _tie(f"M{LEFT} {number(tie)}H{right}"),
            *(_ribbon(lines[who], x, top, colours, who) for who, top in zip(TWO, RIBBONS, strict=True)),
            seconds_axis(took_axis, LEFT, right),
            *(_line(who, staircase(_within(x, [t for t, _, _ in shown],
                                           took_axis.at([ms / 1e3 for _, ms, _ in shown])), right))
              for who, shown in reversed(lines.items())),
        ]
    )  # fmt: skip


def _within(x: Scale, times_s: Sequence[float], heights: Any) -> list[tuple[float, float]]:
    """Corners from the left edge on: what began before it holds there."""
    points = list(zip(x.at(times_s).tolist(), heights, strict=True))
    first = max((k for k, (at, _) in enumerate(points) if at <= x.start), default=0)
    return points[first:]


def _ribbon(shown: _Shown, x: Scale, top: float, colours: dict[str, str], who: str) -> Markup:
    edges = [*x.at([t for t, _, _ in shown]).tolist(), x.end]
    parts = [tag("text", who, x=LEFT - 8, y=top + 10, text_anchor="end", class_="tick")]
    for place, colour in colours.items():
        spans = [(a, b) for a, b, one in zip(edges, edges[1:], shown, strict=False) if one[2] == place and b > a]
        low, high = [top] * len(spans), [top + RIBBON] * len(spans)
        path = boxes((a for a, _ in spans), (b for _, b in spans), low, high)
        parts.append(tag("path", tag("title", f"{who}: {place}"), d=path, fill=colour))
    return join(parts)


def _line(who: str, path: str) -> Markup:
    colour, width, dashes = LINES[who]
    return tag("path", d=path, fill="none", stroke=colour, stroke_width=width, stroke_dasharray=dashes)


def _tie(path: str) -> Markup:
    return tag("path", d=path, stroke="#5b636b", stroke_dasharray="1 3")


def _legend() -> Markup:
    parts, x = [], float(LEFT)
    names = {"dynamic": "dynamic", "clairvoyant": "clairvoyant", "best": "best that never changes"}
    for who, name in names.items():
        parts += [_line(who, f"M{x} 16h26"), tag("text", name, x=x + 32, y=20)]
        x += 58 + 6.5 * len(name)
    for name, fill in (("device", DEVICE), ("server", SERVER), ("a cut", SPLITS[-1])):
        parts += [tag("rect", x=x, y=10, width=12, height=12, fill=fill), tag("text", name, x=x + 18, y=20)]
        x += 40 + 7 * len(name)
    parts += [_tie(f"M{x} 16h26"), tag("text", "rate at which device and sending tie", x=x + 32, y=20)]
    return join(parts)

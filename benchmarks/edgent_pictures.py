"""Four panels a set-up, as the Edgent papers draw them: latency, decision and accuracy. Used by edgent_static.py."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

from edgent_methods import METHODS, Row

from isthmus.report.chart import polyline, staircase
from isthmus.report.markup import Markup, join, tag
from isthmus.report.scale import Scale, linear_ticks, log_ticks
from isthmus.units import show_rate, show_seconds

COLOURS = dict(zip(METHODS, ("#03734b", "#4d1d6b", "#4a86dd", "#c98a00", "#c0262d"), strict=True))
DASHES = dict(zip(METHODS, ("8 3", "2 3", "5 2 1 2", "9 2 2 2", ""), strict=True))
SHADES = ((0xF6, 0xD6, 0x6B), (0x8F, 0xC1, 0xA9), (0x1A, 0x44, 0xA5))
WIDE, HIGH, LEFT, TOP, RIGHT, BELOW = 510, 300, 70, 44, 34, 46
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#16191d}.b{font-weight:650;font-size:13px}.s{fill:#5b636b}"
    ".w{fill:#ffffff}.g{stroke:#e3e6e9}.l{fill:none;stroke-width:2}"
)
Panel = tuple[str, Markup]


_HALO = "paint-order:stroke;stroke:#fff;stroke-width:3px"


def drawn(
    title: str, rates: Sequence[Row], requirements: Sequence[Row], accuracy: dict[str, float | None], note: str
) -> str:
    """The picture of one set-up. `rates`: every method at every rate; `requirements`: under every requirement."""
    panels = [
        latency(rates),
        decisions(rates, "rate", list(accuracy)),
        reached(requirements, accuracy),
        decisions(requirements, "requirement", list(accuracy)),
    ]
    width, height = 2 * WIDE, 2 * HIGH + 76
    parts = [
        tag("style", _STYLE),
        tag("rect", width=width, height=height, fill="#ffffff"),
        tag("text", title, x=LEFT, y=20, class_="b"),
        tag("text", note, x=LEFT, y=38, class_="s"),
        _legend(54),
    ]
    parts += [
        tag("g", tag("text", name, x=LEFT, y=TOP - 12, class_="b"), body, transform=f"translate({x} {y})")
        for (name, body), (x, y) in zip(
            panels, ((0, 70), (WIDE, 70), (0, HIGH + 70), (WIDE, HIGH + 70)), strict=True
        )
    ]  # fmt: skip
    box = f"0 0 {width} {height}"
    return str(tag("svg", *parts, xmlns="http://www.w3.org/2000/svg", viewBox=box, role="img", aria_label=title)) + "\n"


def latency(rows: Sequence[Row]) -> Panel:
    """Seconds against the rate; where nothing is in time, of the fastest there is."""
    x = _rate_scale(rows)
    seconds = [r.seconds for r in rows]
    y = Scale(min(seconds) / 1.2, max(seconds) * 1.2, HIGH - BELOW, TOP, log=True)
    within = rows[0].within_s
    parts = [_across(y, [(t, show_seconds(t)) for t in log_ticks(y.low, y.high, 6)]), _rates(x)]
    if y.low < within < y.high:
        line = {"x1": LEFT, "x2": WIDE - RIGHT, "y1": y.one(within), "y2": y.one(within)}
        parts.append(tag("line", **line, stroke="#16191d", stroke_dasharray="1 3"))
    for method in METHODS:
        points = [(x.one(r.rate_bps), y.one(r.seconds)) for r in rows if r.method == method]
        parts.append(_line(method, polyline(points)))
    if y.low < within < y.high:  # last, over the lines
        said, at = f"allowed: {show_seconds(within)}", y.one(within) - 5
        parts.append(tag("text", said, x=WIDE - RIGHT, y=at, text_anchor="end", style=_HALO))
    return "latency against bandwidth", join(parts)


def reached(rows: Sequence[Row], accuracy: dict[str, float | None]) -> Panel:
    """Accuracy of the exit that answers in time; on the ground line: late. No line where it is not known."""
    x = _requirement_scale(rows)

    def seen(row: Row) -> float | None:
        return accuracy.get(row.exit)

    known = [a for r in rows if r.meets and (a := seen(r)) is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    air = max(0.02, 0.15 * (high - low))
    y = Scale(low - 2 * air, high + air, HIGH - BELOW, TOP)
    ticks = [t for t in linear_ticks(high + air, 20) if low - air <= t][:: 1 if high - low < 0.2 else 2]
    parts = [_across(y, [(t, f"{t:.0%}") for t in ticks]), _requirements(x)]
    ground = y.one(low - 1.6 * air)
    parts.append(tag("text", "late", x=LEFT - 8, y=ground + 4, text_anchor="end", class_="s"))
    for at, method in enumerate(METHODS):
        apart = 2.5 * (at - 2)  # so that lines which coincide are all seen
        mine = [r for r in rows if r.method == method]
        edges = [*(x.one(r.within_s) for r in mine), WIDE - RIGHT]
        paths = []
        drawable = [not r.meets or seen(r) is not None for r in mine]
        for known_too, run in groupby(range(len(mine)), key=drawable.__getitem__):
            span = list(run)
            if known_too:
                heights = [(y.one(seen(mine[i]) or 0.0) if mine[i].meets else ground) + apart for i in span]
                paths.append(staircase(list(zip((edges[i] for i in span), heights, strict=True)), edges[span[-1] + 1]))
        parts.append(_line(method, "".join(paths)))
    return f"accuracy reached in time, at {show_rate(rows[0].rate_bps)}", join(parts)


def decisions(rows: Sequence[Row], by: str, exits: Sequence[str]) -> Panel:
    """Edgent's exit (colour) and the share of its layers before the cut (height); grey where all are late."""
    mine = [r for r in rows if r.method == "Edgent"]
    x = _rate_scale(rows) if by == "rate" else _requirement_scale(rows)
    y = Scale(0.0, 1.0, HIGH - BELOW, TOP)
    where = [r.rate_bps if by == "rate" else r.within_s for r in mine]
    edges = [x.start, *((x.one(a) + x.one(b)) / 2 for a, b in pairwise(where)), x.end]
    parts = [_across(y, [(t / 4, f"{t * 25}%") for t in range(5)])]
    for _, run in groupby(range(len(mine)), key=lambda i: (mine[i].exit, mine[i].partition, mine[i].meets)):
        span = list(run)
        left, right, row = edges[span[0]], edges[span[-1] + 1], mine[span[0]]
        share = (row.partition - 1) / row.layers
        colour = shade(exits.index(row.exit), len(exits)) if row.meets else "#c9ced3"
        top = min(y.one(share), HIGH - BELOW - 4)
        hint = tag("title", f"{row.exit}, p={row.partition} of {row.layers + 1}")
        parts.append(
            tag("rect", hint, x=left, y=top, width=max(1.0, right - left), height=HIGH - BELOW - top, fill=colour)
        )
        if right - left > 60:
            label = f"{row.exit} p={row.partition}" if row.meets else "late"
            css = "w" if row.meets and exits.index(row.exit) == len(exits) - 1 and share > 0.2 else None
            parts.append(
                tag("text", label, x=(left + right) / 2, y=max(top - 5, TOP + 12), text_anchor="middle", class_=css)
            )
    parts.append(_rates(x) if by == "rate" else _requirements(x))
    return f"Edgent by {'bandwidth' if by == 'rate' else 'requirement'}: exit, layers before the cut", join(parts)


def shade(place: int, count: int) -> str:
    """The colour of exit number `place` of so many: the first is light yellow, the last dark blue."""
    share = place / max(1, count - 1)
    at = min(int(share * (len(SHADES) - 1)), len(SHADES) - 2)
    along = share * (len(SHADES) - 1) - at
    mixed = (round(a + (b - a) * along) for a, b in zip(SHADES[at], SHADES[at + 1], strict=True))
    return "#" + "".join(f"{c:02x}" for c in mixed)


def _line(method: str, path: str) -> Markup:
    return tag("path", d=path, stroke=COLOURS[method], stroke_dasharray=DASHES[method] or None, class_="l")


def _legend(y: float) -> Markup:
    parts, x = [], float(LEFT)
    for method in METHODS:
        parts.append(tag("g", _line(method, f"M{x} {y}h26")))
        parts.append(tag("text", method, x=x + 31, y=y + 4))
        x += 60 + 7 * len(method)
    return join(parts)


def _rate_scale(rows: Sequence[Row]) -> Scale:
    rates = [r.rate_bps for r in rows]
    return Scale(min(rates), max(rates), LEFT, WIDE - RIGHT, log=True)


def _requirement_scale(rows: Sequence[Row]) -> Scale:
    within = [r.within_s for r in rows]
    return Scale(min(within), max(within), LEFT, WIDE - RIGHT, log=max(within) > 20 * min(within))


def _rates(x: Scale) -> Markup:
    return _below(x, [(t, show_rate(t)) for t in log_ticks(x.low, x.high, 5)])


def _requirements(x: Scale) -> Markup:
    ticks = log_ticks(x.low, x.high, 6) if x.log else [t for t in linear_ticks(x.high, 6) if t >= x.low]
    return _below(x, [(t, show_seconds(t)) for t in ticks])


def _below(x: Scale, ticks: Sequence[tuple[float, str]]) -> Markup:
    parts = []
    for value, label in ticks:
        at = x.one(value)
        parts.append(tag("line", x1=at, x2=at, y1=HIGH - BELOW, y2=HIGH - BELOW + 5, stroke="#5b636b"))
        parts.append(tag("text", label, x=at, y=HIGH - BELOW + 19, text_anchor="middle", class_="s"))
    parts.append(tag("line", x1=LEFT, x2=WIDE - RIGHT, y1=HIGH - BELOW, y2=HIGH - BELOW, stroke="#5b636b"))
    return join(parts)


def _across(y: Scale, ticks: Sequence[tuple[float, str]]) -> Markup:
    parts = []
    for value, label in ticks:
        at = y.one(value)
        parts.append(tag("line", x1=LEFT, x2=WIDE - RIGHT, y1=at, y2=at, class_="g"))
        parts.append(tag("text", label, x=LEFT - 8, y=at + 4, text_anchor="end", class_="s"))
    return join(parts)

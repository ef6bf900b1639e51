"""The picture of `autosplit.py`: normalised latency of a method, a panel an uplink, a dot a model, a bar the mean."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

from isthmus.report.markup import Markup, join, number, tag

_LEFT, _WIDE, _ROW, _TOP, _GAP = 96, 230, 22, 44, 30
_MOST = 1.5
"""Normalised latency at which the drawing ends; what is slower stands at the edge."""
_METHODS = (
    "autosplit", "tensors", "qdmp_e_u4", "qdmp_e", "u2", "u4", "u6", "u8", "neurosurgeon", "dads", "qdmp", "cloud16",
    "jpeg:75", "webp:75", "jpeg:95", "webp:90",
)  # fmt: skip


def draw_latencies(rows: Sequence[dict[str, Any]]) -> str:
    """An SVG document."""
    rates = sorted({r["rate_mbit"] for r in rows})
    methods = [m for m in _METHODS if any(r["method"] == m for r in rows)]
    width, height = _LEFT + len(rates) * (_WIDE + _GAP), _TOP + len(methods) * _ROW + 46
    style = "text{font:12px system-ui,sans-serif;fill:#16191d}.b{font-weight:650;font-size:13px}.s{fill:#5b636b}"
    names = [
        tag("text", Markup(m), x=_LEFT - 8, y=_TOP + k * _ROW + 14, text_anchor="end", class_="b" if not k else None)
        for k, m in enumerate(methods)
    ]
    panels = [
        tag("g", _panel(rate, [r for r in rows if r["rate_mbit"] == rate], methods),
            transform=f"translate({_LEFT + place * (_WIDE + _GAP)} 0)")
        for place, rate in enumerate(rates)
    ]  # fmt: skip
    note = "latency over the slowest of CLOUD16, U8, Neurosurgeon, QDMP; dots: models (hollow: does not fit), bar: mean"
    return tag(
        "svg", tag("style", Markup(style)), tag("rect", width=width, height=height, fill="#ffffff"), *names, *panels,
        tag("text", Markup(note), x=_LEFT, y=height - 10, class_="s"),
        xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}",
    )  # fmt: skip


def _panel(rate: float, rows: Sequence[dict[str, Any]], methods: Sequence[str]) -> Markup:
    bottom = _TOP + len(methods) * _ROW
    parts = [tag("text", Markup(f"{rate:g} Mbit/s"), x=0, y=24, class_="b")]
    for tick in (0.0, 0.5, 1.0, 1.5):
        at = number(_at(tick))
        parts.append(tag("line", x1=at, x2=at, y1=_TOP, y2=bottom, stroke="#e3e6ea"))
        parts.append(tag("text", Markup(f"{tick:g}"), x=at, y=bottom + 16, text_anchor="middle", class_="s"))
    for place, method in enumerate(methods):
        mine = [r for r in rows if r["method"] == method]
        if mine:
            parts += _method(mine, _TOP + place * _ROW, "#03734b" if method in ("autosplit", "tensors") else "#8a939c")
    return join(parts)


def _method(rows: Sequence[dict[str, Any]], top: float, colour: str) -> list[Markup]:
    whole = mean(r["normalised"] for r in rows)
    bar = tag("rect", x=0, y=top + 4, width=number(_at(whole)), height=_ROW - 10, fill=colour, opacity=0.35)
    dots = [
        tag("circle", tag("title", Markup(f"{r['model']}: {r['normalised']:.2f}, {r['ms']:.0f} ms")),
            cx=number(_at(r["normalised"])), cy=number(top + _ROW / 2 - 1), r=3, stroke=colour,
            fill=colour if r["fits"] else "#ffffff")
        for r in rows
    ]  # fmt: skip
    return [bar, *dots]


def _at(normalised: float) -> float:
    return _WIDE * min(normalised, _MOST) / _MOST

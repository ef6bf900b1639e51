"""How long requests took, as a cumulative share, and how well that was foreseen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isthmus.record.journal import MAX_SECONDS
from isthmus.report.chart import (
    HALF,
    Chart,
    Key,
    dots,
    duration_axis_below,
    empty,
    picture,
    polyline,
    seconds_axis,
    share_axis,
    text,
)  # fmt: skip
from isthmus.report.columns import RAN, Columns, Floats
from isthmus.report.markup import Markup, number, tag
from isthmus.report.order import name_of
from isthmus.report.scale import Scale, label_share, log_range
from isthmus.units import show_seconds

LEFT, RIGHT, TOP, BOTTOM, HEIGHT = 64.0, HALF - 26.0, 12.0, 290.0, 314.0
MOST_POINTS = 300
MOST_NAMED_DOTS = 400
LEAST_S = 1e-6
"""A log axis has no zero: durations below a microsecond are drawn as one."""


def latency_shares(columns: Columns) -> Chart:
    """The share of requests answered within a time: all of them, and by where they ran."""
    totals = np.maximum(columns.total_s, LEAST_S)
    x, y = Scale(*log_range(totals), LEFT, RIGHT, log=True), Scale(0.0, 1.0, BOTTOM, TOP)
    if totals.size:
        parts = [duration_axis_below(x, TOP, BOTTOM), share_axis(y, LEFT, RIGHT)]
    else:
        parts = [empty(HALF, LEFT, RIGHT, (TOP + BOTTOM) / 2, "No request was answered")]
    keys, rows = [], []
    for name, css, values in _classes(columns, totals):
        times, shares = _cumulative(values)
        line = [(float(a), float(b)) for a, b in zip(x.at(times), y.at(shares), strict=True)]
        parts.append(tag("path", d=_stairs_up(line, y.one(0.0)), class_=css))
        keys.append(Key(css, name, f"{len(values)}, median {show_seconds(float(np.median(values)))}"))
        rows += [(name, f"{t * 1e3:.3f}", f"{s:.4f}") for t, s in zip(times, shares, strict=True)]
    beyond = int(((totals > x.high) | (totals < x.low)).sum())
    return Chart(
        title="How long requests took",
        about="Share of requests answered within a time.",
        svg=picture(HALF, HEIGHT, "Cumulative share of requests over latency", parts),
        keys=tuple(keys),
        notes=(f"{_lie(beyond)} beyond the axis",) if beyond else (),
        columns=("ran", "within ms", "share"),
        rows=tuple(rows),
    )


def foresight(columns: Columns, median_error: float | None) -> Chart:
    """Predicted against measured latency, one dot a request; the shaded band is ±10%."""
    known = np.isfinite(columns.predicted_s)
    said, took = np.maximum(columns.predicted_s[known], LEAST_S), np.maximum(columns.total_s[known], LEAST_S)
    low, high = log_range(np.concatenate([said, took]))
    x, y = Scale(low, high, LEFT, RIGHT, log=True), Scale(low, high, BOTTOM, TOP, log=True)
    parts, keys = [], []
    if known.any():
        parts = [duration_axis_below(x, TOP, BOTTOM), seconds_axis(y, LEFT, RIGHT), *_diagonal(x, y)]
        parts += [
            text(RIGHT - 6, BOTTOM - 8, "predicted →", "end", "axis"),
            text(LEFT + 8, TOP + 14, "measured ↑", css="axis"),
        ]
    else:
        parts = [empty(HALF, LEFT, RIGHT, (TOP + BOTTOM) / 2, "No prediction was recorded")]
    index = np.flatnonzero(known)
    for css, name, chosen in _kinds(columns, known):
        where = np.flatnonzero(np.isin(index, np.flatnonzero(chosen)))
        if where.size:
            parts.append(_cloud(columns, index[where], x.at(said[where]), y.at(took[where]), css))
            keys.append(Key(css, name, str(where.size)))
    beyond = int(((np.maximum(said, took) > high) | (np.minimum(said, took) < low)).sum())
    error = "" if median_error is None else f"Median error {label_share(median_error)}, fallbacks included. "
    return Chart(
        title="Predicted and measured",
        about=error + "The band is ±10%.",
        svg=picture(HALF, HEIGHT, "Measured latency over predicted latency", parts),
        keys=tuple(keys),
        notes=(f"{_lie(beyond)} beyond the axes, drawn at their edge",) if beyond else (),
        columns=("request", "predicted ms", "measured ms"),
        rows=_sample(columns, index),
    )


def _classes(columns: Columns, totals: Floats) -> list[tuple[str, str, Floats]]:
    found = [("all", "l-all", totals)] if totals.size else []
    kinds = [(ran, f"l-{ran}", totals[columns.ran == i]) for i, ran in enumerate(RAN)]
    present = [kind for kind in kinds if kind[2].size]
    return [*found, *present] if len(present) > 1 else found


def _kinds(columns: Columns, known: NDArray[np.bool_]) -> list[tuple[str, str, NDArray[np.bool_]]]:
    plain = [(f"d-{ran}", ran, known & ~columns.fell & (columns.ran == i)) for i, ran in enumerate(RAN)]
    return [*plain, ("d-fell", "fell back", known & columns.fell)]


def _cumulative(values: Floats) -> tuple[Floats, Floats]:
    """(time, share answered within it), every request or `MOST_POINTS` evenly ranked ones with both extremes."""
    ordered = np.sort(values)
    picks = np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), MOST_POINTS)).round().astype(np.int64))
    return ordered[picks], (picks + 1) / len(ordered)


def _stairs_up(points: Sequence[tuple[float, float]], floor: float) -> str:
    """Path data of a share that jumps at each time."""
    return f"M{number(points[0][0])} {number(floor)}" + "".join(f"H{number(px)}V{number(py)}" for px, py in points)


def _diagonal(x: Scale, y: Scale) -> list[Markup]:
    ends = (x.low, x.high)
    upper = [(x.one(v), y.one(v * 1.1)) for v in (x.low, x.high / 1.1, x.high)]
    lower = [(x.one(v), y.one(v * 0.9)) for v in (x.high, x.low / 0.9, x.low)]
    return [
        tag("path", d=polyline([*upper, *lower]) + "Z", class_="tenth"),
        tag("path", d=polyline([(x.one(v), y.one(v)) for v in ends]), class_="same"),
    ]


def _cloud(columns: Columns, requests: NDArray[np.int64], x: Floats, y: Floats, css: str) -> Markup:
    """Dots that name themselves under the pointer, or, where there are many, plain dots, one a place."""
    if len(columns.requests) > MOST_NAMED_DOTS:
        return tag("path", d=dots(zip(x.tolist(), y.tolist(), strict=True)), class_=css)
    return tag("g", *[_dot(columns, int(i), a, b, css) for i, a, b in zip(requests, x, y, strict=True)])


def _dot(columns: Columns, i: int, x: float, y: float, css: str) -> Markup:
    step = columns.requests[i]
    words = (
        f"request {step.id}, {name_of(step.cut)}\npredicted {show_seconds(float(columns.predicted_s[i]))}, "
        f"measured {show_seconds(float(columns.total_s[i]))}"
    )
    return tag("path", tag("title", words), d=f"M{number(x)} {number(y)}h0", class_=css)


def _sample(columns: Columns, index: NDArray[np.int64]) -> tuple[tuple[str, ...], ...]:
    picks = index[:: max(1, -(-len(index) // MOST_NAMED_DOTS))]
    return tuple(
        (str(columns.requests[i].id), _milliseconds(columns.predicted_s[i]), _milliseconds(columns.total_s[i]))
        for i in picks
    )


def _milliseconds(value_s: float) -> str:
    value_ms = float(value_s) * 1e3  # numpy's own would warn where that is infinite
    return f"{value_ms:.3f}" if abs(value_s) <= MAX_SECONDS else f"{value_ms:.3g}"


def _lie(count: int) -> str:
    return "1 request lies" if count == 1 else f"{count} requests lie"

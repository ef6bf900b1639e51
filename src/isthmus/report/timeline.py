"""The run over time: what latency was made of, what the link gave and was believed to give, where it ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.report.chart import (
    WIDTH,
    Chart,
    Key,
    boxes,
    dots,
    empty,
    picture,
    rate_axis,
    seconds_axis,
    staircase,
    text,
    time_axis,
)  # fmt: skip
from isthmus.report.columns import DRAWN_CAUSES, RAN, Columns, Floats, Groups, groups_of, runs_of
from isthmus.report.markup import Markup, number, shorten_all, tag
from isthmus.report.order import cuts_in_order, name_of
from isthmus.report.scale import Scale, drawn_limit, log_range
from isthmus.units import show_rate, show_seconds

LEFT, RIGHT = 200.0, WIDTH - 26.0
TITLE = 30.0
"""Height of the line above a panel that names it."""
MOST_ROWS = 24
CROSS = 5.0
"""Fallbacks closer together than this share a cross."""

Trace = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """A stretch of the picture, from its top to its bottom."""

    top: float
    bottom: float

    def below(self, height: float) -> Panel:
        """The next panel, with room for its title."""
        return Panel(self.bottom + TITLE + 8, self.bottom + TITLE + 8 + height)


def timeline(columns: Columns, link_trace: Trace, cut_order: Sequence[str]) -> Chart:
    """Three panels over one time axis: latency stacked by cause, bandwidth, and the place each request ran at."""
    groups = groups_of(columns)
    order, guess = cuts_in_order(columns.requests, cut_order)
    rows = order[:MOST_ROWS] if len(order) <= MOST_ROWS else _commonest(columns, order)
    latency = Panel(TITLE, TITLE + 230)
    rate = latency.below(130)
    place = rate.below(max(46.0, 22.0 * len(rows)))
    time = Scale(*columns.span_s, LEFT, RIGHT)
    panels = [(p.top, p.bottom) for p in (latency, rate, place)]
    drawn_latency, clipped = _latency(columns, groups, time, latency)
    parts = [
        time_axis(time, panels, place.bottom),
        *_fallback_bands(groups, time, panels),
        *drawn_latency,
        *_rates(columns, link_trace, time, rate),
        *_places(columns, groups, rows, time, place),
        *_hits(columns, groups, time, latency.top, place.bottom),
    ]
    notes = [_grouping(columns, groups), clipped, guess, _left_out(len(order), len(rows))]
    return Chart(
        title="The run over time",
        about="Legend: mean of all requests by cause. Point at the chart for the numbers of one moment.",
        svg=picture(WIDTH, place.bottom + 28, "Latency by cause, bandwidth and place over time", parts),
        keys=_keys(columns),
        notes=tuple(n for n in notes if n),
        columns=("from s", "requests", "mean ms", "best ms", "worst ms", *(f"{c} ms" for c in DRAWN_CAUSES),
                 "cut", "true Mbit/s", "believed Mbit/s", "fallbacks"),
        rows=tuple(_row(columns, groups, i) for i in range(len(groups))),
    )  # fmt: skip


def _latency(columns: Columns, groups: Groups, time: Scale, panel: Panel) -> tuple[list[Markup], str]:
    limit_s = drawn_limit(np.maximum(columns.total_s, 0))
    scale = Scale(0.0, limit_s * 1.04, panel.bottom, panel.top)
    parts = [_title(panel, "Latency by cause"), seconds_axis(scale, LEFT, RIGHT)]
    if not len(groups):
        return [*parts, empty(WIDTH, LEFT, RIGHT, (panel.top + panel.bottom) / 2, "No request was answered")], ""
    x0, x1 = _edges(groups, time)
    base = np.zeros(len(groups))
    for i, cause in enumerate(DRAWN_CAUSES):
        top = base + groups.causes_s[:, i]
        some = scale.at(base) - scale.at(top) > 0.05
        if some.any():
            data = boxes(x0[some], x1[some], scale.at(base)[some], scale.at(top)[some])
            parts.append(tag("path", d=data, class_=f"f-{cause}"))
        base = top
    if not groups.single:
        parts.append(tag("path", d=boxes(x0, x1, scale.at(base), scale.at(groups.worst_s)), class_="worst"))
    over = np.flatnonzero(groups.worst_s > scale.high)
    for x in (x0[over] + x1[over]) / 2:
        parts.append(tag("path", d=f"M{x - 4:.1f} {panel.top + 1:.1f}h8l-4 -7Z", class_="beyond"))
    count = int((columns.total_s > scale.high).sum())
    if not count:
        return parts, ""
    greatest = show_seconds(float(columns.total_s.max()))
    who = "1 request reaches" if count == 1 else f"{count} requests reach"
    return parts, f"{who} beyond the latency axis (▲), the longest {greatest}"


def _rates(columns: Columns, link_trace: Trace, time: Scale, panel: Panel) -> list[Markup]:
    trace = [p for p in link_trace if p[0] <= time.high]
    if trace:
        true_t_s, true_bps = np.array([p[0] for p in trace]), np.array([p[1] for p in trace])
    else:
        known = ~np.isnan(columns.true_bps)
        true_t_s, true_bps = columns.t_s[known], columns.true_bps[known]
    believed = ~np.isnan(columns.estimate_bps)
    everything = np.concatenate([true_bps, columns.estimate_bps[believed], columns.evidence_bps])
    scale = Scale(*log_range(everything), panel.bottom, panel.top, log=True)
    parts = [_title(panel, "Uplink rate")]
    if not everything.size:
        return [*parts, empty(WIDTH, LEFT, RIGHT, (panel.top + panel.bottom) / 2, "No rate was recorded")]
    parts += [*_rate_keys(panel), rate_axis(scale, LEFT, RIGHT)]
    seen = zip(time.at(columns.evidence_t_s), scale.at(columns.evidence_bps), strict=True)
    parts.append(tag("path", d=dots(seen), class_="l-measured"))
    for t_s, bps, css in (
        (true_t_s, true_bps, "l-true"),
        (columns.t_s[believed], columns.estimate_bps[believed], "l-believed"),
    ):
        if t_s.size:
            parts.append(tag("path", d=staircase(_thin(time.at(t_s), scale.at(bps)), RIGHT), class_=css))
    for x in sorted({round(time.one(p.t_s)) for p in columns.probes if p.probed}):
        parts.append(tag("path", d=f"M{x} {panel.bottom - 7}v7", class_="probe"))
    return parts


def _places(columns: Columns, groups: Groups, rows: Sequence[str], time: Scale, panel: Panel) -> list[Markup]:
    parts = [_title(panel, "Where it ran · cuts from input (top) to output")]
    if not rows:
        return [*parts, empty(WIDTH, LEFT, RIGHT, (panel.top + panel.bottom) / 2, "No request was answered")]
    height = (panel.bottom - panel.top) / len(rows)
    middle = {cut: panel.top + (i + 0.5) * height for i, cut in enumerate(rows)}
    for (cut, y), label in zip(middle.items(), shorten_all([name_of(c) for c in rows], 27), strict=True):
        parts.append(tag("line", x1=LEFT, x2=RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(text(LEFT - 8, y + 4, label, "end", title=name_of(cut)))
    asked = [s.asked or s.cut for s in columns.requests]
    x0, x1 = _edges(groups, time)
    last = [(float(x0[i]), middle[asked[f]]) for i, f in enumerate(groups.first) if asked[f] in middle]
    parts.append(tag("path", d=staircase(last, float(x1[-1])), class_="asked"))
    cells = np.full((len(rows), len(RAN), len(groups)), fill_value=False)
    index = {cut: i for i, cut in enumerate(rows)}
    group = np.repeat(np.arange(len(groups)), groups.count)
    for i, step in enumerate(columns.requests):
        if step.cut in index:
            cells[index[step.cut], columns.ran[i], group[i]] = True
    for row, cut in enumerate(rows):
        for kind, ran in enumerate(RAN):
            data = "".join(_bars(cells[row, kind], x0, x1, middle[cut]))
            if data:
                parts.append(tag("path", d=data, class_=f"p-{ran}"))
    crossed = {
        (CROSS * round(float(x0[group[i]] + x1[group[i]]) / 2 / CROSS), middle[columns.requests[i].cut])
        for i in np.flatnonzero(columns.fell)
        if columns.requests[i].cut in middle
    }
    marks = "".join(f"M{number(x - 4)} {number(y - 4)}l8 8m0 -8l-8 8" for x, y in sorted(crossed))
    return [*parts, *(tag("path", d=marks, class_=css) for css in ("halo", "cross"))] if marks else parts


def _bars(flags: NDArray[np.bool_], x0: Floats, x1: Floats, y: float) -> list[str]:
    """Boxes of unbroken use on one row; a pause wider than a bar stays a gap."""
    found = []
    for first, last in runs_of(flags):
        begin = first
        for i in range(first, last + 1):
            if i == last or x0[i + 1] > x1[i] + 0.5:
                found.append(boxes([x0[begin]], [x1[i]], [y - 6], [y + 6]))
                begin = i + 1
    return found


def _fallback_bands(groups: Groups, time: Scale, panels: Sequence[tuple[float, float]]) -> list[Markup]:
    x0, x1 = _edges(groups, time)
    return [
        tag("rect", x=float(x0[a]), y=top, width=max(float(x1[b] - x0[a]), 2.0), height=bottom - top, class_="band")
        for a, b in runs_of(groups.fell > 0)
        for top, bottom in panels
    ]


def _hits(columns: Columns, groups: Groups, time: Scale, top: float, bottom: float) -> list[Markup]:
    """Invisible bars over the whole height that show their numbers under the pointer."""
    x0, x1 = _edges(groups, time)
    return [
        tag("rect", tag("title", _words(columns, groups, i)), x=float(x0[i]), y=top,
            width=float(x1[i] - x0[i]), height=bottom - top, class_="hit")
        for i in range(len(groups))
    ]  # fmt: skip


def _words(columns: Columns, groups: Groups, i: int) -> str:
    first, count = int(groups.first[i]), int(groups.count[i])
    step = columns.requests[first]
    many = f"{count} requests: mean {show_seconds(groups.mean_s[i])}, {show_seconds(groups.best_s[i])} to "
    lines = [
        f"{step.t_s:.2f} s",
        many + show_seconds(groups.worst_s[i]) if count > 1 else f"request {step.id}: {show_seconds(groups.mean_s[i])}",
        ", ".join(f"{c} {show_seconds(s)}" for c, s in zip(DRAWN_CAUSES, groups.causes_s[i], strict=True) if s > 0),
        f"{name_of(step.cut)}, {step.codec}" + (f" (asked: {name_of(step.asked)})" if step.asked else ""),
    ]
    for known, word in ((columns.true_bps[first], "link"), (columns.estimate_bps[first], "believed")):
        if np.isfinite(known):
            lines.append(f"{word} {show_rate(float(known))}")
    troubles = dict.fromkeys(s.trouble for s in columns.requests[first : first + count] if s.trouble)
    return "\n".join([*lines, *list(troubles)[:3]])


def _row(columns: Columns, groups: Groups, i: int) -> tuple[str, ...]:
    first = int(groups.first[i])
    seconds = (groups.mean_s[i], groups.best_s[i], groups.worst_s[i], *groups.causes_s[i])
    rates = (columns.true_bps[first], columns.estimate_bps[first])
    return (
        f"{groups.start_s[i]:.3f}",
        str(int(groups.count[i])),
        *(f"{s * 1e3:.2f}" for s in seconds),
        columns.requests[first].cut,
        *(f"{r / 1e6:.3g}" if np.isfinite(r) else "" for r in rates),
        str(int(groups.fell[i])),
    )


def _keys(columns: Columns) -> tuple[Key, ...]:
    if not columns.requests:
        return ()
    means = columns.causes_s.mean(axis=0)
    keys = [Key(f"f-{c}", c, show_seconds(m)) for c, m in zip(DRAWN_CAUSES, means, strict=True) if m > 0]
    if columns.fell.any():
        keys.append(Key("cross", "fell back", str(int(columns.fell.sum()))))
    return tuple(keys)


def _edges(groups: Groups, time: Scale) -> tuple[Floats, Floats]:
    x0 = time.at(groups.start_s)
    return x0, np.maximum(time.at(groups.end_s), x0 + 1.0)


def _thin(x: Floats, y: Floats) -> list[tuple[float, float]]:
    """The line as the screen shows it: per pixel column its first, lowest, highest and last point."""
    column = np.round(x)
    kept: list[tuple[float, float]] = []
    starts = np.flatnonzero(np.diff(column, prepend=-1.0))
    for a, b in zip(starts, np.append(starts[1:], len(x)), strict=True):
        picks = sorted({a, a + int(np.argmin(y[a:b])), a + int(np.argmax(y[a:b])), b - 1})
        kept += [(float(x[i]), float(y[i])) for i in picks]
    return kept


def _commonest(columns: Columns, order: Sequence[str]) -> tuple[str, ...]:
    uses = {cut: sum(s.cut == cut for s in columns.requests) for cut in order}
    kept = set(sorted(order, key=lambda c: -uses[c])[:MOST_ROWS])
    return tuple(c for c in order if c in kept)


def _grouping(columns: Columns, groups: Groups) -> str:
    if groups.single:
        return ""
    return (
        f"{len(columns.requests)} requests drawn as {len(groups)} bars: each is the mean over its stretch of time, "
        "the pale part above it reaches to the slowest request in it"
    )


def _left_out(all_rows: int, rows: int) -> str:
    return f"{all_rows} cuts were used; the {rows} used most are drawn" if all_rows > rows else ""


def _rate_keys(panel: Panel) -> list[Markup]:
    """Which line is which, beside the panel's title."""
    y = panel.top - 14
    samples = (("true", "l-true", "h16"), ("believed", "l-believed", "h16"), ("measured", "l-measured", "m6 0h0"),
               ("probe", "probe", "m8 -4v8"))  # fmt: skip
    return [
        part
        for i, (word, css, line) in enumerate(samples)
        for x in [LEFT + 130.0 + 100.0 * i]
        for part in (tag("path", d=f"M{x} {y}{line}", class_=css), text(x + 22, y + 4, word, css="key"))
    ]


def _title(panel: Panel, words: str) -> Markup:
    return text(LEFT, panel.top - 10, words, css="panel")

"""What the planner looked at: the price of every choice, stacked by cause, in running order."""

from __future__ import annotations

import math
from dataclasses import dataclass

from isthmus.plan.types import CostRow, Plan
from isthmus.report.chart import WIDTH, Chart, Key, boxes, duration_axis_below, empty, picture, text
from isthmus.report.markup import Markup, shorten_all, tag
from isthmus.report.order import name_of
from isthmus.report.scale import Scale, drawn_limit
from isthmus.units import show_bytes, show_seconds

LEFT, RIGHT, TOP, ROW = 270.0, WIDTH - 90.0, 8.0, 21.0
MOST_BARS = 60
_PARTS = ("head", "middle", "codec", "up", "tail", "down", "fixed")
_CSS = {"head": "f-head", "middle": "f-local", "codec": "f-encode", "up": "f-up", "tail": "f-tail",
        "down": "f-down", "fixed": "f-rest"}  # fmt: skip


@dataclass(frozen=True)
class _Bar:
    name: str
    codec: str
    cost: CostRow
    chosen: bool

    @property
    def total_s(self) -> float:
        return self.cost.total_s

    def parts_s(self) -> dict[str, float]:
        """Seconds by cause; the first machine runs the head, the last the tail, those between the middle."""
        compute = self.cost.compute_s
        return {
            "head": compute[0] if compute else 0.0,
            "middle": sum(compute[1:-1]),
            "codec": self.cost.codec_s,
            "up": sum(self.cost.up_s),
            "tail": compute[-1] if len(compute) > 1 else 0.0,
            "down": sum(self.cost.down_s),
            "fixed": self.cost.fixed_s,
        }


def plan_bars(plan: Plan) -> Chart:
    """One bar a choice that was priced, the cheapest codec of each cut, the chosen one marked."""
    every = _bars(plan)
    bars = _cheapest(every)
    limit_s = drawn_limit([b.total_s for b in bars if math.isfinite(b.total_s)]) * 1.04
    bottom = TOP + ROW * max(len(bars), 2)
    x = Scale(0.0, limit_s, LEFT, RIGHT)
    parts = [duration_axis_below(x, TOP, bottom)]
    for i, label in enumerate(shorten_all([b.name for b in bars], 38)):
        parts += _row(bars[i], label, x, TOP + ROW * i)
    if not bars:
        parts = [empty(WIDTH, 0, WIDTH, TOP + ROW, "The plan names no price")]
    used = [p for p in _PARTS if any(b.parts_s()[p] > 0 for b in bars)]
    left_out = len(every) - len(bars)
    beyond = sum(b.total_s > limit_s for b in bars)
    notes = (
        f"{len(every)} cuts were priced; the {len(bars)} cheapest are drawn" if left_out else "",
        f"{beyond} bars reach beyond the axis; their price stands at their end" if beyond else "",
    )
    return Chart(
        title="What the plan expected",
        about=f"{plan.planner}: {plan.why}",
        svg=picture(WIDTH, bottom + 28, "Price of each cut by cause", parts),
        keys=tuple(Key(_CSS[p], p) for p in used),
        notes=tuple(n for n in notes if n),
        columns=("cut", "codec", *(f"{p} ms" for p in _PARTS), "total ms", "up bytes", "down bytes", "chosen"),
        rows=tuple(_numbers(bar) for bar in bars),
    )


def _bars(plan: Plan) -> list[_Bar]:
    """The cheapest price of each set of cuts, in the order given; the plan's own is always there."""
    best: dict[tuple[str, ...], _Bar] = {}
    for candidate in plan.candidates:
        bar = _Bar(_named(candidate.cuts), candidate.codec, candidate.cost, chosen=False)
        if candidate.cuts not in best or bar.total_s < best[candidate.cuts].total_s:
            best[candidate.cuts] = bar
    best[plan.cuts] = _Bar(_named(plan.cuts), plan.codec, plan.cost, chosen=True)
    return list(best.values())


def _cheapest(bars: list[_Bar]) -> list[_Bar]:
    ranked = sorted(bars, key=lambda b: (not b.chosen, b.total_s if math.isfinite(b.total_s) else math.inf))
    kept = {id(b) for b in ranked[:MOST_BARS]}
    return [b for b in bars if id(b) in kept]


def _named(cuts: tuple[str, ...]) -> str:
    return " / ".join(name_of(c) for c in cuts)


def _row(bar: _Bar, label: str, x: Scale, top: float) -> list[Markup]:
    words = [f"{p} {show_seconds(s)}" for p, s in bar.parts_s().items() if s > 0]
    title = "\n".join([bar.name, bar.codec, *words, f"up {show_bytes(sum(bar.cost.up_bytes))}"])
    parts = [text(LEFT - 8, top + 14, label, "end", "tick strong" if bar.chosen else "tick", bar.name)]
    base = 0.0
    for name, part_s in bar.parts_s().items():
        end = base + part_s
        x0, x1 = x.one(base), x.one(end)
        if x1 - x0 > 0.05:
            parts.append(tag("path", d=boxes([x0], [x1], [top + 3], [top + ROW - 3]), class_=_CSS[name]))
        base = end
    price = show_seconds(bar.total_s) + (" ◀ plan" if bar.chosen else "")
    parts.append(text(x.one(bar.total_s) + 6, top + 14, price, css="tick strong" if bar.chosen else "tick"))
    parts.append(tag("rect", tag("title", title), x=0, y=top, width=WIDTH, height=ROW, class_="hit"))
    return parts


def _numbers(bar: _Bar) -> tuple[str, ...]:
    seconds = (*bar.parts_s().values(), bar.total_s)
    sizes = (str(sum(bar.cost.up_bytes)), str(sum(bar.cost.down_bytes)))
    return (bar.name, bar.codec, *(f"{s * 1e3:.3f}" for s in seconds), *sizes, "yes" if bar.chosen else "")

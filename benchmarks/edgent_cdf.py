"""The distribution of the reward of every policy, drawn as SVG; used by edgent_dynamic.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isthmus.report.markup import Markup, join, tag
from isthmus.simulate import CDF_SHARES

COLOURS = {
    "edgent": "#8a5a00",
    "edgent_each": "#c2410c",
    "edgent_map": "#1a44a5",
    "edgent_map_accuracy": "#03734b",
    "edgent_map, mean": "#8b6fc4",
}
DASHES = {
    "edgent": "7 3",
    "edgent_each": "2 3",
    "edgent_map": "none",
    "edgent_map_accuracy": "10 3 2 3",
    "edgent_map, mean": "4 2",
}
WIDE, HIGH, LEFT, TOP, GAP = 250.0, 150.0, 46.0, 62.0, 34.0


def draw_distributions(rows: Sequence[dict[str, Any]]) -> str:
    """One panel a case: settings across, networks and sets down."""
    lines = list(dict.fromkeys((r["net"], r["set"]) for r in rows))
    across = list(dict.fromkeys(r["setting"] for r in rows))
    step_x, step_y = LEFT + WIDE + GAP, TOP + HIGH + 26
    panels = [
        tag(
            "g",
            panel(row),
            transform=f"translate({step_x * across.index(row['setting'])} "
            f"{24 + step_y * lines.index((row['net'], row['set']))})",
        )
        for row in rows
    ]
    width, height = step_x * len(across), 24 + step_y * len(lines) + 8
    style = "text{font:12px system-ui,sans-serif;fill:#16191d}.b{font-weight:650;font-size:13px}.s{fill:#5b636b}"
    drawn = tag(
        "svg",
        tag("style", style),
        tag("rect", width=width, height=height, fill="#ffffff"),
        legend(),
        *panels,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
    )
    return str(drawn) + "\n"


def legend() -> Markup:
    """The policies, in a line at the top."""
    parts, x = [], LEFT
    for name, colour in COLOURS.items():
        parts.append(tag("path", d=f"M{x} 14H{x + 30}", **stroke(name, colour)))
        parts.append(tag("text", name, x=x + 36, y=18))
        x += 56 + 8 * len(name)
    return join(parts)


def stroke(name: str, colour: str) -> dict[str, str | float]:
    return {"stroke": colour, "stroke_width": 2, "fill": "none", "stroke_dasharray": DASHES[name]}


def panel(row: dict[str, Any]) -> Markup:
    """Share of requests (up) whose reward is at most so much (across)."""
    most = 1.05 * max(one["reward_cdf"][-1] for one in row["policies"].values())
    bottom = TOP + HIGH
    parts = [
        tag("text", f"{row['net']}, {row['set']}", x=LEFT, y=24, class_="b"),
        tag("text", f"{row['setting']}: {row['within_s'] * 1e3:.0f} ms, {row['median_mbit']:.2f} Mbit/s",
            x=LEFT, y=41, class_="s"),
    ]  # fmt: skip
    for share in (0.0, 0.5, 1.0):
        y = bottom - HIGH * share
        parts.append(tag("path", d=f"M{LEFT} {y}h{WIDE}", stroke="#d9dee3"))
        parts.append(tag("text", f"{share:.0%}", x=LEFT - 6, y=y + 4, text_anchor="end", class_="s"))
    for value in ticks(most):
        x = LEFT + WIDE * value / most
        parts.append(tag("path", d=f"M{x:.1f} {bottom}v4", stroke="#5b636b"))
        parts.append(tag("text", f"{value:g}", x=round(x, 1), y=bottom + 16, text_anchor="middle", class_="s"))
    parts.append(tag("text", "reward", x=LEFT + WIDE, y=bottom + 16, text_anchor="end", class_="s"))
    for name, one in row["policies"].items():
        points = [
            f"{LEFT + WIDE * value / most:.1f} {bottom - HIGH * share:.1f}"
            for value, share in zip(one["reward_cdf"], CDF_SHARES, strict=True)
        ]
        hint = tag("title", f"{name}: mean {one['reward']:.2f}, {one['met']:.1%} in time")
        parts.append(tag("path", hint, d=f"M{'L'.join(points)}", **stroke(name, COLOURS[name])))
    return join(parts)


def ticks(most: float) -> list[float]:
    """Four or so round values from zero on; the last eighth is left for the axis' name."""
    rough = most / 4
    unit = 10.0 ** (len(str(int(max(rough, 1)))) - 1)
    step = next(unit * k for k in (1, 2, 5, 10) if unit * k >= rough * 0.8)
    return [step * k for k in range(int(0.8 * most / step) + 1)]

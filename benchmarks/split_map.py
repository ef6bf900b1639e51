"""Pictures of the best split in every state (rate × batch), drawn as SVG; used by dynamic_split.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isthmus.report.markup import join, tag

DEVICE, SERVER = "#03734b", "#4d1d6b"
SPLITS = ("#cfe3ff", "#8fbaf5", "#4a86dd", "#1a44a5")
"""Cuts from early to late, light to dark."""
CELL, GAP, LEFT, TOP = 30, 50, 60, 70


def draw_maps(rows: Sequence[dict[str, Any]], rates_bps: Sequence[float], batches: Sequence[int]) -> str:
    """One panel a model (across) and pair (down). Each row has `model`, `pair`, `wins` (whose keys are the places in
    running order, the server first) and `map`: the best place of every state, all rates of the first batch first."""
    models = list(dict.fromkeys(r["model"] for r in rows))
    pairs = list(dict.fromkeys(r["pair"] for r in rows))
    wide, high = CELL * len(rates_bps) + GAP + LEFT, CELL * len(batches) + TOP + 60
    panels = []
    for r in rows:
        x, y = wide * models.index(r["model"]), high * pairs.index(r["pair"])
        panels.append(tag("g", panel(r, rates_bps, batches), transform=f"translate({x} {y})"))
    style = "text{font:12px system-ui,sans-serif;fill:#16191d}.b{font-weight:650;font-size:13px}.s{fill:#5b636b}"
    width, height = wide * len(models), high * len(pairs)
    back = tag("rect", width=width, height=height, fill="#ffffff")
    drawn = tag(
        "svg", tag("style", style), back, *panels, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {height}"
    )
    return str(drawn) + "\n"


def panel(row: dict[str, Any], rates_bps: Sequence[float], batches: Sequence[int]) -> str:
    """The map of one model on one pair."""
    colours = colours_of(list(row["wins"]))
    parts = [
        tag("text", f"{row['model']}", x=LEFT, y=20, class_="b"),
        tag("text", f"{row['pair']} ({row['kind']})", x=LEFT, y=37, class_="s"),
    ]
    for at, place in enumerate(row["map"]):
        line, column = divmod(at, len(rates_bps))
        left, top = LEFT + CELL * column, TOP - 20 + CELL * (len(batches) - 1 - line)
        hint = tag("title", f"batch {batches[line]}, {rates_bps[column] / 8e6:g} MB/s: {place}")
        parts.append(tag("rect", hint, x=left, y=top, width=CELL - 1, height=CELL - 1, fill=colours[place]))
    bottom = TOP - 20 + CELL * len(batches)
    for k, batch in enumerate(batches):
        y = TOP - 20 + CELL * (len(batches) - 1 - k) + 19
        parts.append(tag("text", str(batch), x=LEFT - 8, y=y, text_anchor="end", class_="s"))
    for k, rate in enumerate(rates_bps):
        middle = LEFT + CELL * k + CELL / 2
        parts.append(tag("text", f"{rate / 8e6:g}", x=middle, y=bottom + 15, text_anchor="middle", class_="s"))
    parts.append(tag("text", "batch", x=LEFT - 8, y=TOP - 26, text_anchor="end", class_="s"))
    parts.append(tag("text", "MB/s", x=LEFT + CELL * len(rates_bps) + 4, y=bottom + 15, class_="s"))
    x, y = LEFT, bottom + 25
    for place in (p for p, count in row["wins"].items() if count):
        if x > LEFT + CELL * len(rates_bps) - 40:
            x, y = LEFT, y + 18
        parts.append(tag("rect", x=x, y=y, width=12, height=12, fill=colours[place]))
        parts.append(tag("text", place, x=x + 16, y=y + 10))
        x += 28 + 7 * len(place)
    return join(parts)


def colours_of(places: Sequence[str]) -> dict[str, str]:
    """A colour for each place: server, splits in running order, device."""
    splits = [p for p in places if p not in ("server", "device")]
    shades = SPLITS[-len(splits) :] if splits else ()
    return {"server": SERVER, "device": DEVICE, **dict(zip(splits, shades, strict=True))}

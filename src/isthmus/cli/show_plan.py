"""A plan in the terminal: what, why, the cost by cause, a bar for every cut. Readable without colour, in 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from isthmus.cli.show_bits import solutions_view
from isthmus.cli.show_exits import config_view, exits_view
from isthmus.cli.show_switch import switch_view
from isthmus.plan.choose import name_of
from isthmus.plan.types import Candidate, CostRow, Plan
from isthmus.report.markup import shorten
from isthmus.units import show_bytes, show_seconds

WIDTH = 80
MOST_BARS = 100
LONGEST = 4.0
"""Bars longer than this many times the plan's own are cut short, or the plan's would be too short to read."""

_LABEL, _TOTAL = 26, 9
_CAUSES = (("█", "cyan"), ("░", "yellow"), ("▓", "magenta"), ("▒", "green"), ("·", "white"))


def show_plan(plan: Plan, names: Sequence[str] = ("device", "server")) -> Group:
    """The whole picture: summary, cost by cause, bars over all cuts, switch tables, exits, configuration map. `names`:
    what to call the machines, in order."""
    parts = [plan_summary(plan), Text(), cost_table(plan, names), Text(), plan_bars(plan, names)]
    if plan.solutions:
        parts += [Text(), solutions_view(plan)]
    if plan.switch:
        parts += [Text(), switch_view(plan.switch)]
    if plan.exit and plan.exits:
        parts += [Text(), exits_view(plan)]
    if plan.config is not None:
        parts += [Text(), config_view(plan.config)]
    return Group(*parts)


def plan_summary(plan: Plan) -> RenderableType:
    """Two lines: the plan, and why."""
    head = Text.assemble(
        (plan.model, "bold"),
        f"  batch {plan.batch}  by {plan.planner}\n",
        (name_of(plan.cuts, plan.codec, sends=sum(plan.cost.up_bytes) > 0), "bold green"),
        f"  {show_seconds(plan.cost.total_s)}",
        f"  at {plan.exit}" if plan.exit else "",
        _promised(plan),
    )
    return Group(head, Text(plan.why))


def _promised(plan: Plan) -> str:
    """What the plan answers for, empty where nothing was asked."""
    if plan.promise is None:
        return ""
    made = plan.promise
    return (
        f"  {show_seconds(made.sure_s)} in {100 * made.share:.4g}% of requests (within {show_seconds(made.within_s)})"
    )


def cost_table(plan: Plan, names: Sequence[str] = ("device", "server")) -> Table:
    """Seconds, share and bytes by cause; the last row is the sum."""
    cost, total = plan.cost, plan.cost.total_s or 1.0
    table = Table(box=None, pad_edge=False)
    table.add_column("cause")
    for heading in ("time", "share", "bytes"):
        table.add_column(heading, justify="right")
    rows: list[tuple[str, float, int | None]] = [
        (name, seconds, None) for name, seconds in zip(_machine_names(cost, names), cost.compute_s, strict=True)
    ]
    for j, (up, down) in enumerate(zip(cost.up_s, cost.down_s, strict=True)):
        which = f" {j + 1}" if len(cost.up_s) > 1 else ""
        rows += [(f"up{which}", up, cost.up_bytes[j]), (f"down{which}", down, cost.down_bytes[j])]
    rows += [("coding", cost.codec_s, None), ("fixed", cost.fixed_s, None)]
    for name, seconds, count in rows:
        table.add_row(name, show_seconds(seconds), f"{seconds / total:.0%}", "" if count is None else show_bytes(count))
    table.add_row("sum", show_seconds(cost.total_s), "", "", style="bold")
    return table


def plan_bars(plan: Plan, names: Sequence[str] = ("device", "server")) -> RenderableType:
    """One stacked bar a cut (its cheapest codec), in running order, the plan's own marked; long lists are thinned to
    MOST_BARS, keeping both ends, the plan and what comes nearest to it."""
    bars = _cheapest(plan)
    shown = _thinned(plan, bars)
    longest = min(max(c.cost.total_s for c in shown), LONGEST * plan.cost.total_s) if shown else 0.0
    room = WIDTH - _LABEL - _TOTAL - 5
    lines = [_legend(plan.cost, names)]
    lines += [_bar(c, _key(c) == (plan.cuts, plan.codec), longest, room) for c in shown]
    if len(shown) < len(bars):
        lines.append(Text(f"  {len(bars) - len(shown)} more cuts not shown; --json has them all", style="dim"))
    return Group(*lines)


def _cheapest(plan: Plan) -> list[Candidate]:
    """One candidate for each cut: the plan's own, else the cheapest."""
    found: dict[tuple[str, ...], Candidate] = {}
    for c in plan.candidates:
        known = found.get(c.cuts)
        mine = _key(c) == (plan.cuts, plan.codec)
        if known is None or mine or (_key(known) != (plan.cuts, plan.codec) and c.cost.total_s < known.cost.total_s):
            found[c.cuts] = c
    return list(found.values())


def _thinned(plan: Plan, bars: list[Candidate]) -> list[Candidate]:
    if len(bars) <= MOST_BARS:
        return bars
    by_cost = sorted(range(len(bars)), key=lambda i: bars[i].cost.total_s)
    own = [i for i, c in enumerate(bars) if c.cuts == plan.cuts]
    keep = dict.fromkeys([0, len(bars) - 1, *own, *by_cost[: MOST_BARS // 3]])
    left = MOST_BARS - len(keep)
    rest = [i for i in range(len(bars)) if i not in keep]
    keep.update(dict.fromkeys(rest[k * len(rest) // left] for k in range(left)))
    return [bars[i] for i in sorted(keep)]


def _bar(candidate: Candidate, own: bool, longest_s: float, room: int) -> Text:
    cost = candidate.cost
    label = f"{shorten(' | '.join(candidate.cuts), _LABEL - 9)} {candidate.codec}"
    line = Text("► " if own else "  ", style="bold green" if own else "")
    line.append(shorten(label, _LABEL).ljust(_LABEL) + " ", style="bold" if own else "")
    drawn, passed = 0, 0.0
    for (char, style), seconds in zip(_CAUSES, _stack(cost), strict=True):
        passed += seconds
        end = round(room * min(1.0, passed / longest_s)) if longest_s > 0 else 0
        line.append(char * (end - drawn), style=style)
        drawn = max(drawn, end)
    cut_short = cost.total_s > longest_s * (1 + 1e-9)
    line.append(("»" if cut_short else " ") + " " * (room - drawn))
    line.append(show_seconds(cost.total_s).rjust(_TOTAL), style="bold" if own else "")
    return line


def _stack(cost: CostRow) -> tuple[float, ...]:
    """device, up, server (and machines between), down, the rest."""
    away = sum(cost.compute_s[1:])
    return cost.compute_s[0], sum(cost.up_s), away, sum(cost.down_s), cost.codec_s + cost.fixed_s


def _legend(cost: CostRow, names: Sequence[str]) -> Text:
    machines = _machine_names(cost, names)
    words = (machines[0], "up", ", ".join(machines[1:]), "down", "coding and fixed")
    line = Text("  ")
    for (char, style), word in zip(_CAUSES, words, strict=True):
        line.append(f"{char * 2} ", style=style)
        line.append(f"{word}  ")
    return line


def _machine_names(cost: CostRow, names: Sequence[str]) -> tuple[str, ...]:
    if len(names) == len(cost.compute_s):
        return tuple(names)
    return tuple(f"machine {k + 1}" for k in range(len(cost.compute_s)))


def _key(candidate: Candidate) -> tuple[tuple[str, ...], str]:
    return candidate.cuts, candidate.codec

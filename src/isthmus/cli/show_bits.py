"""Solutions of the joint choice of split and widths as a table: the front, the plan's own, the baselines."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from isthmus.graph import INPUT, OUTPUT
from isthmus.plan.solution import Solution, few_of
from isthmus.plan.types import Plan
from isthmus.units import show_bytes, show_seconds


def solutions_view(plan: Plan) -> RenderableType:
    """Rows from fastest to slowest, the plan's own marked; a loss with ~ is estimated, not measured. `memory` is at
    the widths of the row, `held` what a process holds that runs it in onnxruntime."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("split", overflow="fold", max_width=22)
    rows = _shown(plan)
    held = any(row.held_bytes is not None for row in rows)
    for heading in ("W", "A", "sent at", "time", "memory", *(["held"] if held else []), "sends", "loss"):
        table.add_column(heading, justify="right")
    for row in rows:
        own = row.planner == plan.planner and (row.cut, row.codec, row.bits) == (plan.cuts[0], plan.codec, plan.bits)
        table.add_row(*_cells(row, own=own, planner=plan.planner, held=held), style="bold" if own else "")
    hidden = len(plan.solutions) - len(rows)
    note = f"{hidden} more solutions behind the front, with --json" if hidden else ""
    return Group(table, Text(note, style="dim")) if note else table


def _shown(plan: Plan) -> list[Solution]:
    """The front and the baselines; of a long front every so many, the plan's own among them."""
    front = few_of([s for s in plan.solutions if s.front and s.planner == plan.planner], plan.bits)
    others = [s for s in plan.solutions if s.planner != plan.planner]
    return sorted([*front, *others], key=lambda s: s.total_s)


def _cells(row: Solution, *, own: bool, planner: str, held: bool) -> tuple[str, ...]:
    where = {INPUT: "all on the server", OUTPUT: "all on the device"}.get(row.cut, row.cut)
    named = where if row.planner == planner else f"{row.planner}: {where}"
    loss = "?" if row.loss is None else f"{'' if row.measured else '~'}{min(row.loss, 1.0):.2%}"
    loss += "" if row.give_or_take is None else f" ± {row.give_or_take:.2%}"
    memory = show_bytes(row.memory_bytes) if row.memory_bytes else ""
    return (
        "►" if own else "",
        named,
        f"{row.weight_bits:.1f}" if row.weight_bits else "",
        f"{row.activation_bits:.1f}" if row.activation_bits else "",
        row.codec if row.sent_bytes else "",
        show_seconds(row.total_s),
        memory if row.fits else f"{memory} too much",
        *([show_bytes(row.held_bytes) if row.held_bytes else ""] if held else []),
        show_bytes(row.sent_bytes) if row.sent_bytes else "",
        loss,
    )

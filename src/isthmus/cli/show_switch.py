"""Switch tables in the terminal: for every batch size, which choice is best from which rate to which."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from isthmus.plan.choose import name_of
from isthmus.plan.switch_types import SwitchRow, SwitchTable
from isthmus.units import show_bytes, show_rate, show_seconds


def switch_view(tables: Sequence[SwitchTable]) -> Table:
    """One row a range of rates, batch by batch: what crosses the link (`SwitchRow.wire_bytes`, the way back too), and
    the latency at the slow end and at the fast end of the range."""
    view = Table(title="best choice by uplink rate", title_justify="left", box=None, pad_edge=False)
    for heading in ("batch", "above", "up to"):
        view.add_column(heading, justify="right", no_wrap=True)
    view.add_column("choice", overflow="fold")
    for heading in ("on wire", "slow end", "fast end"):
        view.add_column(heading, justify="right", no_wrap=True)
    for table in tables:
        for place, row in enumerate(table.rows):
            view.add_row("" if place else str(table.batch), *_cells(row))
    return view


def _cells(row: SwitchRow) -> tuple[str, ...]:
    return (
        show_rate(row.from_bps),
        "any" if row.to_bps is None else show_rate(row.to_bps),
        name_of((row.cut,), row.codec, sends=row.wire_bytes > 0),
        show_bytes(row.wire_bytes),
        "never" if row.from_s is None else show_seconds(row.from_s),
        show_seconds(row.to_s),
    )

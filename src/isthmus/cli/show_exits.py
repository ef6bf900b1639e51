"""Exits and configuration maps in the terminal: what each exit would take, and which strategy holds from which rate."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from isthmus.plan.choose import name_of
from isthmus.plan.map_types import ConfigMap, ConfigRow
from isthmus.plan.types import Plan
from isthmus.units import show_rate, show_seconds


def exits_view(plan: Plan) -> Table:
    """One row an exit that was looked at, the most accurate first; the plan's own is marked."""
    view = Table(title="best partition of each exit", title_justify="left", box=None, pad_edge=False)
    for heading in ("", "exit", "accuracy", "partition"):
        view.add_column(heading, overflow="fold")
    view.add_column("time", justify="right", no_wrap=True)
    if plan.promise is not None:
        view.add_column(f"{100 * plan.promise.share:.4g}%", justify="right", no_wrap=True)
    for row in plan.exits:
        view.add_row(
            "►" if row.output == (plan.exit or "") else "",
            row.output,
            _percent(row.accuracy),
            name_of(row.cuts, row.codec, sends=row.sends),
            show_seconds(row.total_s),
            *(() if row.sure_s is None else (show_seconds(row.sure_s),)),
        )
    return view


def config_view(config: ConfigMap) -> Table:
    """One row for every run of neighbouring states with the same strategy: from the lowest state to the highest."""
    within = "" if config.within_s is None else f", within {show_seconds(config.within_s)}"
    view = Table(
        title=f"strategy by bandwidth state ({len(config.rows)} states, reward {config.reward}{within})",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for heading in ("from", "to"):
        view.add_column(heading, justify="right", no_wrap=True)
    for heading in ("exit", "accuracy", "partition"):
        view.add_column(heading, overflow="fold")
    for heading in ("slowest", "reward", ""):
        view.add_column(heading, justify="right", no_wrap=True)
    for first, last in _runs(config.rows):
        view.add_row(
            show_rate(first.state_bps),
            show_rate(last.state_bps),
            first.exit or "",
            _percent(first.accuracy),
            name_of((first.cut,), first.codec, sends=first.sends),
            show_seconds(max(first.latency_s, last.latency_s)),
            f"{first.reward:.3g} … {last.reward:.3g}" if first is not last else f"{first.reward:.3g}",
            "" if first.meets else "late",
        )
    return view


def _runs(rows: tuple[ConfigRow, ...]) -> Iterator[tuple[ConfigRow, ConfigRow]]:
    """(first, last) of every run of the same strategy."""
    first = rows[0]
    for row, after in zip(rows, (*rows[1:], None), strict=True):
        if after is None or _strategy(after) != _strategy(first):
            yield first, row
            if after is not None:
                first = after


def _strategy(row: ConfigRow) -> tuple[str | None, str, str, bool]:
    return row.exit, row.cut, row.codec, row.meets


def _percent(accuracy: float | None) -> str:
    return "" if accuracy is None else f"{accuracy:.1%}"

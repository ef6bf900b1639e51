"""`isthmus report`: a journal as one page that opens anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.common import Json, emit, err, out
from isthmus.files import read_json
from isthmus.plan.types import Plan
from isthmus.record import Summary, read_journal, summarise
from isthmus.report import write_report


def report(
    journals: Annotated[list[Path], typer.Argument(help="The journal of a run (.jsonl); several go on one page.")],
    to: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("report.html"),
    plan: Annotated[Path | None, typer.Option(help="The plan to draw beside it.")] = None,
    json: Json = False,
) -> None:
    """Draw a run: latency by cause, the link as it was and as it was believed, the cut over time. One HTML file; of
    several runs one after the other, with a table that holds them side by side.

    Example: isthmus report run.jsonl --out run.html

    Policies of a simulation beside each other: isthmus report simulated/*.jsonl
    """
    write_report(journals, to, plan=None if plan is None else read_json(plan, Plan))
    found = [_summary(journal) for journal in journals]
    told = [{"journal": str(path), **one.model_dump(mode="json")} for path, one in zip(journals, found, strict=True)]
    emit(found[0] if len(found) == 1 else told, as_json=json, show=lambda: out.print(f"written to {to}"))


def _summary(journal: Path) -> Summary:
    header, steps = read_journal(journal, say=err.print)
    return summarise(steps, link_trace=header.link_trace)

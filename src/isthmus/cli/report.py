"""`isthmus report`: a journal as one page that opens anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.common import Json, emit, err, out
from isthmus.record import read_journal, summarise
from isthmus.report import report as write


def report(
    journal: Annotated[Path, typer.Argument(help="The journal of a run (.jsonl).")],
    to: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("report.html"),
    plan: Annotated[Path | None, typer.Option(help="The plan to draw beside it.")] = None,
    json: Json = False,
) -> None:
    """Draw a run: latency by cause, the link as it was and as it was believed, the cut over time. One HTML file.

    Example: isthmus report run.jsonl --out run.html
    """
    write(journal, to, plan)
    header, steps = read_journal(journal, say=err.print)
    summary = summarise(steps, link_trace=header.link_trace)
    emit(summary, as_json=json, show=lambda: out.print(f"written to {to}"))

"""`--late-from`: how late a run was now and then, taken from its journal, for the promise of the next plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.common import err
from isthmus.errors import BadInput
from isthmus.plan import Problem
from isthmus.plan.uneven import uneven
from isthmus.record import Lateness, late_of, read_journal

LateFrom = Annotated[
    Path | None,
    typer.Option(
        help="How late link, device and server are now and then, by the journal of a run, instead of --late and the "
        "profiles' own spread."
    ),
]


def lateness_of(journal: Path | None, late: float = 0.0) -> Lateness | None:
    """What the journal says, also said on stderr; None without one. Raises BadInput for a journal that cannot be read,
    has too few requests to tell, or is given beside `--late`."""
    if journal is None:
        return None
    if late:
        raise BadInput("give --late or --late-from, not both")
    _, steps = read_journal(journal)
    found = late_of(steps)
    told = (("exchanges", found.link), ("the device", found.device), ("the server", found.server))
    said = [f"{who} {'not told' if share is None else f'{share:.0%}'}" for who, share in told]
    err.print(f"by {journal}, one in ten takes longer by: {', '.join(said)}", highlight=False)
    return found


def as_run(problem: Problem, seen: Lateness | None) -> Problem:
    """The problem with links and machines as late as they were seen to be."""
    return problem if seen is None else uneven(problem, link=seen.link, device=seen.device, server=seen.server)

"""The requests of `isthmus run`: their inputs and pace, sent one after the other, and how they went."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from rich.table import Table

from isthmus.cli.common import err, interruptible, out, progress_bar
from isthmus.codec import Array
from isthmus.errors import BadInput, Remote
from isthmus.model import Model
from isthmus.profile.samples import Samples, load_samples
from isthmus.record import Journal, Step, Summary
from isthmus.run import Session
from isthmus.units import LONGEST_S, seconds, show_bytes, show_seconds

_DIFFERENT_INPUTS = 8


class Steps:
    """Keeps the steps of a run, and writes them to a journal where one is wanted."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.all: list[Step] = []
        self._journal = journal

    def write(self, step: Step) -> None:
        """One more."""
        self.all.append(step)
        if self._journal is not None:
            self._journal.write(step)


def pace_of(every: str, rate: str) -> float:
    """Seconds from one request to the next. Raises BadInput for both options at once, or less than one a year."""
    if not rate:
        return seconds(every)
    if seconds(every):
        raise BadInput("give --every or --rate, not both")
    try:
        per_s = float(rate.strip().removesuffix("/s"))
    except ValueError:
        per_s = math.nan
    if not 1 / LONGEST_S <= per_s < math.inf:
        raise BadInput(f"'{rate}' is no rate of requests such as 20/s, at least one a year")
    return 1 / per_s


def inputs_for(model: Model, batch: int, data: Path | None) -> Iterator[dict[str, Array]]:
    """Inputs without end: the samples of a file in order and again from its first, or a few seeded ones in turn. Raises
    BadInput for a file of fewer samples than a request holds."""
    if data is None:
        return itertools.cycle([model.random_inputs(batch, seed) for seed in range(_DIFFERENT_INPUTS)])
    samples = load_samples(data, model)
    if (count := len(samples)) < batch:
        raise BadInput(
            f"{data} holds {count} samples, fewer than the {batch} of --batch; give more, or a smaller batch"
        )
    return (_round(samples, start % count, batch) for start in itertools.count(0, batch))


def _round(samples: Samples, start: int, batch: int) -> dict[str, Array]:
    """So many samples from `start` on; behind the last comes the first."""
    if start + batch <= len(samples):
        return dict(samples.part(start, start + batch).inputs)
    return dict(samples.pick(np.arange(start, start + batch) % len(samples)).inputs)


def send(session: Session, inputs: Iterator[Mapping[str, Array]], requests: int, every_s: float) -> int:
    """Send requests one after the other; returns how many were asked. Ctrl-C ends after the one in flight."""
    asked = 0
    start = time.perf_counter()
    with interruptible() as stopped, progress_bar("requests") as progress:
        for number in range(requests):
            if stopped.wait(max(0.0, start + number * every_s - time.perf_counter())):
                err.print("interrupted; the requests so far:")
                break
            asked += 1
            try:
                step = session.infer(next(inputs)).step
            except Remote as error:
                err.print(f"request {number}: {error}")
                continue
            progress(number + 1, requests, f"{step.cut} {show_seconds(step.seconds.total)}")
    return asked


def show_summary(summary: Summary) -> None:
    """How the requests went, as a table of places and one line of totals."""
    table = Table("ran", "cut", "requests", "p50", "p99", "sent")
    for place in summary.places:
        times = (show_seconds(place.p50_s or 0), show_seconds(place.p99_s or 0))
        ran = f"{place.ran}, server first" if place.first == "server" else place.ran
        table.add_row(ran, place.cut, str(place.requests), *times, show_bytes(place.up_bytes))
    out.print(table)
    for use in summary.exits:
        shown = f"{use.samples} ({use.share:.1%}) at {use.exit}, p50 {show_seconds(use.p50_s)}"
        out.print(f"left early: {shown}" if len(summary.exits) > 1 else f"answered: {shown}")
    checked = f", {summary.wrong} wrong of {summary.verified} verified" if summary.verified else ""
    out.print(
        f"{summary.answered} of {summary.requests} answered, {summary.lost} lost{checked}; p50 "
        f"{show_seconds(summary.p50_s or 0)}, p99 {show_seconds(summary.p99_s or 0)}, {summary.switches} switches, "
        f"{summary.fallbacks} finished by the device instead"
    )
